/**
 * The client: commands and their answers, over connections that come and go.
 */

import { bytesOf, type Encoding, json } from './encoding.ts';
import { type ClientErrorCode, FanfareError } from './errors.ts';
import { type After, type ConnectionState, createLink, type SocketConstructor, type TokenReason } from './link.ts';
import { fromSnapshot, type Presence } from './presence.ts';
import type { Command, Message, Position, ServerEvent, WireHistory, WirePublished } from './protocol.ts';
import { createQueue } from './queue.ts';
import { createTopics, errorOf, type Follower, type Gap, type SubscribeOptions, tell } from './subscription.ts';

export interface ClientOptions {
  /** A token, or who makes one: asked for each connection, and again before one expires. @default none */
  readonly token?: string | ((reason: TokenReason) => string | Promise<string>);
  /** `msgpack` of `fanfare-client/msgpack` is the other one. @default JSON */
  readonly encoding?: Encoding;
  /** Where the runtime has none, such as `ws` in Node 20. @default globalThis.WebSocket */
  readonly WebSocket?: SocketConstructor;
  /** The shortest delay before a return. @default 500 */
  readonly delayMsMin?: number;
  /** The longest one, after many failures. @default 20_000 */
  readonly delayMsMax?: number;
  /** How long it may take until the server is there for commands, before another try. @default 10_000 */
  readonly connectMsMax?: number;
  /** How long an answer to a ping may take before the connection counts as lost. @default 10_000 */
  readonly pongMsMax?: number;
  /**
   * How many publishes and requests may be without an answer, under way or waiting for a connection. At the
   * bound they are refused with `queue_full`. @default 1000
   */
  readonly pendingMax?: number;
  /** How many bytes these may have as encoded. At the bound as above. @default 1_000_000 */
  readonly pendingBytesMax?: number;
  /** How many commands may share a frame: not more than the server's `limits.batch_items`. @default 1000 */
  readonly batchMax?: number;
  /** @default Math.random */
  readonly random?: () => number;
  /** @default setTimeout */
  readonly after?: After;
}

export interface PublishOptions {
  /** `false`: this client does not get the message itself. @default true */
  readonly echo?: boolean;
  /** What the message is about: topics set to `latest` keep the newest of each key for slow subscribers. */
  readonly key?: string;
  /** `true`: the answer says how many the message is for. @default false */
  readonly receivers?: boolean;
  /** Of messages with the same key the server takes one. @default a new one, unless `retry` is `false` */
  readonly idempotencyKey?: string;
  /**
   * `false`: never sent twice and never queued; refused with `disconnected` while there is no connection, or
   * when it is lost before the answer. @default true
   */
  readonly retry?: boolean;
}

/** Where a message stands. */
export interface Published extends Position {
  /** How many connections, event streams and others follow its topic, each once: with `receivers: true`. */
  readonly receivers?: number;
}

export interface HistoryOptions {
  /** The oldest messages after this position. @default the newest messages */
  readonly since?: Position;
  /** @default 100 */
  readonly limit?: number;
}

export interface History<Data> extends Position {
  readonly topic: string;
  /** Oldest first. */
  readonly messages: readonly { readonly offset: number; readonly data: Data }[];
  /** There are more than `limit`. */
  readonly more?: boolean;
  /** `since` is no longer held, and why. */
  readonly recovered?: boolean;
  readonly reason?: 'expired' | 'epoch' | 'future';
}

/** What a client tells. */
export interface ClientEvents {
  state: ConnectionState;
  gap: Gap;
  error: FanfareError;
}

/**
 * A subscription. As an async iterable it yields messages and gaps; leaving the loop ends it. What comes
 * before the loop begins waits for it, unless a listener was given.
 */
export interface Subscription<Data> extends AsyncIterable<Message<Data> | Gap> {
  readonly topic: string;
  /** Once the server has answered. Rejects if it refused; there is no need to listen to it. */
  readonly ready: Promise<Position | undefined>;
  /** Where the topic stands, as far as this client has come. A pattern has none. */
  readonly position: Position | undefined;
  /** Who is there, with `presence: true`. */
  readonly presence: Presence | undefined;
  unsubscribe(): void;
}

/**
 * `Topics` maps names of topics to their data. Families of names are template literals:
 * `{ 'prices.btc': Price; [room: `chat.${string}`]: Chat }`.
 */
