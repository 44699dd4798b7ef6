// Who is in a topic. Whoever is told of changes is a member too, so that takes a choice: until then the page
// asks every few seconds, unseen.

import { element, json, whole, write } from './format.js';
import { Rows } from './rows.js';

const EVERY_MS = 5000;
/** What the others see of this page while it is a member. */
const SELF = { name: 'dashboard' };

export class Members {
  #parts;
  #rows;
  #join;
  #client;
  /** While it is a member: a client of its own, so that its end is all that it takes to leave. */
  #member;
  #topic = '';
  #shown = false;
  #timer;
  #asked = 0;

  /** `join()` makes a client. */
  constructor({ root, join }) {
    this.#join = join;
    this.#parts = Object.fromEntries(['count', 'live', 'error', 'rows', 'blank'].map((name) => [name, root.querySelector(`#members-${name}`)]));
    const { rows, live } = this.#parts;
    this.#rows = new Rows({ body: rows, scroller: rows.closest('.scroll'), make: row });
    live.addEventListener('change', () => this.#begin());
  }

  set client(client) {
    this.#client = client;
    this.#begin();
  }

  /** Shows a topic's, or nothing; nobody is asked while it is out of sight. */
  show(topic, shown) {
    if (topic === this.#topic && shown === this.#shown) return;
    if (topic !== this.#topic) {
      this.#take(undefined);
      this.#parts.live.checked = false;
    }
    this.#topic = topic;
    this.#shown = shown;
    this.#begin();
  }

  #begin() {
    clearTimeout(this.#timer);
    this.#asked += 1;
    this.#member?.close();
    this.#member = undefined;
    if (!this.#shown || this.#topic === '' || this.#client === undefined) return;
    if (this.#parts.live.checked) this.#watch();
    else this.#ask();
  }

  #watch() {
    const member = this.#join();
    this.#member = member;
    member.subscribe(this.#topic, () => {}, {
      presence: true,
      member: SELF,
      onPresence: (presence) => member === this.#member && this.#take(presence.members),
      onError: (error) => {
        if (member !== this.#member) return;
        this.#parts.live.checked = false;
        this.#begin();
        this.#trouble(error);
      },
    });
  }

  async #ask() {
    const mine = this.#asked;
    try {
      const { members } = await this.#client.presence(this.#topic);
      if (mine === this.#asked) this.#take(members);
    } catch (error) {
      if (mine !== this.#asked) return;
      this.#take([]);
      this.#trouble(error);
    }
    this.#timer = setTimeout(() => mine === this.#asked && this.#ask(), EVERY_MS);
  }

  #trouble(error) {
    this.#parts.error.hidden = false;
    write(this.#parts.error, `${error.code}: ${error.message}`);
    write(this.#parts.count, '');
  }

  /** Members, or nothing while the answer is on its way. */
  #take(members) {
    const { count, error, blank } = this.#parts;
    error.hidden = true;
    this.#rows.items = (members ?? []).map((member) => ({ key: member.connection, ...member }));
    write(count, members === undefined ? '' : `${whole(members.length)} ${members.length === 1 ? 'member' : 'members'}`);
    blank.hidden = members?.length > 0;
    if (members === undefined) blank.replaceChildren(element('strong', {}, 'Loading'), element('span', {}, 'Who is there is on its way.'));
    else blank.replaceChildren(element('strong', {}, 'Nobody'), element('span', {}, 'Members are those who subscribe with presence.'));
  }
}

function row() {
  const subject = element('a', { class: 'name' });
  const said = element('td', { class: 'said' });
  const connection = element('td', { class: 'id' });
  const node = element('tr', {}, element('th', { scope: 'row' }, subject), said, connection);
  const fill = (member) => {
    subject.href = `#/connections/${encodeURIComponent(member.connection)}`;
    write(subject, member.subject ?? 'anonymous');
    node.classList.toggle('anonymous', member.subject === undefined);
    said.replaceChildren(...(member.member === undefined ? [] : [json(member.member, { limit: 200 })]));
    write(connection, member.connection);
  };
  return { node, focus: subject, fill };
}
