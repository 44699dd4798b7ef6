// The form that publishes: JSON if the data parses, else a string, as `fanfare pub` does it.

import { Text } from './exact.js';
import { addressOf, element, write } from './format.js';
import { isPattern } from './pattern.js';

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
  #client;
  #parts;

  constructor({ root }) {
    this.#parts = Object.fromEntries(['form', 'topic', 'key', 'data', 'kind', 'send', 'result'].map((name) => [name, root.querySelector(`#publish-${name}`)]));
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

  set client(client) {
    this.#client = client;
  }

  set live(live) {
    this.#parts.send.disabled = !live;
  }

  /** The topic that is looked at is the one that is most likely meant. */
  suggest(topic) {
    if (!topic.startsWith('$') && !isPattern(topic)) this.#parts.topic.value = topic;
  }

  async #publish() {
    const { topic, key, data, result } = this.#parts;
    const name = topic.value.trim();
    const begun = performance.now();
    try {
      const options = { retry: false, ...(key.value !== '' && { key: key.value }) };
      const { offset } = await this.#client.publish(name, new Text(reading(data.value).text), options);
      const took = (performance.now() - begun).toFixed(1);
      const follow = element('a', { href: addressOf(name) }, 'Follow it');
      result.replaceChildren(element('span', { class: 'good' }, 'Published'), ' to ', element('code', {}, name), ` as #${offset} in ${took} ms. `, follow);
    } catch (error) {
      const later = error.retryAfterMs === undefined ? '' : ` Try again in ${Math.ceil(error.retryAfterMs / 1000)} s.`;
      result.replaceChildren(element('span', { class: 'bad' }, error.code ?? 'error'), ` ${error.message}.${later}`);
    }
  }
}
