/**
 * A server of the protocol in memory, with a WebSocket that leads to it. Everything it does is in the hands of
 * the test: it cuts, restarts, forgets, and says what it is told to.
 */

import type { SocketConstructor, SocketLike } from '../../src/index.ts';
import { patternOf } from '../../src/pattern.ts';

// biome-ignore lint/suspicious/noExplicitAny: commands and events are looked at field by field.
export type Wire = Record<string, any>;

interface Topic {
  epoch: string;
  head: number;
  log: { offset: number; data: unknown; sender?: Connection }[];
  version: number;
}

export class Connection implements SocketLike {
  binaryType = '';
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: never) => void) | null = null;
  onclose: ((event: never) => void) | null = null;
  onerror: ((event: never) => void) | null = null;
  readonly name: string;
  readonly frames: Wire[][] = [];
  /** What it follows, and the rate that it asked for. */
  readonly follows = new Map<string, number | undefined>();
  readonly members = new Map<string, unknown>();
  open = true;
  opened = false;
  authenticated = false;
  /** Commands are carried out one after the other, and others may come in between. */
  #taken: Promise<unknown> = Promise.resolve();

  constructor(
    readonly server: Server,
    readonly url: string,
    readonly protocols: string[],
  ) {
    this.name = `c${server.connections.length + 1}`;
    server.connections.push(this);
    queueMicrotask(() => server.accept(this));
  }

  send(frame: string | Uint8Array): void {
    if (!this.opened) throw new Error('not open yet, as browsers say it');
    const value = JSON.parse(frame as string);
    const commands: Wire[] = Array.isArray(value) ? value : [value];
    this.frames.push(commands);
    for (const command of commands) this.#taken = this.#taken.then(() => this.open && this.server.take(this, command));
  }

  close(code = 1000): void {
    this.end(code, '');
  }

  say(event: Wire): void {
    this.raw(JSON.stringify(event));
  }

  raw(data: string): void {
    if (this.open) this.onmessage?.({ data } as never);
  }

  end(code: number, reason: string): void {
    if (!this.open) return;
    this.open = false;
    this.server.left(this);
    this.onclose?.({ code, reason } as never);
  }

  get commands(): Wire[] {
    return this.frames.flat();
  }
}

export class Server {
  readonly connections: Connection[] = [];
  readonly topics = new Map<string, Topic>();
  readonly idempotent = new Map<string, Wire>();
  readonly WebSocket: SocketConstructor;
  /** How a connection is answered: not at all, with silence, or as it should be. */
  mood: 'accepts' | 'refuses' | 'silent' = 'accepts';
  /** Commands are heard and not carried out. */
  deaf = false;
  tokens: Set<string> | undefined;
  refusals = new Map<string, Wire>();
  messageBytesMax = 65_536;
  epochs = 0;

  constructor() {
    const server = this;
    this.WebSocket = class extends Connection {
      constructor(url: string, protocols: string[]) {
        super(server, url, protocols);
      }
    };
  }

  get last(): Connection {
    return this.connections.at(-1) as Connection;
  }

  accept(connection: Connection): void {
    if (!connection.open) return;
    if (this.mood === 'refuses') return connection.end(1006, '');
    connection.opened = true;
    connection.onopen?.({} as never);
    if (this.mood === 'silent') return;
    connection.say({
      type: 'welcome',
      protocol: 1,
      connection: connection.name,
      resume: `secret-${connection.name}`,
      heartbeat_ms: 25_000,
      max_message_bytes: this.messageBytesMax,
    });
  }

  topic(name: string): Topic {
    let topic = this.topics.get(name);
    if (!topic) {
      topic = { epoch: `e${++this.epochs}`, head: 0, log: [], version: 0 };
      this.topics.set(name, topic);
    }
    return topic;
  }

  publish(name: string, data: unknown, sender?: Connection): { epoch: string; offset: number } {
    const topic = this.topic(name);
    const offset = ++topic.head;
    topic.log.push({ offset, data, ...(sender && { sender }) });
    for (const connection of this.connections) {
      if (connection.open && connection !== sender && this.follows(connection, name))
        this.message(connection, name, offset, data);
    }
    return { epoch: topic.epoch, offset };
  }

  message(connection: Connection, topic: string, offset: number, data: unknown): void {
    const { epoch } = this.topic(topic);
    connection.say({ type: 'message', topic, offset, ...(offset === 1 && { epoch }), data });
  }

  follows(connection: Connection, name: string): boolean {
    return [...connection.follows.keys()].some((wanted) => wanted === name || patternOf(wanted)?.test(name));
  }

  receivers(name: string): number {
    return this.connections.filter((connection) => connection.open && this.follows(connection, name)).length;
  }

  /** Forgets all but the newest `keep` messages. */
  forget(name: string, keep = 0): void {
    const { log } = this.topic(name);
    log.splice(0, log.length - keep);
  }