export interface Client<Topics extends object = Record<string, unknown>> {
  readonly state: ConnectionState;
  /** Connects. There is no need to: the first command does. After `closed` it is the way back. */
  connect(): void;
  /** Follows a name or a pattern. */
  subscribe<Topic extends keyof Topics & string>(
    topic: Topic,
    listener: (message: Message<Topics[Topic]>) => void,
    options?: SubscribeOptions,
  ): Subscription<Topics[Topic]>;
  subscribe<Topic extends keyof Topics & string>(topic: Topic, options?: SubscribeOptions): Subscription<Topics[Topic]>;
  /** Publishes. The answer is where the message stands, and with `receivers` how many it is for. */
  publish<Topic extends keyof Topics & string>(
    topic: Topic,
    data: Topics[Topic],
    options: PublishOptions & { readonly receivers: true },
  ): Promise<Required<Published>>;
  publish<Topic extends keyof Topics & string>(
    topic: Topic,
    data: Topics[Topic],
    options?: PublishOptions,
  ): Promise<Published>;
  history<Topic extends keyof Topics & string>(topic: Topic, options?: HistoryOptions): Promise<History<Topics[Topic]>>;
  /** Who is in a topic, without following it. */
  presence(topic: keyof Topics & string): Promise<Presence>;
  /** Listens. The answer is how to stop. */
  on<Name extends keyof ClientEvents>(name: Name, listener: (event: ClientEvents[Name]) => void): () => void;
  /** Ends everything: subscriptions end, and what has no answer yet is refused with `closed`. */
  close(): void;
}

interface Pending {
  readonly id: number;
  readonly frame: string | Uint8Array;
  readonly bytes: number;
  /**
   * Whether it is sent again on the next connection, for what somebody waits for and counts towards the
   * bounds. Nothing for what belongs to one connection.
   */
  readonly retry: boolean | undefined;
  sent?: boolean;
  answer(event: ServerEvent): void;
}

const laterBy: After = (ms, run) => {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
};

const defaults = {
  encoding: json as Encoding,
  random: Math.random,
  after: laterBy,
  delayMsMin: 500,
  delayMsMax: 20_000,
  connectMsMax: 10_000,
  pongMsMax: 10_000,
  pendingMax: 1000,
  pendingBytesMax: 1_000_000,
  batchMax: 1000,
};

