// One connection to the server, kept up: subscriptions survive a reconnect, replies find whoever asked.
//
//   connecting ──welcome──▶ live ──close──▶ waiting ──time is up, retry()──▶ connecting
//        │                    │
//        │ close              └──a close that says not to return──▶ refused ──retry()──▶ connecting
//        └──────────▶ waiting
//
// Clock, socket and random come from outside, so that each edge can be walked without a server.

import { parse } from './format.js';

const FIRST_WAIT_MS = 500;
const WAIT_MS_MAX = 30_000;
/** How long a pong may take before the connection counts as dead. */
const PONG_MS_MAX = 10_000;
/** After these the server does not want the same client back by itself. */
const NO_RETURN = new Set([1000, 1002, 1003, 1007, 1009, 4400, 4403, 4409]);

const MEANING = new Map([
  [1001, 'The server is gone.'],
  [1006, 'The server does not answer.'],
  [1012, 'The server is restarting.'],
  [1013, 'The server is overloaded.'],
  [4401, 'The server asks for credentials.'],
  [4403, 'The server refused this connection.'],
  [4408, 'The connection went silent.'],
  [4429, 'Too many commands too fast.'],
]);

/** Whether a subscription, a name or a pattern, covers a topic. */
export function covers(filter, topic) {
  if (filter === topic) return true;
  const want = filter.split('.');
  const have = topic.split('.');
  if (topic.startsWith('$') && (want[0] === '*' || want[0] === '>')) return false;
  for (const [at, segment] of want.entries()) {
    if (segment === '>' && at === want.length - 1) return have.length > at;
    if (at >= have.length || (segment !== '*' && segment !== have[at])) return false;
  }
  return want.length === have.length;
}

export class Connection {
  /** `{ name, text?, until? }`: see the drawing above; `until` is when a wait ends. */
  state = { name: 'connecting' };

  #url;
  #socketType;
  #random;
  #now;
  #changed;
  #socket;
  /** filter -> the listeners that follow it. */
  #followed = new Map();
  /** id -> what settles the promise of its reply. */
  #asked = new Map();
  #lastId = 0;
  #failures = 0;
  #goodbye;
  #heartbeatMs = 25_000;
  #heardAt = 0;
  #pingedAt;
  #timer;

  constructor({ url, changed, socketType = WebSocket, random = Math.random, now = () => performance.now() }) {
    this.#url = url;
    this.#changed = changed;
    this.#socketType = socketType;
    this.#random = random;
    this.#now = now;
    setInterval(() => this.#watch(), 1000);
  }

  open() {
    clearTimeout(this.#timer);
    this.#goodbye = undefined;
    this.#pingedAt = undefined;
    this.#heardAt = this.#now();
    this.#become({ name: 'connecting', text: this.state.text });
    const socket = new this.#socketType(this.#url, ['fanfare.v1.json']);
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      if (socket === this.#socket) this.#hear(data);
    };
    socket.onclose = ({ code }) => {
      if (socket === this.#socket) this.#closed(code);
    };
  }

  /** Connects at once if it is not connected. */
  retry() {
    if (this.state.name === 'waiting' || this.state.name === 'refused') this.open();
  }

  /**
   * Follows a topic or pattern. `listener` has `message(event)` and optionally `gap(event)`,
   * `subscribed(event)` (again after each reconnect) and `failed(error)`. Returns what ends it.
   */
  follow(filter, listener) {
    const listeners = this.#followed.get(filter) ?? new Set();
    this.#followed.set(filter, listeners.add(listener));
    if (this.state.name === 'live') this.#subscribe(filter);
    return () => {
      if (!listeners.delete(listener) || listeners.size > 0) return;
      this.#followed.delete(filter);
      if (this.state.name === 'live') this.#send(JSON.stringify({ type: 'unsubscribe', topic: filter }));
    };
  }

  /** Publishes JSON text as it stands: parsed and written again, large integers would lose digits. */
  publish(topic, text) {
    return this.#ask((id) => `{"type":"publish","id":${id},"topic":${JSON.stringify(topic)},"data":${text}}`);
  }

  #ask(command) {
    if (this.state.name !== 'live') return Promise.reject({ code: 'disconnected', message: 'not connected' });
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      this.#send(command(id));
    });
  }

