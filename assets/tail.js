// The live tail: what a topic or pattern says, newest first. However fast messages come, the page draws a
// few times a second and never holds more than ROWS_MAX of them.

import { stringify } from './exact.js';
import { element, whole, write } from './format.js';
import { messageLine } from './message.js';
import { isPattern } from './pattern.js';

const ROWS_MAX = 200;
const DRAW_EVERY_MS = 150;
/** A flood replaces every row at each drawing; nobody reads it faster than this. */
const DRAW_FLOOD_MS = 600;

export class Tail {
  #parts;
  #filter = '';
  #client;
  #subscription;
  /** Newest last, not drawn yet; at most ROWS_MAX of them. */
  #waiting = [];
  #waitingCount = 0;
  #received = 0;
  #wanted = '';
  #matched = 0;
  #paused = false;
  #timer;
  #flooded = false;

  constructor({ root }) {
    this.#parts = Object.fromEntries(['find', 'pause', 'clear', 'count', 'error', 'rows', 'blank'].map((name) => [name, root.querySelector(`#tail-${name}`)]));
    const { find, pause, clear } = this.#parts;
    find.addEventListener('input', () => this.#find(find.value.trim().toLowerCase()));
    pause.addEventListener('click', () => this.#pause(!this.#paused));
    clear.addEventListener('click', () => this.#clear());
    this.#blank();
  }

  /** There is a client, or another one: what is followed is asked of it. */
  set client(client) {
    this.#client = client;
    this.#subscribe();
  }

  follow(filter) {
    if (filter === this.#filter) return;
    this.#filter = filter;
    this.#pause(false);
    this.#clear();
    this.#subscribe();
    this.#blank();
  }

  #subscribe() {
    this.#subscription?.unsubscribe();
    this.#subscription = undefined;
    this.#trouble('');
    if (this.#filter === '' || this.#client === undefined) return;
    const filter = this.#filter;
    const mine = (take) => (event) => filter === this.#filter && take(event);
    this.#subscription = this.#client.subscribe(filter, mine((event) => this.#take(event)), {
      onGap: mine((gap) => this.#push(gap)),
      onError: mine((error) => this.#trouble(error.code === 'closed' ? '' : `${error.code}: ${error.message}`)),
    });
  }

  #take(event) {
    this.#received += 1;
    if (this.#wanted === '' || matches(event, this.#wanted)) {
      this.#matched += 1;
      this.#push(event);
    } else {
      this.#soon();
    }
  }

  #push(event) {
    this.#waiting.push({ event, time: new Date() });
    this.#waitingCount += 1;
    // Cut in bulk: a shift per message would cost as much as the message.
    if (this.#waiting.length > 2 * ROWS_MAX) this.#waiting = this.#waiting.slice(-ROWS_MAX);
    this.#soon();
  }

  #soon() {
    this.#timer ??= setTimeout(() => this.#draw(), this.#flooded ? DRAW_FLOOD_MS : DRAW_EVERY_MS);
  }

  #draw() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { rows, count, pause } = this.#parts;
    const matched = this.#wanted === '' ? '' : `${whole(this.#matched)} of `;
    write(count, this.#received === 0 ? '' : `${matched}${whole(this.#received)} received`);
    if (this.#paused) {
      write(pause, this.#waitingCount === 0 ? 'Resume' : `Resume (${whole(this.#waitingCount)})`);
      return;
    }
    this.#flooded = this.#waiting.length > ROWS_MAX / 2;
    const fresh = this.#waiting.slice(-ROWS_MAX).reverse();
    this.#waiting = [];
    this.#waitingCount = 0;
    rows.prepend(...fresh.map((each) => this.#row(each)));
    while (rows.children.length > ROWS_MAX) rows.lastChild.remove();
    this.#blank();
  }

  #row({ event, time }) {
    const row = messageLine(event, { time, topic: event.topic === this.#filter ? undefined : event.topic });
    row.event = event;
    return row;
  }

  /** Only messages that hold this text, of those that are shown and of those that come. */
  #find(wanted) {
    this.#wanted = wanted;
    const keep = (event) => wanted === '' || event.type !== 'message' || matches(event, wanted);
    for (const row of [...this.#parts.rows.children]) if (!keep(row.event)) row.remove();
    this.#waiting = this.#waiting.filter(({ event }) => keep(event));
    this.#waitingCount = this.#waiting.length;
    this.#received = 0;
    this.#matched = 0;
    this.#draw();
    this.#blank();
  }

  #pause(paused) {
    const { pause } = this.#parts;
    this.#paused = paused;
    pause.setAttribute('aria-pressed', String(paused));
    write(pause, paused ? 'Resume' : 'Pause');
    if (!paused) this.#draw();
  }

  #clear() {
    this.#waiting = [];
    this.#waitingCount = 0;
    this.#received = 0;
    this.#matched = 0;
    this.#parts.rows.replaceChildren();
    this.#draw();
    this.#blank();
  }

  #blank() {
    const { rows, blank, pause, clear, find } = this.#parts;
    const empty = rows.children.length === 0;
    const filter = this.#filter;
    pause.disabled = filter === '';
    find.disabled = filter === '';
    clear.disabled = empty && !this.#paused;
    blank.hidden = !empty;
    if (!empty) return;
    const wild = isPattern(filter);
    let [title, text] = ['Nothing followed', 'Choose a topic, or type a pattern: * stands for one segment, a last > for the rest.'];
    if (this.#wanted !== '') [title, text] = ['No match', 'No message since then holds that text.'];
    else if (filter !== '') [title, text] = [`Waiting for ${filter}`, wild ? 'Whatever is published to a topic that matches appears here.' : 'Whatever is published appears here:'];
    blank.replaceChildren(element('strong', {}, title), element('span', {}, text));
    if (filter !== '' && !wild && !filter.startsWith('$')) blank.append(element('code', {}, `fanfare pub ${filter} '{"hello":1}'`));
  }

  #trouble(text) {
    this.#parts.error.hidden = text === '';
    write(this.#parts.error, text);
  }
}

const matches = ({ topic, data }, wanted) => topic.toLowerCase().includes(wanted) || stringify(data).toLowerCase().includes(wanted);