/** A client of the server at `url`: `ws:`, `wss:`, `http:`, `https:`, or in a page a path such as `/ws`. */
export const createClient = <Topics extends object = Record<string, unknown>>(
  url: string | URL,
  options: ClientOptions = {},
): Client<Topics> => {
  const settings = { ...defaults, ...options };
  const { encoding } = settings;
  const listeners: { [Name in keyof ClientEvents]: Set<(event: ClientEvents[Name]) => void> } = {
    state: new Set(),
    gap: new Set(),
    error: new Set(),
  };
  const pending = new Map<number, Pending>();
  let state: ConnectionState = { status: 'idle' };
  let waiting = 0;
  let waitingBytes = 0;
  let id = 0;
  let outbox: Pending[] = [];
  let messageBytesMax = Infinity;
  let secret: string | undefined;
  const name = settings.random().toString(36).slice(2);

  const emit = <Name extends keyof ClientEvents>(event: Name, value: ClientEvents[Name]): void => {
    for (const listener of [...listeners[event]]) tell(listener, value);
  };
  const connected = (): boolean => state.status === 'connected';
  /** Connects, if that was not tried yet. Not so once closed. */
  const usable = (): boolean => {
    if (state.status === 'idle') link.connect();
    return state.status !== 'closed';
  };
  const fault = (code: ClientErrorCode): FanfareError =>
    new FanfareError(code, state.status === 'closed' ? `${state.code} ${state.reason}` : code);

  const noAnswer = (): void => {};
  const encoded = (command: Command, answer: Pending['answer'] = noAnswer, retry?: boolean): Pending => {
    const frame = encoding.encode({ ...command, id: ++id });
    return { id, frame, bytes: bytesOf(frame), retry, answer };
  };
  /** What is said in one turn of the event loop leaves in one frame. */
  const post = (entry: Pending): void => {
    entry.sent = true;
    if (!outbox.length) queueMicrotask(flush);
    outbox.push(entry);
  };
  const flush = (): void => {
    let batch: (string | Uint8Array)[] = [];
    let bytes = 0;
    const leave = (): void => {
      const [first] = batch;
      if (first !== undefined) link.send(batch.length > 1 ? encoding.join(batch) : first);
      batch = [];
      bytes = 0;
    };
    for (const item of outbox.splice(0)) {
      if (item.bytes > messageBytesMax) {
        settle(item, { type: 'error', code: 'too_large', message: `${item.bytes} bytes` });
        continue;
      }
      // Brackets and commas in JSON; MessagePack takes three bytes at most for the list.
      if (batch.length >= settings.batchMax || bytes + item.bytes + 4 > messageBytesMax) leave();
      batch.push(item.frame);
      bytes += item.bytes + 1;
    }
    leave();
  };

  const settle = (entry: Pending, event: ServerEvent): void => {
    pending.delete(entry.id);
    if (entry.retry !== undefined) {
      waiting--;
      waitingBytes -= entry.bytes;
    }
    entry.answer(event);
  };
  const enter = (entry: Pending): void => {
    pending.set(entry.id, entry);
    if (connected()) post(entry);
  };
  const ask = (command: Command, answer?: Pending['answer']): void => enter(encoded(command, answer));

  const request = <Answer>(command: Command, retry: boolean, read: (event: never) => Answer): Promise<Answer> => {
    const promise = new Promise<Answer>((resolve, reject) => {
      if (!usable()) throw fault('closed');
      if (!retry && !connected()) throw fault('disconnected');
      let entry: Pending;
      try {
        const answer = (event: ServerEvent): void =>
          event.type === 'error' ? reject(errorOf(event)) : resolve(read(event as never));
        entry = encoded(command, answer, retry);
      } catch (cause) {
        throw new FanfareError('bad_data', `${cause}`, command['topic'] as string);
      }
      if (waiting >= settings.pendingMax || waitingBytes + entry.bytes > settings.pendingBytesMax)
        throw fault('queue_full');
      waiting++;
      waitingBytes += entry.bytes;
      enter(entry);
    });
    // Who does not look at the answer is not to blame for it.
    promise.catch(noAnswer);
    return promise;
  };

  const topics = createTopics({
    ask,
    connected,
    emit,
    after: settings.after,
  });

  const link = createLink(url, settings, {
    state(next) {
      state = next;
      emit('state', next);
    },
    ready(welcome) {
      messageBytesMax = welcome.max_message_bytes;
      // Members are spared seeing this one leave and come back.
      if (secret !== undefined && topics.present()) ask({ type: 'resume', resume: secret });
      secret = welcome.resume;
      topics.restore();
      for (const entry of pending.values()) if (!entry.sent) post(entry);
      flush();
    },
    event(event) {
      const entry = pending.get(event.id as number);
      if (entry) return settle(entry, event);
      if (event.type === 'error') emit('error', errorOf(event));
      else topics.take(event);
    },
    lost(drop) {
      outbox = [];
      topics.lost();
      const closed = state.status === 'closed';
      const error = fault(closed ? 'closed' : 'disconnected');
      for (const entry of [...pending.values()]) {
        // Subscriptions are asked for again by who keeps them.
        if (entry.retry === undefined) pending.delete(entry.id);
        else if (!closed && (!entry.sent || (entry.retry && !drop))) entry.sent = false;
        else settle(entry, { type: 'error', code: error.code as never, message: error.message });
      }
      if (closed) topics.close(error);
    },
    error: (error) => emit('error', error),
  });

  const subscribe = (
    topic: string,
    listener?: ((message: Message) => void) | SubscribeOptions,
    options = typeof listener === 'function' ? {} : (listener ?? {}),
  ): Subscription<unknown> => {
    const queueOf = () => createQueue(options.bufferMax ?? 1024);
    let queue = typeof listener === 'function' ? undefined : queueOf();
    let settled!: Follower['settled'];
    let failed!: Follower['failed'];
    const ready = new Promise<Position | undefined>((resolve, reject) => {
      settled = resolve;
      failed = reject;
    });
    ready.catch(noAnswer);
    const follower: Follower = {
      options,
      waiting: (options.since ?? options.last) !== undefined,
      seen: new Map(),
      heard(event) {
        queue?.push(event);
        if (event.type === 'gap') options.onGap?.(event);
        else if (typeof listener === 'function') listener(event);
      },
      settled,
      failed(error) {
        failed(error);
        // Who closes the client knows it: a loop just ends.
        queue?.end('code' in state && state.code === 1000 ? undefined : error);
        tell(options.onError, error);
      },
    };
    if (!usable()) queueMicrotask(() => topics.close(fault('closed')));
    const channel = topics.follow(topic, follower);
    const unsubscribe = (): void => {
      topics.leave(channel, follower);
      failed(fault('closed'));
      queue?.end();
    };
    return {
      topic,
      ready,
      get position() {
        return channel.position;
      },
      get presence() {
        return channel.presence;
      },
      unsubscribe,
      async *[Symbol.asyncIterator]() {
        try {
          yield* (queue ??= queueOf()).events();
        } finally {
          unsubscribe();
        }
      },
    };
  };

  return {
    get state() {
      return state;
    },
    connect: link.connect,
    subscribe: subscribe as Client<Topics>['subscribe'],
    publish: ((topic: string, data: unknown, { idempotencyKey, retry = true, ...options }: PublishOptions = {}) => {
      const idempotency_key = idempotencyKey ?? (retry ? `${name}-${id + 1}` : undefined);
      const command = { ...options, type: 'publish', topic, data: data ?? null, idempotency_key };
      return request(command, retry, ({ epoch, offset, receivers }: WirePublished): Published => {
        if (options.echo === false) topics.unechoed(topic, { epoch, offset });
        return { epoch, offset, ...(receivers !== undefined && { receivers }) };
      });
    }) as Client<Topics>['publish'],
    history: ((topic: string, options?: HistoryOptions) =>
      request(
        { ...options, type: 'history', topic },
        true,
        ({ type: _, id: __, ...history }: WireHistory & { id?: unknown }) => history,
      )) as Client<Topics>['history'],
    presence: (topic) => request({ type: 'presence', topic }, true, fromSnapshot),
    on(event, listener) {
      listeners[event].add(listener);
      return () => {
        listeners[event].delete(listener);
      };
    },
    close: link.close,
  };
};
