// One topic, or a pattern: its tail, what it holds, and who is there.

import { History } from './history.js';
import { Members } from './members.js';
import { isPattern } from './pattern.js';
import { Tail } from './tail.js';

const TABS = ['tail', 'history', 'members'];

export class TopicView {
  #parts;
  #tail;
  #history;
  #members;
  #topic = '';
  #tab = 'tail';

  /** `go(topic, tab)` is called when another is chosen; `join()` makes a client that may be a member. */
  constructor({ root, go, join }) {
    const part = (name) => root.querySelector(`#${name}`);
    this.#parts = {
      form: part('topic-form'),
      filter: part('topic-filter'),
      tabs: TABS.map((name) => part(`tab-${name}`)),
      panels: TABS.map((name) => part(`panel-${name}`)),
    };
    this.#tail = new Tail({ root });
    this.#history = new History({ root });
    this.#members = new Members({ root, join });
    const { form, filter, tabs } = this.#parts;
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      go(filter.value.trim(), this.#tab);
    });
    for (const [at, tab] of tabs.entries()) {
      tab.addEventListener('click', () => go(this.#topic, TABS[at]));
      tab.addEventListener('keydown', (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (step === undefined) return;
        event.preventDefault();
        const usable = tabs.filter(({ disabled }) => !disabled);
        const next = usable.at((usable.indexOf(tab) + step) % usable.length);
        next.focus();
        next.click();
      });
    }
  }

  set client(client) {
    this.#tail.client = client;
    this.#history.client = client;
    this.#members.client = client;
    if (this.#tab === 'history') this.#history.show(this.#topic);
  }

  get topic() {
    return this.#topic;
  }

  get tab() {
    return this.#tab;
  }

  /** `shown` is whether this view is the one in sight. */
  show(topic, tab, shown) {
    const { filter, tabs, panels } = this.#parts;
    const wild = isPattern(topic);
    const chosen = TABS.includes(tab) && !wild ? tab : 'tail';
    const changed = topic !== this.#topic || chosen !== this.#tab;
    this.#topic = topic;
    this.#tab = chosen;
    if (changed || filter.value === '') filter.value = topic;
    for (const [at, name] of TABS.entries()) {
      const own = name === chosen;
      tabs[at].setAttribute('aria-selected', String(own));
      tabs[at].tabIndex = own ? 0 : -1;
      // A pattern is no topic: it has neither a history nor members.
      tabs[at].disabled = name !== 'tail' && (wild || topic === '');
      panels[at].hidden = !own;
    }
    this.#tail.follow(topic);
    if (changed && chosen === 'history') this.#history.show(topic);
    this.#members.show(chosen === 'members' ? topic : '', shown && chosen === 'members');
  }
}