  #send(text) {
    this.#socket.send(text);
  }

  #subscribe(filter) {
    this.#ask((id) => JSON.stringify({ type: 'subscribe', id, topic: filter })).then(
      (event) => this.#tell(filter, 'subscribed', event),
      (error) => {
        if (error.code !== 'disconnected') this.#tell(filter, 'failed', error);
      },
    );
  }

  #tell(filter, what, event) {
    for (const listener of this.#followed.get(filter) ?? []) listener[what]?.(event);
  }

  #hear(text) {
    this.#heardAt = this.#now();
    this.#pingedAt = undefined;
    const event = parse(text);
    switch (event.type) {
      case 'message':
      case 'gap':
        for (const filter of this.#followed.keys()) {
          if (covers(filter, event.topic)) this.#tell(filter, event.type, event);
        }
        break;
      case 'welcome':
        this.#heartbeatMs = event.heartbeat_ms;
        this.#become({ name: 'live' });
        for (const filter of this.#followed.keys()) this.#subscribe(filter);
        break;
      case 'goodbye':
        this.#goodbye = event;
        break;
      default: {
        const asked = this.#asked.get(event.id);
        this.#asked.delete(event.id);
        if (event.type === 'error') asked?.reject(event);
        else asked?.resolve(event);
        // Something was carried out: from here on a lost connection is the first of its kind.
        if (event.type === 'subscribed') this.#failures = 0;
      }
    }
  }

  #closed(closeCode) {
    this.#socket = undefined;
    const asked = [...this.#asked.values()];
    this.#asked.clear();
    for (const { reject } of asked) reject({ code: 'disconnected', message: 'the connection was lost' });

    const code = this.#goodbye?.code ?? closeCode;
    const known = MEANING.get(code) ?? `The connection was closed with code ${code}.`;
    const reason = this.#goodbye?.reason;
    const text = reason && !(code === 1012 && reason === 'restart') ? `${known.slice(0, -1)}: ${reason}.` : known;
    if (NO_RETURN.has(code)) {
      this.#become({ name: 'refused', text });
      return;
    }
    // Full jitter: a thousand pages that lost one server come back spread out. A `reconnect_ms` is
    // already the server's own spread, and is kept to the letter.
    const wait = this.#goodbye?.reconnect_ms ?? this.#random() * Math.min(WAIT_MS_MAX, FIRST_WAIT_MS * 2 ** this.#failures);
    this.#failures += 1;
    this.#become({ name: 'waiting', text, until: this.#now() + wait });
    this.#timer = setTimeout(() => this.open(), wait);
  }

  /** A browser shows no WebSocket pings to a page, so silence is asked about with a `ping` command. */
  #watch() {
    const now = this.#now();
    if (this.#pingedAt !== undefined && now - this.#pingedAt > PONG_MS_MAX) this.#abandon();
    else if (this.state.name === 'connecting' && now - this.#heardAt > PONG_MS_MAX) this.#abandon();
    else if (this.state.name === 'live' && this.#pingedAt === undefined && now - this.#heardAt > this.#heartbeatMs) {
      this.#pingedAt = now;
      this.#ask((id) => `{"type":"ping","id":${id}}`).catch(() => {});
    }
  }

  /** A close handshake with a dead peer takes minutes: the socket is let go of, not waited for. */
  #abandon() {
    this.#pingedAt = undefined;
    this.#socket?.close();
    this.#closed(4408);
  }

  #become(state) {
    this.state = state;
    this.#changed(state);
  }
}
