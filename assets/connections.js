// Who is connected, who is behind most first; and how to send somebody away.

import { bytes, duration, element, joined, whole, write } from './format.js';
import { Rows, sortable } from './rows.js';
import { Refused } from './session.js';

const LIMIT = 500;
/** By what the server sorts; anything else is sorted here, of those that are the most behind. */
const SORTS = { since: 'since', backlog_bytes: 'backlog', gaps: 'gaps', subscriptions: 'subscriptions' };
const EVERY_MS = 2000;
const EVERY_HIDDEN_MS = 10_000;

export class Connections {
  list = [];
  #parts;
  #session;
  #changed;
  #rows;
  #sort = { key: 'backlog_bytes', down: true };
  #shown = [];
  #total = 0;
  #own;
  #live = false;
  #timer;
  #asking;

  /** `changed(list)` is called with each answer. */
  constructor({ root, session, changed }) {
    this.#session = session;
    this.#changed = changed;
    const part = (name) => root.querySelector(`#connections-${name}`);
    this.#parts = Object.fromEntries(['count', 'search', 'error', 'result', 'rows', 'blank'].map((name) => [name, part(name)]));
    const { rows, search } = this.#parts;
    this.#rows = new Rows({ body: rows, scroller: rows.closest('.scroll'), make: () => this.#row() });
    this.#parts.confirm = root.querySelector('#confirm');
    search.addEventListener('input', () => this.#arrange(true));
    sortable(rows.closest('table'), this.#sort, (sort) => {
      this.#sort = sort;
      this.#rows.toTop();
      this.#arrange(true);
      this.#soon(0);
    });
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) this.#soon(0);
    });
    this.#note('Loading', 'The list of connections is on its way.');
  }

  set live(live) {
    if (live === this.#live) return;
    this.#live = live;
    this.#soon(0);
  }

  /** The name of this page's own connection. */
  set own(connection) {
    this.#own = connection;
    this.#rows.draw();
  }

  /** Shows those that have this in a column. */
  find(text) {
    this.#parts.search.value = text;
    this.#arrange(true);
  }

  refuse(title, text) {
    this.#parts.search.disabled = true;
    this.#note(title, text);
  }

  #soon(ms) {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    if (this.#live) this.#timer = setTimeout(() => this.#ask(), ms);
  }

  async #ask() {
    const asking = new AbortController();
    this.#asking = asking;
    try {
      const query = { sort: SORTS[this.#sort.key] ?? 'backlog', limit: LIMIT };
      const { total, connections } = (await this.#session.call('v1/connections', { query, signal: asking.signal })) ?? {};
      if (asking.signal.aborted) return;
      if (!Array.isArray(connections)) throw new Refused('no_answer', 'no list of connections came');
      this.#total = total;
      this.list = connections.map((connection) => ({ ...connection, key: connection.connection }));
      this.#trouble('');
      this.#arrange(false);
      this.#changed(this.list);
    } catch (error) {
      if (asking.signal.aborted || !this.#live) return;
      this.#trouble(`Connections cannot be listed (${error.code}: ${error.message}). Trying again.`);
    }
    this.#timer = setTimeout(() => this.#ask(), document.hidden ? EVERY_HIDDEN_MS : EVERY_MS);
  }

  #arrange(anew) {
    const wanted = this.#parts.search.value.trim().toLowerCase();
    const holds = ({ connection, subject = '', address = '' }) => [connection, subject, address].some((text) => text.toLowerCase().includes(wanted));
    const found = this.list.filter(holds);
    const { key, down } = this.#sort;
    if (!anew && this.#rows.attended) {
      const place = new Map(this.#shown.map((connection, at) => [connection.key, at]));
      found.sort((a, b) => (place.get(a.key) ?? Infinity) - (place.get(b.key) ?? Infinity));
    } else {
      found.sort((a, b) => compare(a[key] ?? '', b[key] ?? '') * (down ? -1 : 1));
    }
    this.#shown = found;
    this.#rows.items = found;
    this.#count();
    if (found.length > 0) this.#parts.blank.hidden = true;
    else if (wanted !== '') this.#note('No match', `Nobody with “${wanted}” is among them.`);
    else this.#note('Nobody', 'No WebSocket is connected.');
  }

  #row() {
    const name = element('span', { class: 'name' });
    const own = element('span', { class: 'tag', title: 'This page’s own connection' }, 'you');
    const who = element('span', { class: 'who' });
    const cells = Object.fromEntries(['subject', 'address', 'since', 'subscriptions', 'backlog', 'gaps'].map((key) => [key, element('td', { class: key })]));
    const end = element('button', { type: 'button', class: 'button small', 'data-own': '' }, 'Disconnect');
    const node = element('tr', {}, element('th', { scope: 'row' }, name, own, who), ...Object.values(cells), element('td', { class: 'end' }, end));
    let shown;
    end.addEventListener('click', () => this.#confirm(shown));
    const fill = (connection) => {
      shown = connection;
      const { subject, address, since, subscriptions, backlog_bytes: backlog, gaps } = connection;
      node.dataset.connection = connection.connection;
      write(name, connection.connection);
      write(who, [subject, address].filter(Boolean).join(' · '));
      own.hidden = connection.connection !== this.#own;
      end.setAttribute('aria-label', `Disconnect ${subject ?? ''} ${connection.connection}`);
      write(cells.subject, subject ?? '–');
      write(cells.address, address ?? '–');
      write(cells.since, duration(Math.max(0, Date.now() - since)));
      cells.since.title = new Date(since).toLocaleString();
      write(cells.subscriptions, whole(subscriptions));
      write(cells.backlog, backlog === 0 ? '0' : joined(bytes(backlog)));
      write(cells.gaps, whole(gaps));
      node.classList.toggle('behind', backlog > 0);
      node.classList.toggle('gapped', gaps > 0);
    };
    return { node, focus: end, fill };
  }

  #confirm({ connection, subject, address }) {
    const { confirm } = this.#parts;
    const who = subject === undefined ? connection : `${subject} (${connection})`;
    write(confirm.querySelector('#confirm-who'), address === undefined ? who : `${who} from ${address}`);
    write(confirm.querySelector('#confirm-own'), connection === this.#own ? 'It is the connection of this page, which then has to be connected again.' : '');
    confirm.returnValue = '';
    confirm.showModal();
    confirm.addEventListener('close', () => confirm.returnValue === 'yes' && this.#disconnect(connection), { once: true });
  }

  async #disconnect(connection) {
    const { result } = this.#parts;
    try {
      await this.#session.call(`v1/connections/${encodeURIComponent(connection)}`, { method: 'DELETE' });
      result.replaceChildren(element('span', { class: 'good' }, 'Disconnected'), ' ', element('code', {}, connection), '.');
    } catch (error) {
      const gone = error.status === 404;
      result.replaceChildren(element('span', { class: gone ? '' : 'bad' }, gone ? 'Already gone: ' : `${error.code} `), gone ? element('code', {}, connection) : error.message);
    }
    result.hidden = false;
    this.#soon(0);
  }

  #count() {
    const { length } = this.list;
    const { count, search } = this.#parts;
    if (search.value.trim() !== '') write(count, `${whole(this.#shown.length)} of ${whole(length)}`);
    else write(count, this.#total > length ? `the first ${whole(length)} of ${whole(this.#total)}` : whole(length));
  }

  #note(title, text) {
    const { blank } = this.#parts;
    blank.hidden = false;
    blank.replaceChildren(element('strong', {}, title), element('span', {}, text));
  }

  #trouble(text) {
    this.#parts.error.hidden = text === '';
    write(this.#parts.error, text);
    if (text !== '' && this.list.length === 0) this.#note('No list', 'It is asked for again.');
  }
}

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
