// The table of topics: search, order, and a line for each rate.

import { element, joined, rate, whole, write } from './format.js';
import { LISTED_MAX } from './listing.js';
import { covers, isPattern } from './pattern.js';
import { Rows, sortable } from './rows.js';
import { Spark } from './spark.js';

/** A line may break where an answer was late. */
const HOLE_MS = 20_000;

export class Topics {
  #parts;
  #rows;
  #listing;
  #sort = { key: 'topic', down: false };
  #shown = [];
  #total = 0;
  #current = '';
  #byPrefix = false;

  /** `chosen(topic)` is called when one is clicked. */
  constructor({ root, listing, chosen }) {
    this.#listing = listing;
    this.#parts = Object.fromEntries(['count', 'search', 'error', 'rows', 'blank', 'cut'].map((name) => [name, root.querySelector(`#topics-${name}`)]));
    const { rows, search } = this.#parts;
    this.#rows = new Rows({ body: rows, scroller: rows.closest('.scroll'), make: () => this.#row(), chosen: ({ topic }) => chosen(topic) });
    search.addEventListener('input', () => {
      this.#rows.toTop();
      this.#arrange(true);
    });
    sortable(rows.closest('table'), this.#sort, (sort) => {
      this.#sort = sort;
      this.#rows.toTop();
      this.#arrange(true);
    });
    this.#note('Loading', 'The list of topics is on its way.');
  }

  /** The listing has another answer. */
  refresh() {
    this.trouble = '';
    this.#arrange(false);
  }

  set total(total) {
    this.#total = total;
    this.#count();
  }

  set current(topic) {
    this.#current = topic;
    this.#rows.draw();
  }

  set trouble(text) {
    this.#parts.error.hidden = text === '';
    write(this.#parts.error, text);
    if (text !== '' && this.#listing.topics.length === 0) this.#note('No list', 'It is asked for again.');
  }

  /** Nothing can be listed, and why. */
  refuse(title, text) {
    this.#parts.search.disabled = true;
    this.#note(title, text);
  }

  #row() {
    const spark = new Spark();
    const name = element('button', { type: 'button', class: 'name' });
    const figure = element('span');
    const subscribers = element('td', { class: 'subscribers' });
    const offset = element('td', { class: 'offset' });
    const node = element('tr', {}, element('th', { scope: 'row' }, name), element('td', { class: 'rate' }, element('div', {}, spark.svg, figure)), subscribers, offset);
    const fill = (topic) => {
      if (node.dataset.topic !== topic.topic) {
        node.dataset.topic = topic.topic;
        name.title = topic.topic;
        write(name, topic.topic);
        node.classList.toggle('reserved', topic.topic.startsWith('$'));
      }
      const current = topic.topic === this.#current;
      node.classList.toggle('current', current);
      if (current) name.setAttribute('aria-current', 'true');
      else name.removeAttribute('aria-current');
      node.classList.toggle('still', topic.rate <= 0);
      const { rates, from, to } = topic.line;
      spark.draw(rates, { from, to, least: 0.5, hole: HOLE_MS });
      write(figure, topic.rate < 0 ? '–' : joined(rate(topic.rate)));
      write(subscribers, whole(topic.subscribers));
      write(offset, whole(topic.offset));
    };
    return { node, focus: name, fill };
  }

  /** Puts what matches in order. A row must not slip away from under the pointer or the keyboard. */
  #arrange(anew) {
    const wanted = this.#parts.search.value.trim();
    // Where there are too many to be kept the server looks, and it looks for beginnings.
    this.#byPrefix ||= this.#listing.cut;
    if (this.#byPrefix) this.#listing.prefix = wanted.replace(/[*>].*$/, '');
    const found = this.#listing.topics.filter(matching(wanted));
    const { key, down } = this.#sort;
    if (key === 'topic') {
      // It came in order.
      if (down) found.reverse();
    } else if (!anew && this.#rows.attended) {
      const place = new Map(this.#shown.map(({ topic }, at) => [topic, at]));
      found.sort((a, b) => (place.get(a.topic) ?? Infinity) - (place.get(b.topic) ?? Infinity));
    } else {
      found.sort((a, b) => (a[key] - b[key]) * (down ? -1 : 1));
    }
    this.#shown = found;
    this.#rows.items = found;
    this.#count();
    if (found.length > 0) this.#parts.blank.hidden = true;
    else if (wanted !== '') this.#note('No match', `No topic has “${wanted}” in its name.`);
    else this.#note('No topics yet', 'A topic appears with its first message or subscriber:', `fanfare pub news '{"hello":1}'`);
  }

  #count() {
    const { count, search, cut } = this.#parts;
    const { topics } = this.#listing;
    const all = Math.max(this.#total, topics.length);
    write(count, search.value.trim() === '' ? whole(all) : `${whole(this.#shown.length)} of ${whole(all)}`);
    cut.hidden = !this.#listing.cut;
    write(cut, `The first ${whole(LISTED_MAX)} by name. Type how a name begins to see others.`);
  }

  #note(title, text, command) {
    const { blank } = this.#parts;
    blank.hidden = false;
    blank.replaceChildren(element('strong', {}, title), element('span', {}, text), ...(command ? [element('code', {}, command)] : []));
  }
}

/** A pattern is taken as one; anything else may stand anywhere in a name. */
function matching(wanted) {
  if (isPattern(wanted)) return ({ topic }) => covers(wanted, topic);
  const text = wanted.toLowerCase();
  return ({ topic }) => topic.toLowerCase().includes(text);
}
