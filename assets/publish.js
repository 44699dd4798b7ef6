// The form that publishes: JSON if the data parses, else a string, as `fanfare pub` does it.

import { element, write } from './format.js';

/** The data as JSON text, and what to call it. */
export function reading(text) {
  try {
    const value = JSON.parse(text);
    const kind = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
    return { text, kind: `JSON ${kind}` };
  } catch {
    return { text: JSON.stringify(text), kind: 'text' };
  }
}

export class Publish {
  #connection;
  #follow;
  #parts;

  constructor({ root, connection, follow }) {
    this.#connection = connection;
    this.#follow = follow;
    this.#parts = Object.fromEntries(['form', 'topic', 'data', 'kind', 'send', 'result'].map((name) => [name, root.querySelector(`#publish-${name}`)]));
    const { form, data, kind } = this.#parts;
    data.addEventListener('input', () => write(kind, data.value === '' ? '' : `sent as ${reading(data.value).kind}`));
    data.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      form.requestSubmit();
    });
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#publish();
    });
  }

  set live(live) {
    this.#parts.send.disabled = !live;
  }

  async #publish() {
    const { topic, data, result } = this.#parts;
    const name = topic.value.trim();
    const begun = performance.now();
    try {
      const { offset } = await this.#connection.publish(name, reading(data.value).text);
      const follow = element('button', { type: 'button', class: 'link' }, 'Follow it');
      follow.addEventListener('click', () => this.#follow(name));
      result.replaceChildren(element('span', { class: 'good' }, 'Published'), ' to ', element('code', {}, name), ` as #${offset} in ${(performance.now() - begun).toFixed(1)} ms. `, follow);
    } catch (error) {
      const later = error.retry_after_ms === undefined ? '' : ` Try again in ${Math.ceil(error.retry_after_ms / 1000)} s.`;
      result.replaceChildren(element('span', { class: 'bad' }, error.code ?? 'error'), ` ${error.message}.${later}`);
    }
  }
}