  /** Every connection ends without a word. */
  cut(): void {
    for (const connection of this.connections) connection.end(1006, '');
  }

  goodbye(code: number, reason: string, reconnect_ms?: number): void {
    for (const connection of this.connections) {
      connection.say({ type: 'goodbye', code, reason, reconnect_ms });
      connection.end(code, reason);
    }
  }

  /** Everything is forgotten, and numbering begins anew. */
  restart(reconnect_ms = 0): void {
    this.goodbye(1012, 'restart', reconnect_ms);
    this.topics.clear();
  }

  left(connection: Connection): void {
    for (const name of connection.members.keys())
      this.presence(name, [], [{ connection: connection.name }], connection);
  }

  presence(name: string, joined: Wire[], gone: Wire[], except?: Connection): void {
    const version = ++this.topic(name).version;
    for (const connection of this.connections) {
      if (connection.open && connection !== except && connection.members.has(name)) {
        connection.say({ type: 'presence_diff', topic: name, version, joined, left: gone });
      }
    }
  }

  members(name: string): Wire[] {
    return this.connections
      .filter((connection) => connection.open && connection.members.has(name))
      .map((connection) => ({ connection: connection.name, member: connection.members.get(name) }));
  }

  take(connection: Connection, command: Wire): void {
    if (this.deaf) return;
    const { type, id, topic: name } = command;
    const refuse = (code: string, more: Wire = {}): void =>
      connection.say({ type: 'error', id, topic: name, code, message: code, ...more });
    if (type === 'auth') {
      if (this.tokens && !this.tokens.has(command['token'])) {
        refuse('unauthorized');
        connection.say({ type: 'goodbye', code: 4401, reason: 'unauthorized' });
        return connection.end(4401, 'unauthorized');
      }
      connection.authenticated = true;
      return connection.say({ type: 'authenticated', id, subject: 'ana', expires_in_ms: 60_000 });
    }
    if (this.tokens && !connection.authenticated) return refuse('unauthorized');
    const refusal = this.refusals.get(name);
    if (refusal) return refuse(refusal['code'], refusal);
    switch (type) {
      case 'subscribe':
        return this.subscribe(connection, command);
      case 'unsubscribe':
        if (!connection.follows.delete(name)) return refuse('not_subscribed');
        if (id !== undefined) connection.say({ type: 'unsubscribed', id, topic: name });
        return;
      case 'publish': {
        const known = this.idempotent.get(command['idempotency_key']);
        const position =
          known ?? this.publish(name, command['data'], command['echo'] === false ? connection : undefined);
        if (command['idempotency_key']) this.idempotent.set(command['idempotency_key'], position);
        const receivers = command['receivers'] && { receivers: this.receivers(name) };
        return connection.say({ type: 'published', id, topic: name, ...position, ...receivers });
      }
      case 'presence':
        return connection.say({
          type: 'presence',
          id,
          topic: name,
          version: this.topic(name).version,
          members: this.members(name),
        });
      case 'history': {
        const { epoch, head, log } = this.topic(name);
        const messages = log.slice(-(command['limit'] ?? 100)).map(({ offset, data }) => ({ offset, data }));
        return connection.say({ type: 'history', id, topic: name, epoch, offset: head, messages });
      }
      case 'resume':
        return connection.say({ type: 'resumed', id });
      case 'ping':
        return connection.say({ type: 'pong', id });
      default:
        return refuse('unknown_type');
    }
  }

  subscribe(connection: Connection, { id, topic: name, since, last, max_rate, presence, member }: Wire): void {
    if (max_rate !== undefined && connection.follows.has(name) && connection.follows.get(name) !== max_rate)
      return connection.say({ type: 'error', id, topic: name, code: 'bad_request', message: 'unsubscribe first' });
    if (!connection.follows.has(name)) connection.follows.set(name, max_rate);
    if (patternOf(name)) return connection.say({ type: 'subscribed', id, topic: name });
    const topic = this.topic(name);
    const { epoch, head, log } = topic;
    let replay: Topic['log'] = [];
    let reason: string | undefined;
    if (since) {
      if (since.epoch !== epoch) reason = 'epoch';
      else if (since.offset > head) reason = 'future';
      else if (head - since.offset > log.length) reason = 'expired';
      else replay = log.filter(({ offset }) => offset > since.offset);
    } else if (last) replay = log.slice(-last);
    connection.say({
      type: 'subscribed',
      id,
      topic: name,
      epoch,
      offset: head - replay.length,
      ...(since && { recovered: !reason, reason }),
    });
    for (const { offset, data } of replay) this.message(connection, name, offset, data);
    if (!presence) return;
    const known = connection.members.has(name);
    if (!known) this.presence(name, [{ connection: connection.name, member }], [], connection);
    connection.members.set(name, member);
    connection.say({ type: 'presence', topic: name, version: topic.version, count: 1, members: this.members(name) });
  }
}
