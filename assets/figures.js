// The tiles of the overview: figures of `$stats`, which counts totals; rates are differences between two
// events. Time is the server's uptime, so that what was replayed stands where it belongs.

import { bytes, count, duration, element, joined, percent, rate, whole, write } from './format.js';
import { Series } from './series.js';
import { Spark } from './spark.js';

/** A young page shows a shorter window, so that its first lines are not a dot at the edge. */
const WINDOW_MS_MIN = 12_000;
/** `$stats` comes once a second; more than this between two of them is a hole in the line. */
export const HOLE_MS = 3500;
/** Points of a line; more would be narrower than its stroke. */
const POINTS_MAX = 240;
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
  { name: 'connections', label: 'Connections', least: 2, form: count, value: (s) => s.connections + s.event_streams, detail: (s) => (s.event_streams > 0 ? `${whole(s.event_streams)} by SSE` : plural(s.stalled, 'stalled', 'stalled')) },
  { name: 'subscriptions', label: 'Subscriptions', least: 2, form: count, value: level('subscriptions'), detail: (_, peak) => `peak ${joined(count(peak))}` },
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
  #series = new Series();
  #drawn = [];
  #window = { from: 0, to: 1 };
  #newest;
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

  take(now, before) {
    const kind = this.#kind;
    const value = kind.value.length < 2 ? kind.value(now) : before && kind.value(now, before);
    if (value === undefined) return;
    // A gap is an event: its line shows when it happened, its figure how many there were.
    const drawn = kind.change ? Math.max(0, value - (before?.[kind.name] ?? value)) : value * (kind.scale ?? 1);
    this.#series.push(now.uptime_ms, drawn);
    this.#newest = { stats: now, value: kind.change ? value : drawn };
  }

  draw(spanMs) {
    if (this.#newest === undefined) return;
    const { first, last } = this.#series;
    const to = last.at;
    const width = spanMs / POINTS_MAX;
    const from = to - Math.min(spanMs, Math.max(WINDOW_MS_MIN, to - first.at));
    this.#window = { from, to };
    this.#drawn = this.#series.since(from, width);
    const top = this.#drawn.reduce((most, { value }) => Math.max(most, value), 0);
    this.#text = this.#kind.detail(this.#newest.stats, top);
    this.#spark.draw(this.#drawn, { from, to, least: Math.max(this.#kind.least, top * HEADROOM), hole: Math.max(HOLE_MS, 2.5 * width) });
    if (this.#kind.change) this.node.classList.toggle('alarm', top > 0);
    this.#show();
  }

  forget() {
    this.#series.clear();
  }

  /** The sample under the pointer takes the place of the newest one. */
  #point(event) {
    if (event === undefined || this.#drawn.length < 2) {
      this.#pointed = undefined;
    } else {
      const box = this.#spark.svg.getBoundingClientRect();
      const { from, to } = this.#window;
      const at = from + ((event.clientX - box.left) / box.width) * (to - from);
      this.#pointed = this.#drawn.reduce((best, sample) => (Math.abs(sample.at - at) < Math.abs(best.at - at) ? sample : best));
    }
    this.#show();
  }

  #show() {
    const { from, to } = this.#window;
    const pointed = this.#pointed;
    const shown = pointed ?? this.#newest;
    const [figure, unit] = shown === undefined ? ['–', ''] : this.#kind.form(shown.value);
    write(this.#output, figure + unit);
    if (unit) this.#output.replaceChildren(figure, element('span', { class: 'unit' }, unit));
    const ago = pointed && Math.round((to - pointed.at) / 1000);
    write(this.#detail, pointed === undefined ? this.#text || '\u00a0' : ago === 0 ? 'now' : `${duration(ago * 1000)} ago`);
    this.#spark.point(pointed && (pointed.at - from) / (to - from));
  }
}

export class Figures {
  #figures = FIGURES.map((kind) => new Figure(kind));

  constructor(root) {
    root.append(...this.#figures.map((figure) => figure.node));
  }

  take(now, before) {
    for (const figure of this.#figures) figure.take(now, before);
  }

  draw(spanMs) {
    for (const figure of this.#figures) figure.draw(spanMs);
  }

  forget() {
    for (const figure of this.#figures) figure.forget();
  }
}
