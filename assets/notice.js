// The line below the bar: what is wrong with the connection, how long until something happens, and what can be done.

import { write } from './format.js';

export class Notice {
  #parts;
  #act = () => {};
  #counting;

  constructor(root) {
    this.#parts = { root, ...Object.fromEntries(['text', 'wait', 'act'].map((name) => [name, root.querySelector(`#notice-${name}`)])) };
    this.#parts.act.addEventListener('click', () => this.#act());
  }

  /** `act` is what its button does, called `label`; `until` is when `waiting(seconds)` has counted down. */
  show(text, { label = '', act = () => {}, until, waiting = (s) => `Trying again in ${s} s.` } = {}) {
    const { root, text: said, act: button } = this.#parts;
    root.hidden = text === '';
    write(said, text);
    write(button, label);
    button.hidden = label === '';
    this.#act = act;
    this.#countDown(until, waiting);
  }

  hide() {
    this.show('');
  }

  #countDown(until, waiting) {
    clearTimeout(this.#counting);
    const left = until === undefined ? 0 : Math.ceil((until - performance.now()) / 1000);
    write(this.#parts.wait, left > 0 ? waiting(left) : '');
    if (left > 0) this.#counting = setTimeout(() => this.#countDown(until, waiting), 1000);
  }
}
