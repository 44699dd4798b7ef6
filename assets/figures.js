// The overview: figures of `$stats`, which counts totals; rates are differences between two events.

import { bytes, count, element, joined, percent, rate, whole, write } from './format.js';
import { Spark } from './spark.js';

const WINDOW_MS = 120_000;
/** A young page shows a shorter window, so that its first lines are not a dot at the edge. */
const WINDOW_MS_MIN = 12_000;
/** `$stats` comes once a second; more than this between two of them is a hole in the line. */
const HOLE_MS = 3500;
/** A steady figure runs below the top of its tile, so that a rise has room to be seen. */
const HEADROOM = 1.25;

/** Per second, of a total: what was added since the event before. */
const perSecond = (name) => (now, before) => ((now[name] - before[name]) * 1000) / (now.uptime_ms - before.uptime_ms);
const level = (name) => (now) => now[name];
const plural = (n, one, many) => `${whole(n)} ${n === 1 ? one : many}`;

/** `value` needs an event before the newest when it takes two; `least` is the lowest top of the scale. */
const FIGURES = [
  { name: 'deliveries', label: 'Deliveries', per: 'per second', large: true, least: 5, form: rate, value: perSecond('delivered'), detail: (s) => `${joined(count(s.delivered))} in all` },
  { name: 'publishes', label: 'Publishes', per: 'per second', large: true, least: 5, form: rate, value: perSecond('published'), detail: (s) => `${joined(count(s.published))} in all` },
  { name: 'bytes', label: 'Bytes out', per: 'per second', large: true, least: 1024, form: bytes, value: perSecond('delivered_bytes'), detail: (s) => `${joined(bytes(s.delivered_bytes))} in all` },
  { name: 'connections', label: 'Connections', least: 2, form: count, value: level('connections'), detail: (s, peak) => `peak ${joined(count(peak))}` },
  { name: 'subscriptions', label: 'Subscriptions', least: 2, form: count, value: level('subscriptions'), detail: (s, peak) => `peak ${joined(count(peak))}` },
  { name: 'topics', label: 'Topics', least: 2, form: count, value: level('topics'), detail: (s) => `${joined(bytes(s.retained_bytes))} held` },
  { name: 'cpu', label: 'CPU', least: 10, form: percent, value: perSecond('cpu_ms'), scale: 0.1, detail: (s) => plural(s.shards, 'shard', 'shards') },
  { name: 'memory', label: 'Memory', least: 1024, form: bytes, value: level('memory_bytes'), detail: () => 'resident' },
  { name: 'gaps', label: 'Gaps', least: 1, form: count, value: level('gaps'), change: true, detail: (s) => `${joined(count(s.skipped))} skipped` },
];

class Figure {
  #kind;
  #spark = new Spark();
  #output = element('output');
  #detail = element('span', { class: 'detail' }, '\u00a0');
  #samples = [];
  #window = { from: 0, to: 1 };
  #pointed;
  #text = '';

  constructor(kind) {
    this.#kind = kind;
    const label = element('dt', {}, kind.label);
    if (kind.per) label.append(' ', element('span', {}, kind.per));
    this.node = element('div', { class: kind.large ? 'figure large' : 'figure', 'data-figure': kind.name }, label, element('dd', {}, this.#output, this.#detail));
    this.node.append(this.#spark.svg);
    this.node.addEventListener('pointermove', (event) => this.#point(event));
    this.node.addEventListener('pointerleave', () => this.#point());
    this.#show();
  }

  take(now, before, at) {
    const kind = this.#kind;
    const value = kind.value.length < 2 ? kind.value(now) : before && kind.value(now, before);
    if (value !== undefined) {
      // A gap is an event: its line shows when it happened, its figure how many there were.
      const drawn = kind.change ? Math.max(0, value - (before?.[kind.name] ?? value)) : value * (kind.scale ?? 1);
      this.#samples.push({ at, value: drawn, shown: kind.change ? value : drawn });
    }
    while (this.#samples.length > 0 && at - this.#samples[0].at > WINDOW_MS) this.#samples.shift();
    const first = this.#samples[0]?.at ?? at;
    this.#window = { from: at - Math.max(WINDOW_MS_MIN, at - first), to: at };
    const top = Math.max(0, ...this.#samples.map((sample) => sample.value));
    this.#text = kind.detail(now, top);
    this.#spark.draw(this.#samples, { ...this.#window, least: Math.max(kind.least, top * HEADROOM), hole: HOLE_MS });
    if (kind.change) this.node.classList.toggle('alarm', top > 0);
    this.#show();
  }

  forget() {
    this.#samples = [];
  }

  /** The sample under the pointer takes the place of the newest one. */
  #point(event) {
    if (event === undefined || this.#samples.length < 2) {
      this.#pointed = undefined;
    } else {
      const box = this.#spark.svg.getBoundingClientRect();
      const { from, to } = this.#window;
      const at = from + ((event.clientX - box.left) / box.width) * (to - from);
      this.#pointed = this.#samples.reduce((best, sample) => (Math.abs(sample.at - at) < Math.abs(best.at - at) ? sample : best));
    }
    this.#show();
  }

  #show() {
    const { from, to } = this.#window;
    const pointed = this.#pointed;
    const sample = pointed ?? this.#samples.at(-1);
    const [figure, unit] = sample === undefined ? ['–', ''] : this.#kind.form(pointed ? pointed.value : sample.shown);
    write(this.#output, figure);
    if (unit) this.#output.append(element('span', { class: 'unit' }, unit));
    const ago = pointed && Math.round((to - pointed.at) / 1000);
    write(this.#detail, pointed === undefined ? this.#text || '\u00a0' : ago === 0 ? 'now' : `${ago} s ago`);
    this.#spark.point(pointed && (pointed.at - from) / (to - from));
  }
}

export class Figures {
  #figures = FIGURES.map((kind) => new Figure(kind));
  #before;

  constructor(root) {
    root.append(...this.#figures.map((figure) => figure.node));
  }

  take(stats) {
    // Another process counts from zero: differences to the one before would be nonsense.
    if (this.#before && stats.uptime_ms <= this.#before.uptime_ms) {
      this.#before = undefined;
      for (const figure of this.#figures) figure.forget();
    }
    // Across an outage the mean of a rate says nothing about any second of it.
    if (this.#before && stats.uptime_ms - this.#before.uptime_ms > HOLE_MS) this.#before = undefined;
    const at = performance.now();
    for (const figure of this.#figures) figure.take(stats, this.#before, at);
    this.#before = stats;
  }
}
