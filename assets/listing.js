// All topics with their rates, asked for a thousand at a time. How often follows from how many there are: a
// page of them costs the server and this one the same, however many follow.

import { Refused } from './session.js';

const PAGE = 1000;
/** More are not kept: who has that many looks for them by prefix, which the server does. */
export const LISTED_MAX = 20_000;
const BETWEEN_PAGES_MS = 250;
const EVERY_MS = 2000;
const EVERY_HIDDEN_MS = 10_000;
/** Positions kept per topic whose rate is drawn. */
const SAMPLES_MAX = 31;
/** The rate in figures is taken over this many answers, the line shows each. */
const SMOOTH = 3;

/** A topic as it stands, and how it came there. */
class Topic {
  rate = -1;
  #samples = [];

  constructor(topic) {
    this.topic = topic;
    this.key = topic;
  }

  take({ epoch, offset, subscribers }, at) {
    if (this.epoch !== epoch) this.#samples = [];
    Object.assign(this, { epoch, offset, subscribers });
    const samples = this.#samples;
    samples.push({ at, offset });
    if (samples.length > SAMPLES_MAX) samples.shift();
    if (samples.length > 1) {
      const before = samples.at(-1 - Math.min(SMOOTH, samples.length - 1));
      this.rate = ((offset - before.offset) * 1000) / (at - before.at);
    }
    // Of ten thousand topics most are still: one position says that.
    if (samples.length > 2 && samples[0].offset === offset) samples.splice(0, samples.length - 2);
  }

  /** Rates, oldest first, and the time that they are drawn over. */
  get line() {
    const samples = this.#samples;
    const rates = samples.slice(1).map(({ at, offset }, before) => ({ at, value: ((offset - samples[before].offset) * 1000) / (at - samples[before].at) }));
    const to = samples.at(-1)?.at ?? 0;
    return { rates, from: Math.min(to - 5 * EVERY_MS, rates[0]?.at ?? to), to };
  }
}

export class Listing {
  /** In the server's order. */
  topics = [];
  /** Whether there are more than are kept. */
  cut = false;

  #session;
  #changed;
  #failed;
  #known = new Map();
  #prefix = '';
  #live = false;
  #asking;
  #timer;

  /** `changed(listing)` is called with each answer, `failed(error)` where there is none. */
  constructor({ session, changed, failed }) {
    this.#session = session;
    this.#changed = changed;
    this.#failed = failed;
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) this.#soon(0);
    });
  }

  /** Asks only while the connection is up: a server that is away is not asked twice. */
  set live(live) {
    if (live === this.#live) return;
    this.#live = live;
    this.#soon(0);
  }

  /** Only topics that begin so, for a server that has too many. */
  set prefix(prefix) {
    if (prefix === this.#prefix) return;
    this.#prefix = prefix;
    this.#soon(200);
  }

  #soon(ms) {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    if (this.#live) this.#timer = setTimeout(() => this.#sweep(), ms);
  }

  async #sweep() {
    const asking = new AbortController();
    this.#asking = asking;
    const first = this.topics.length === 0;
    try {
      const found = [];
      let more = true;
      while (more && found.length < LISTED_MAX) {
        const query = { limit: PAGE, prefix: this.#prefix, after: found.at(-1)?.topic };
        const answer = await this.#session.call('v1/topics', { query, signal: asking.signal });
        if (asking.signal.aborted) return;
        found.push(...this.#take(answer?.topics));
        more = answer.topics.length === PAGE;
        // What is there is shown while the rest is on its way.
        if (first) this.#show(found, more);
        if (more && !first) await new Promise((resume) => setTimeout(resume, BETWEEN_PAGES_MS));
        if (asking.signal.aborted) return;
      }
      this.#show(found, more);
      this.#known = new Map(found.map((topic) => [topic.topic, topic]));
    } catch (error) {
      if (asking.signal.aborted || !this.#live) return;
      this.#failed(error);
    }
    this.#timer = setTimeout(() => this.#sweep(), document.hidden ? EVERY_HIDDEN_MS : EVERY_MS);
  }

  #take(listed) {
    if (!Array.isArray(listed)) throw new Refused('no_answer', 'no list of topics came');
    const at = performance.now();
    return listed.map((each) => {
      let topic = this.#known.get(each.topic);
      if (!topic) {
        topic = new Topic(each.topic);
        this.#known.set(each.topic, topic);
      }
      topic.take(each, at);
      return topic;
    });
  }

  #show(found, more) {
    this.topics = found.slice();
    this.cut = more;
    this.#changed(this);
  }
}
