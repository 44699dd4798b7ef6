// The table of topics: asked for over HTTP every two seconds, one page of names at a time, so that
// ten thousand topics cost server and browser no more than two hundred.

import { element, joined, rate, whole, write } from './format.js';
import { Spark } from './spark.js';

const PAGE = 200;
const EVERY_MS = 2000;
const EVERY_HIDDEN_MS = 10_000;
const ANSWER_MS_MAX = 8000;
/** Offsets kept per topic: a minute of them. */
const SAMPLES_MAX = 31;
/** The rate in figures is taken over this many polls, the line shows each. */
const SMOOTH = 3;

class Row {
  #cells;
  #spark = new Spark();
  #offsets = [];
  rate = -1;

  constructor(topic) {
    this.name = element('button', { type: 'button', class: 'name', title: topic }, topic);
    const figure = element('span', {}, '–');
    const subscribers = element('td', { class: 'subscribers' });
    const offset = element('td', { class: 'offset' });
    this.#cells = { figure, subscribers, offset };
    this.node = element('tr', { 'data-topic': topic }, element('th', { scope: 'row' }, this.name), element('td', { class: 'rate' }, element('div', {}, this.#spark.svg, figure)), subscribers, offset);
    this.node.classList.toggle('reserved', topic.startsWith('$'));
    this.topic = topic;
  }

  take({ epoch, offset, subscribers }, at) {
    if (this.epoch !== epoch) this.#offsets = [];
    Object.assign(this, { epoch, offset, subscribers });
    this.#offsets.push({ at, offset });
    if (this.#offsets.length > SAMPLES_MAX) this.#offsets.shift();

    const perSecond = (from, to) => ((to.offset - from.offset) * 1000) / (to.at - from.at);
    const samples = this.#offsets.slice(1).map((sample, before) => ({ at: sample.at, value: perSecond(this.#offsets[before], sample) }));
    if (samples.length > 0) this.rate = perSecond(this.#offsets.at(-1 - Math.min(SMOOTH, samples.length)), this.#offsets.at(-1));
    const width = Math.max(5, samples.length - 1) * EVERY_MS;
    this.#spark.draw(samples, { from: at - width, to: at, least: 0.5, hole: EVERY_HIDDEN_MS * 2 });
    write(this.#cells.figure, this.rate < 0 ? '–' : joined(rate(this.rate)));
    this.node.classList.toggle('still', this.rate <= 0);
    write(this.#cells.subscribers, whole(subscribers));
    write(this.#cells.offset, whole(offset));
  }
}

export class Topics {
  #url;
  #chosen;
  #listed;
  #parts;
  #rows = new Map();
  #sort = { key: 'topic', down: false };
  /** The name each page begins after; the last one is the page that is shown. */
  #pages = [''];
  #more = false;
  #live = false;
  #timer;
  #asking;
  #total = 0;
  #current;

  /** `chosen(topic)` is called when one is clicked, `listed(topics)` after each answer. */
  constructor({ root, url, chosen, listed }) {
    const part = (name) => root.querySelector(`#topics-${name}`);
    this.#url = url;
    this.#chosen = chosen;
    this.#listed = listed;
    this.#parts = {
      root,
      heads: [...root.querySelectorAll('th button')],
      ...Object.fromEntries(['count', 'prefix', 'error', 'rows', 'blank', 'pages', 'range', 'back', 'on'].map((name) => [name, part(name)])),
    };
    const { prefix, rows, heads, back, on } = this.#parts;
    prefix.addEventListener('input', () => {
      this.#pages = [''];
      this.#arrange();
      this.#askIn(200);
    });
    rows.addEventListener('click', ({ target }) => {
      const row = target.closest('tr');
      if (row) this.#chosen(row.dataset.topic);
    });
    for (const head of heads) head.addEventListener('click', () => this.#sortBy(head.dataset.sort));
    back.addEventListener('click', () => this.#turn(() => this.#pages.pop()));
    on.addEventListener('click', () => this.#turn(() => this.#pages.push([...this.#rows.keys()].sort(byBytes).at(-1))));
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) this.#askIn(0);
    });
  }

  /** Asks only while the connection is up: a server that is away is not asked twice. */
  set live(live) {
    if (live === this.#live) return;
    this.#live = live;
    this.#askIn(0);
  }

  set total(total) {
    this.#total = total;
    this.#count();
  }

  set current(topic) {
    this.#current = topic;
    for (const row of this.#rows.values()) this.#mark(row);
  }

  #turn(change) {
    change();
    this.#rows.clear();
    this.#parts.rows.replaceChildren();
    this.#parts.rows.closest('.scroll').scrollTop = 0;
    this.#askIn(0);
  }

  #sortBy(key) {
    const same = this.#sort.key === key;
    this.#sort = { key, down: same ? !this.#sort.down : key !== 'topic' };
    for (const head of this.#parts.heads) {
      const cell = head.closest('th');
      if (head.dataset.sort === key) cell.setAttribute('aria-sort', this.#sort.down ? 'descending' : 'ascending');
      else cell.removeAttribute('aria-sort');
    }
    this.#arrange();
  }

  #askIn(ms) {
    clearTimeout(this.#timer);
    if (this.#live) this.#timer = setTimeout(() => this.#ask(), ms);
    else this.#asking?.abort();
  }

  async #ask() {
    this.#asking?.abort();
    const asking = new AbortController();
    this.#asking = asking;
    const late = setTimeout(() => asking.abort(), ANSWER_MS_MAX);
    const url = new URL(this.#url);
    url.search = new URLSearchParams({ limit: PAGE, prefix: this.#prefix(), after: this.#pages.at(-1) });
    for (const name of ['prefix', 'after']) if (!url.searchParams.get(name)) url.searchParams.delete(name);
    try {
      const answer = await fetch(url, { signal: asking.signal, cache: 'no-store' });
      const body = await answer.json();
      if (!answer.ok) throw new Error(`${body.error.code}: ${body.error.message}`);
      this.#take(body.topics);
      this.#trouble('');
    } catch (error) {
      if (asking !== this.#asking || !this.#live) return;
      this.#trouble(`Topics cannot be listed (${asking.signal.aborted ? 'no answer in time' : error.message}). Trying again.`);
    } finally {
      clearTimeout(late);
      if (asking === this.#asking) this.#askIn(document.hidden ? EVERY_HIDDEN_MS : EVERY_MS);
    }
  }

  #take(topics) {
    const at = performance.now();
    const rows = new Map();
    for (const topic of topics) {
      const row = this.#rows.get(topic.topic) ?? new Row(topic.topic);
      row.take(topic, at);
      this.#mark(row);
      rows.set(topic.topic, row);
    }
    this.#rows = rows;
    this.#more = topics.length >= PAGE;
    this.#arrange();
    this.#listed(topics);
  }

  /** What is typed up to a wildcard: `host.*` looks for `host.`. */
  #prefix() {
    return this.#parts.prefix.value.trim().replace(/[*>].*$/, '');
  }

  #mark(row) {
    const current = row.topic === this.#current;
    if (current) row.name.setAttribute('aria-current', 'true');
    else row.name.removeAttribute('aria-current');
    row.node.classList.toggle('current', current);
  }

  /** Puts the rows that match in order, moving only those that are out of place. */
  #arrange() {
    const { rows: body, blank } = this.#parts;
    const prefix = this.#prefix();
    const shown = [...this.#rows.values()].filter((row) => row.topic.startsWith(prefix));
    const { key, down } = this.#sort;
    // A row must not slip away from under the pointer or the keyboard while rates change.
    if (key !== 'topic' && body.matches(':hover, :focus-within') && body.children.length > 0) {
      const place = new Map([...body.children].map((node, at) => [node.dataset.topic, at]));
      shown.sort((a, b) => (place.get(a.topic) ?? Infinity) - (place.get(b.topic) ?? Infinity) || byBytes(a.topic, b.topic));
    } else {
      shown.sort((a, b) => (key === 'topic' ? 0 : a[key] - b[key]) * (down ? -1 : 1) || byBytes(a.topic, b.topic) * (key === 'topic' && down ? -1 : 1));
    }
    const focused = document.activeElement;
    const keep = new Set(shown.map((row) => row.node));
    for (const node of [...body.children]) if (!keep.has(node)) node.remove();
    for (const [at, { node }] of shown.entries()) if (body.children[at] !== node) body.insertBefore(node, body.children[at] ?? null);
    // Moving a node takes the focus from it.
    if (focused !== document.activeElement && keep.has(focused?.closest?.('tr'))) focused.focus({ preventScroll: true });

    blank.hidden = shown.length > 0;
    if (shown.length === 0) {
      blank.replaceChildren(
        ...(prefix === ''
          ? [element('strong', {}, 'No topics yet'), element('span', {}, 'A topic appears with its first message or subscriber:'), element('code', {}, `fanfare pub news '{"hello":1}'`)]
          : [element('strong', {}, 'No match'), element('span', {}, `No topic begins with “${prefix}”.`)]),
      );
    }
    this.#count();
  }

  #count() {
    const { count, pages, range, back, on } = this.#parts;
    const rows = this.#rows.size;
    const first = (this.#pages.length - 1) * PAGE;
    const all = this.#prefix() === '' ? Math.max(this.#total, first + rows) : undefined;
    write(count, this.#prefix() === '' ? whole(all) : `${whole(this.#parts.rows.children.length)}${this.#more ? '+' : ''} match${rows === 1 ? '' : 'es'}`);
    pages.hidden = this.#pages.length === 1 && !this.#more;
    write(range, `${whole(first + Math.min(1, rows))} – ${whole(first + rows)}${all === undefined ? '' : ` of ${whole(all)}`}, sorted within the page`);
    back.disabled = this.#pages.length === 1;
    on.disabled = !this.#more;
  }

  #trouble(text) {
    this.#parts.error.hidden = text === '';
    write(this.#parts.error, text);
  }
}

/** The server sorts by bytes of UTF-8; UTF-16 differs from that only beyond the basic plane. */
function byBytes(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}
