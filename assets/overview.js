// The overview: what `$stats` says, over two minutes or an hour, the busiest topics, and who is behind.

import { Causes } from './causes.js';
import { addressOf, bytes, element, joined, rate, whole, write } from './format.js';
import { Figures, HOLE_MS } from './figures.js';

/** So many figures are asked for at first: those of two minutes, as long as somebody followed them. */
const REPLAYED = 120;
const TOP = 8;

export class Overview {
  #parts;
  #figures;
  #causes;
  #before;
  #spanMs = 120_000;
  #isShown = false;

  /** `took(stats)` is called with each event, `failed(error)` if there will be none. */
  constructor({ root, took, failed }) {
    const part = (name) => root.querySelector(`#${name}`);
    this.#parts = { busiest: part('busiest'), behind: part('behind'), lately: part('causes-lately'), bar: part('spans'), spans: [...root.querySelectorAll('[data-span]')] };
    this.#figures = new Figures(part('figures'));
    this.#causes = new Causes(part('causes'));
    this.took = took;
    this.failed = failed;
    for (const button of this.#parts.spans) button.addEventListener('click', () => this.#choose(button));
  }

  follow(client) {
    client.subscribe('$stats', ({ data }) => this.#take(data), { last: REPLAYED, onError: (error) => this.failed(error) });
  }

  set shown(shown) {
    this.#isShown = shown;
    this.#parts.bar.hidden = !shown;
    this.#draw();
  }

  set topics(topics) {
    if (!this.#isShown) return;
    const busiest = topics.filter((topic) => topic.rate > 0).sort((a, b) => b.rate - a.rate);
    const lines = busiest.slice(0, TOP).map(({ topic, rate: perSecond, subscribers }) => ({
      name: element('a', { href: addressOf(topic), class: 'name', title: topic }, topic),
      figures: [joined(rate(perSecond)), whole(subscribers)],
    }));
    list(this.#parts.busiest, lines, 'No topic has messages now.');
  }

  set connections(connections) {
    if (!this.#isShown) return;
    const behind = connections.filter(({ backlog_bytes: backlog, gaps }) => backlog > 0 || gaps > 0);
    const lines = behind.slice(0, TOP).map(({ connection, subject, address, backlog_bytes: backlog, gaps }) => ({
      name: element('a', { href: `#/connections/${encodeURIComponent(connection)}`, class: 'name', title: connection }, subject ?? address ?? connection),
      figures: [joined(bytes(backlog)), whole(gaps)],
    }));
    list(this.#parts.behind, lines, 'Nobody is behind.');
  }

  #take(stats) {
    // Another process counts from zero: differences to the one before would be nonsense.
    if (this.#before && stats.uptime_ms <= this.#before.uptime_ms) {
      this.#before = undefined;
      this.#figures.forget();
      this.#causes.forget();
    }
    // Across an outage the mean of a rate says nothing about any second of it.
    if (this.#before && stats.uptime_ms - this.#before.uptime_ms > HOLE_MS) this.#before = undefined;
    this.#figures.take(stats, this.#before);
    this.#causes.take(stats, this.#before);
    this.#before = stats;
    this.took(stats);
    this.#draw();
  }

  #drawing;
  /** Once per frame, for what is replayed comes all at once. */
  #draw() {
    if (!this.#isShown) return;
    this.#drawing ??= requestAnimationFrame(() => {
      this.#drawing = undefined;
      this.#figures.draw(this.#spanMs);
      this.#causes.draw(this.#spanMs);
    });
  }

  #choose(button) {
    this.#spanMs = Number(button.dataset.span);
    for (const each of this.#parts.spans) each.setAttribute('aria-pressed', String(each === button));
    write(this.#parts.lately, `In ${button.textContent}`);
    this.#draw();
  }
}

/** Lines of a name and two figures, made anew only where something differs. */
function list(body, lines, none) {
  if (lines.length === 0) {
    body.replaceChildren(element('tr', { class: 'none' }, element('td', { colspan: '3' }, none)));
    return;
  }
  for (const [at, { name, figures }] of lines.entries()) {
    let row = body.children[at];
    if (row?.children.length !== 3) {
      row?.remove();
      row = element('tr', {}, element('th', { scope: 'row' }), element('td'), element('td'));
      body.insertBefore(row, body.children[at] ?? null);
    }
    const [head, ...cells] = row.children;
    if (head.firstChild?.getAttribute('href') !== name.getAttribute('href')) head.replaceChildren(name);
    for (const [place, cell] of cells.entries()) write(cell, figures[place]);
  }
  while (body.children.length > lines.length) body.lastChild.remove();
}
