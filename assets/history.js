// What a topic still holds, newest first, a hundred messages at a time.

import { element, whole, write } from './format.js';
import { messageLine } from './message.js';

const PAGE = 100;

export class History {
  #parts;
  #client;
  #topic = '';
  /** The oldest message that is shown, and its numbering. */
  #oldest;
  #asked = 0;

  constructor({ root }) {
    this.#parts = Object.fromEntries(['count', 'again', 'older', 'error', 'rows', 'blank'].map((name) => [name, root.querySelector(`#history-${name}`)]));
    this.#parts.again.addEventListener('click', () => this.#load());
    this.#parts.older.addEventListener('click', () => this.#loadOlder());
  }

  set client(client) {
    this.#client = client;
  }

  /** Shows a topic's, or nothing. */
  show(topic) {
    this.#topic = topic;
    this.#asked += 1;
    this.#clear();
    if (topic !== '' && this.#client) this.#load();
  }

  #clear() {
    const { rows, count, older, error, again } = this.#parts;
    rows.replaceChildren();
    write(count, '');
    older.hidden = true;
    error.hidden = true;
    again.disabled = this.#topic === '';
    this.#blank('Loading', `What ${this.#topic} holds is on its way.`);
  }

  async #load() {
    const found = await this.#ask({ limit: PAGE });
    if (found === undefined) return;
    this.#parts.rows.replaceChildren();
    this.#take(found);
    if (found.messages.length === 0) this.#blank('Nothing held', `${this.#topic} has ${found.offset === 0 ? 'had no messages yet' : `none of its ${whole(found.offset)} messages any more`}.`);
  }

  async #loadOlder() {
    const { epoch, offset } = this.#oldest;
    const from = Math.max(0, offset - 1 - PAGE);
    let found = await this.#ask({ since: { epoch, offset: from }, limit: offset - 1 - from });
    // Less than a page is left, and it begins nobody knows where.
    if (found?.recovered === false) found = await this.#rest(offset);
    if (found === undefined) return;
    this.#take({ ...found, messages: found.messages.filter((message) => message.offset < offset) });
  }

  /** Everything that is held, up to what the server gives at once. */
  #rest() {
    return this.#ask({ limit: 1000 });
  }

  async #ask(options) {
    this.#asked += 1;
    const mine = this.#asked;
    const { error } = this.#parts;
    try {
      const found = await this.#client.history(this.#topic, options);
      if (mine !== this.#asked) return undefined;
      error.hidden = true;
      return found;
    } catch (refused) {
      if (mine !== this.#asked) return undefined;
      error.hidden = false;
      write(error, `${refused.code}: ${refused.message}`);
      if (this.#parts.rows.children.length === 0) this.#blank('No history', 'The server did not give it.');
      return undefined;
    }
  }

  #take({ epoch, messages }) {
    const { rows, count, older, blank } = this.#parts;
    rows.append(...messages.toReversed().map((message) => messageLine({ type: 'message', ...message }, {})));
    this.#oldest = { epoch, offset: messages[0]?.offset ?? 1 };
    // What is older may have left the topic already; asking tells.
    older.hidden = messages.length === 0 || this.#oldest.offset <= 1;
    blank.hidden = rows.children.length > 0;
    write(count, rows.children.length === 0 ? '' : `${whole(rows.children.length)} shown`);
  }

  #blank(title, text) {
    const { blank } = this.#parts;
    blank.hidden = false;
    blank.replaceChildren(element('strong', {}, title), element('span', {}, text));
  }
}
