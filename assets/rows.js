// A table of many rows, of which only those in sight are in the document. All rows are equally high, so
// where one stands is arithmetic; two empty rows are as high as what is left out above and below.
//
// Arrows, Home, End and the page keys move from row to row; Tab meets one of them.

import { element } from './format.js';

/** Rows beyond each edge, so that a quick scroll shows no emptiness. */
const BEYOND = 6;

export class Rows {
  #table;
  #body;
  #scroller;
  #make;
  #chosen;
  #items = [];
  /** key -> a row that is in the document: `{ node, focus, fill(item) }`. */
  #shown = new Map();
  #spare = [];
  #above = element('tr', { 'aria-hidden': 'true', class: 'left-out' }, element('td'));
  #below = element('tr', { 'aria-hidden': 'true', class: 'left-out' }, element('td'));
  #current;
  #drawing;

  /**
   * `make()` makes a row: its `node`, a `tr`, what in it takes the `focus`, and `fill(item)`, which shows
   * an item. `chosen(item)` is called when a row is clicked, or Enter pressed.
   */
  constructor({ body, scroller, make, chosen }) {
    this.#table = body.closest('table');
    this.#body = body;
    this.#scroller = scroller;
    this.#make = make;
    this.#chosen = chosen;
    body.append(this.#above, this.#below);
    scroller.addEventListener('scroll', () => this.#soon(), { passive: true });
    new ResizeObserver(() => this.#soon()).observe(scroller);
    body.addEventListener('keydown', (event) => this.#press(event));
    body.addEventListener('click', ({ target }) => {
      const item = target.closest('[data-own]') ? undefined : this.#itemOf(target.closest('tr'));
      if (item !== undefined) this.#chosen?.(item);
    });
  }

  /** Items have a `key`, by which a row stays theirs. */
  set items(items) {
    this.#items = items;
    this.#table.setAttribute('aria-rowcount', String(items.length + 1));
    this.draw();
  }

  /** Whether somebody points at a row, or has reached it by keyboard: it should stay where it is. */
  get attended() {
    return this.#body.matches(':hover, :focus-within') && this.#shown.size > 0;
  }

  toTop() {
    this.#scroller.scrollTop = 0;
  }

  draw() {
    const height = this.#height();
    const { scrollTop, clientHeight } = this.#scroller;
    const from = Math.max(0, Math.floor(scrollTop / height) - BEYOND);
    const to = Math.min(this.#items.length, Math.ceil((scrollTop + clientHeight) / height) + BEYOND);
    const wanted = this.#items.slice(from, to);

    const keys = new Set(wanted.map(({ key }) => key));
    const focused = document.activeElement;
    for (const [key, row] of this.#shown) {
      if (keys.has(key)) continue;
      // Whoever was here goes on from the table itself.
      if (row.node.contains(focused)) this.#scroller.focus({ preventScroll: true });
      row.node.remove();
      this.#shown.delete(key);
      this.#spare.push(row);
    }
    if (!keys.has(this.#current)) this.#current = wanted[Math.min(BEYOND, from === 0 ? 0 : BEYOND)]?.key;
    let place = this.#above;
    for (const [at, item] of wanted.entries()) {
      const row = this.#shown.get(item.key) ?? this.#spare.pop() ?? this.#make();
      this.#shown.set(item.key, row);
      row.item = item;
      row.fill(item);
      row.node.setAttribute('aria-rowindex', String(from + at + 2));
      row.focus.tabIndex = item.key === this.#current ? 0 : -1;
      if (place.nextSibling !== row.node) place.after(row.node);
      place = row.node;
    }
    // Moving a node takes the focus from it.
    if (focused !== document.activeElement && this.#body.contains(focused)) focused.focus({ preventScroll: true });
    tall(this.#above, from * height);
    tall(this.#below, (this.#items.length - to) * height);
  }

  #soon() {
    this.#drawing ??= requestAnimationFrame(() => {
      this.#drawing = undefined;
      this.draw();
    });
  }

  /** The style sheet's: it is another one where fingers point. */
  #height() {
    return parseFloat(getComputedStyle(this.#table).getPropertyValue('--row')) || 36;
  }

  #itemOf(node) {
    for (const row of this.#shown.values()) if (row.node === node) return row.item;
    return undefined;
  }

  #press(event) {
    const at = this.#items.findIndex(({ key }) => key === this.#itemOf(event.target.closest('tr'))?.key);
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.#scroller.clientHeight / this.#height()) - 2);
    const last = this.#items.length - 1;
    const steps = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: last };
    const to = steps[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#goTo(Math.min(last, Math.max(0, to)));
  }

  #goTo(at) {
    const height = this.#height();
    const head = this.#table.tHead.offsetHeight;
    const { scrollTop, clientHeight } = this.#scroller;
    const top = at * height;
    if (top < scrollTop) this.#scroller.scrollTop = top;
    else if (top + height + head > scrollTop + clientHeight) this.#scroller.scrollTop = top + height + head - clientHeight;
    this.#current = this.#items[at].key;
    this.draw();
    this.#shown.get(this.#current)?.focus.focus({ preventScroll: true });
  }
}

function tall(row, height) {
  row.hidden = height === 0;
  row.firstChild.style.height = `${height}px`;
}

/** Heads of columns that sort: `sorted({ key, down })` is called when one is pressed, and shows which. */
export function sortable(table, { key, down }, sorted) {
  const heads = [...table.querySelectorAll('th [data-sort]')];
  const show = () => {
    for (const head of heads) {
      const cell = head.closest('th');
      if (head.dataset.sort === key) cell.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      else cell.removeAttribute('aria-sort');
    }
  };
  for (const head of heads) {
    head.addEventListener('click', () => {
      down = head.dataset.sort === key ? !down : head.dataset.first === 'down';
      key = head.dataset.sort;
      show();
      sorted({ key, down });
    });
  }
  show();
}
