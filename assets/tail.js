// The live tail: what a topic or pattern says, newest first. However fast messages come, the page draws a
// few times a second and never holds more than ROWS_MAX of them.

import { clock, element, json, whole, write } from './format.js';

const ROWS_MAX = 200;
const DRAW_EVERY_MS = 150;
/** A flood replaces every row at each drawing; nobody reads it faster than this. */
const DRAW_FLOOD_MS = 600;
const LINE_CHARS = 300;
const OPENED_CHARS = 100_000;

const REASON = { slow: 'this page was too slow', latest: 'only the newest of each key is kept', backplane: 'lost between servers' };

export class Tail {
  #connection;
  #changed;
  #parts;
  #filter = '';
  #stop;
  /** Newest last, not drawn yet; at most ROWS_MAX of them. */
  #waiting = [];
  #waitingCount = 0;
  #received = 0;
  #paused = false;
  #timer;
  #flooded = false;
  /** The last position seen of a followed topic, to tell what a reconnect missed. */
  #position;

  /** `changed(filter)` is called whenever another filter is followed, or none (''). */
  constructor({ root, connection, changed }) {
    this.#connection = connection;
    this.#changed = changed;
    this.#parts = Object.fromEntries(['form', 'filter', 'pause', 'clear', 'count', 'error', 'rows', 'blank'].map((name) => [name, root.querySelector(`#tail-${name}`)]));
    const { form, filter, pause, clear } = this.#parts;
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.follow(filter.value.trim());
    });
    pause.addEventListener('click', () => this.#pause(!this.#paused));
    clear.addEventListener('click', () => this.#clear());
    this.#blank();
  }

  follow(filter) {
    const { form } = this.#parts;
    this.#parts.filter.value = filter;
    if (filter === this.#filter) return;
    this.#stop?.();
    this.#filter = filter;
    this.#position = undefined;
    this.#pause(false);
    this.#clear();
    this.#trouble('');
    form.classList.toggle('following', filter !== '');
    this.#stop =
      filter &&
      this.#connection.follow(filter, {
        message: (event) => this.#take(event),
        gap: (event) => this.#take(event),
        subscribed: (event) => this.#subscribed(event),
        failed: (error) => this.#trouble(`${error.code}: ${error.message}`),
      });
    this.#changed(filter);
  }

  #subscribed({ epoch, offset }) {
    this.#trouble('');
    const before = this.#position;
    if (before === undefined) {
      this.#position = { epoch, offset };
      return;
    }
    const missed = before.epoch === epoch && offset !== undefined ? offset - before.offset : undefined;
    this.#position = { epoch, offset };
    const told = missed === undefined ? 'what was published meanwhile is not shown' : missed === 0 ? 'nothing was missed' : `${whole(missed)} missed meanwhile`;
    this.#push({ type: 'note', text: `connected again, ${told}` });
  }

  #take(event) {
    if (this.#position !== undefined && event.topic === this.#filter) {
      this.#position = { epoch: event.epoch ?? this.#position.epoch, offset: event.to ?? event.offset };
    }
    if (event.type === 'message') this.#received += 1;
    this.#push(event);
  }

  #push(event) {
    event.time = new Date();
    this.#waiting.push(event);
    this.#waitingCount += 1;
    // Cut in bulk: a shift per message would cost as much as the message.
    if (this.#waiting.length > 2 * ROWS_MAX) this.#waiting = this.#waiting.slice(-ROWS_MAX);
    this.#timer ??= setTimeout(() => this.#draw(), this.#flooded ? DRAW_FLOOD_MS : DRAW_EVERY_MS);
  }

  #draw() {
    this.#timer = undefined;
    const { rows, count, pause } = this.#parts;
    write(count, this.#received === 0 ? '' : `${whole(this.#received)} received`);
    if (this.#paused) {
      write(pause, this.#waitingCount === 0 ? 'Resume' : `Resume (${whole(this.#waitingCount)})`);
      return;
    }
    this.#flooded = this.#waiting.length > ROWS_MAX / 2;
    const fresh = this.#waiting.slice(-ROWS_MAX).reverse().map((event) => this.#row(event));
    this.#waiting = [];
    this.#waitingCount = 0;
    rows.prepend(...fresh);
    while (rows.children.length > ROWS_MAX) rows.lastChild.remove();
    this.#blank();
  }

  #row(event) {
    const ms = String(event.time.getMilliseconds()).padStart(3, '0');
    const time = element('time', {}, clock(event.time), element('span', {}, `.${ms}`));
    if (event.type === 'note') return element('li', { class: 'note' }, time, element('span', { class: 'value' }, event.text));

    const topic = event.topic === this.#filter ? [] : [element('span', { class: 'topic', title: event.topic }, event.topic)];
    if (event.type === 'gap') {
      const left = event.to - event.from + 1;
      const text = `gap: ${whole(left)} left out, #${event.from} to #${event.to} (${REASON[event.reason] ?? event.reason})`;
      return element('li', { class: 'gap' }, time, ...topic, element('span', { class: 'value' }, text));
    }
    const line = element('summary', {}, time, ...topic, element('span', { class: 'at' }, `#${event.offset}`), element('span', { class: 'value' }, json(event.data, { limit: LINE_CHARS })));
    const opened = element('details', {}, line);
    // Drawn when opened: of two hundred rows few ever are.
    opened.addEventListener('toggle', () => {
      if (opened.children.length === 1) opened.append(element('pre', { tabindex: '0' }, json(event.data, { indent: 2, limit: OPENED_CHARS })));
    });
    return element('li', { class: 'message' }, opened);
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
    this.#parts.rows.replaceChildren();
    this.#draw();
    this.#blank();
  }

  #blank() {
    const { rows, blank, pause, clear } = this.#parts;
    const empty = rows.children.length === 0;
    pause.disabled = this.#filter === '';
    clear.disabled = empty && !this.#paused;
    blank.hidden = !empty;
    if (!empty) return;
    const wild = /[*>]/.test(this.#filter);
    const to = this.#filter === '' ? 'news' : this.#filter;
    const what = this.#filter === '' ? ['Nothing followed', 'Choose a topic, or type a pattern: * stands for one segment, a last > for the rest.'] : [`Waiting for ${this.#filter}`, wild ? 'Whatever is published to a topic that matches appears here.' : 'Whatever is published appears here:'];
    blank.replaceChildren(element('strong', {}, what[0]), element('span', {}, what[1]));
    if (this.#filter !== '' && !wild && !to.startsWith('$')) blank.append(element('code', {}, `fanfare pub ${to} '{"hello":1}'`));
  }

  #trouble(text) {
    this.#parts.error.hidden = text === '';
    write(this.#parts.error, text);
  }
}
