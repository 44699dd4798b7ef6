/**
 * A connection without a WebSocket: what comes is an event stream (`GET /v1/events`), what is said are requests
 * (`POST /v1/publish`, `GET /v1/topics/…`). To the client above it is a socket that speaks the protocol, so that
 * everything else, from the return after a loss to the queue, is the same. Events are told as values.
 *
 * A stream's topics are named in its request. When they change it is replaced by another one, which goes on
 * where the one before was (`Last-Event-ID`). Where that fails the connection ends, and the client recovers.
 *
 * Patterns, joining as a member, and more topics than a stream may have take a WebSocket: `unsupported`.
 */

import { type Encoding, json } from './encoding.ts';
import type { SocketLike } from './link.ts';
import { patternOf } from './pattern.ts';
import type {
  Command,
  Message,
  Position,
  ServerEvent,
  Subscribed,
  WireError,
  WireGap,
  WireHistory,
} from './protocol.ts';
import { createEventReader } from './sse.ts';
import { createUnechoed } from './unechoed.ts';

/** How many topics a stream may have, says the server. */
export const TOPICS_MAX = 16;
/** How long a request, and the head and first event of a stream, may take. */
const ANSWER_MS_MAX = 10_000;
/** A batch of publishes is a request: not more than the server's `limits.http_body_bytes`. */
const REQUEST_BYTES_MAX = 1_000_000;
/** How often the client asks whether anybody is there, while nothing is heard. */
const HEARTBEAT_MS = 25_000;
/** After that many times without a byte, which the server breaks each silence with, the stream counts as lost. */
const SILENT_BEATS_MAX = 2;

/** A topic of the stream. */
interface Place {
  /** How far the stream has come in it. */
  position?: Position | undefined;
  /** The commands that are not answered yet. A stream answers the first one. */
  readonly asks: Asked[];
}

interface Asked {
  readonly id: unknown;
  /** It is known from where it is wanted. */
  ready: boolean;
  since: Position | undefined;
  /** Whether the client named a position, and is told whether everything after it is there. */
  readonly recovers: boolean;
}

/** An answer that says no. */
class Refusal {
  constructor(
    readonly status: number,
    readonly error: Omit<WireError, 'type' | 'topic'>,
  ) {}
}

type Ask = Command & { readonly topic: string; readonly id?: unknown };

export class EventConnection implements SocketLike {
  binaryType = '';
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: never) => void) | null = null;
  onclose: ((event: never) => void) | null = null;
  onerror: ((event: never) => void) | null = null;

  readonly #encoding: Encoding;
  readonly #fetch: typeof fetch;
  readonly #base: URL;
  readonly #ended = new AbortController();
  #over = false;
  readonly #topics = new Map<string, Place>();
  readonly #unechoed = createUnechoed((event) => this.#say(event));
  #stream: AbortController | undefined;
  /** New topics are asked for one at a time: one of them was refused, and the server does not say which. */
  #careful = false;
  #due = false;
  #silentBeats = 0;
  #token: string | undefined;
  /** Publishes go one request after the other, so that they keep their order. */
  #publishing: Promise<unknown> = Promise.resolve();

  constructor(url: string, encoding: Encoding, request: typeof fetch) {
    this.#encoding = encoding;
    this.#fetch = request;
    const base = new URL('v1/', url);
    base.protocol = base.protocol.replace('ws', 'http');
    base.search = '';
    this.#base = base;
    this.#try(async () => {
      await this.#prove();
      this.onopen?.({} as never);
      this.#say({
        type: 'welcome',
        // There is none with a name of its own.
        connection: 'events',
        resume: '',
        heartbeat_ms: HEARTBEAT_MS,
        max_message_bytes: REQUEST_BYTES_MAX,
      });
    });
  }

  send(frame: string | Uint8Array): void {
    const value = this.#encoding.decode(frame as string);
    const commands = (Array.isArray(value) ? value : [value]) as Ask[];
    const publishes = commands.filter(({ type }) => type === 'publish');
    if (publishes.length) {
      const unechoed = publishes.map(({ echo, topic }) => (echo === false ? this.#unechoed.sent(topic) : undefined));
      this.#publishing = this.#publishing.then(() => this.#try(() => this.#publish(publishes, unechoed)));
    }
    for (const command of commands) this.#try(() => this.#take(command));
  }

  close(): void {
    this.#end(1000, '');
  }

  /** Ends it, and asks the client to return after so long. */
  leave(code: number, reason: string, reconnect_ms: number): void {
    this.#say({ type: 'goodbye', code, reason, reconnect_ms });
    this.#end(code, reason);
  }

  #say(event: object): void {
    if (!this.#over) this.onmessage?.({ data: event } as never);
  }

  #refuse({ id, topic }: Ask, code: string, message: string): void {
    this.#say({ type: 'error', id, topic, code, message });
  }

  #end(code: number, reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#ended.abort();
    this.#stream?.abort();
    this.onclose?.({ code, reason } as never);
  }

  /** What fails ends the connection: the client returns, and does again what was not answered. */
  async #try(run: () => unknown): Promise<void> {
    try {
      if (!this.#over) await run();
    } catch (cause) {
      if (!(cause instanceof Refusal)) return this.#end(1006, `${cause}`);
      const { code, message, retry_after_ms } = cause.error;
      if (retry_after_ms !== undefined) return this.leave(1013, message, retry_after_ms);
      this.#say({ ...cause.error, type: 'error' });
      this.#end(code === 'unauthorized' ? 4401 : code === 'forbidden' ? 4403 : 1006, message);
    }
  }

  /** A request, and its answer once the head is there. Throws a `Refusal`, or what says that nobody is there. */
  async #request(path: string, init: RequestInit = {}, stop = new AbortController()): Promise<Response> {
    const abort = () => stop.abort(new Error('no answer'));
    const timer = setTimeout(abort, ANSWER_MS_MAX);
    this.#ended.signal.addEventListener('abort', abort);
    try {
      const headers = { ...init.headers, ...(this.#token !== undefined && { Authorization: `Bearer ${this.#token}` }) };
      const { signal } = stop;
      const response = await this.#fetch.call(globalThis, new URL(path, this.#base), { ...init, headers, signal });
      if (response.ok) return response;
      const { error } = (await this.#read(response)) as { error?: WireError };
      if (!error?.code) throw new Error(`${response.status}, but not from this server`);
      throw new Refusal(response.status, error);
    } finally {
      clearTimeout(timer);
      this.#ended.signal.removeEventListener('abort', abort);
    }
  }

  async #read(response: Response): Promise<unknown> {
    const packed = response.headers.get('Content-Type')?.startsWith('application/msgpack');
    return packed ? this.#encoding.decode(await response.arrayBuffer()) : response.json();
  }

  /** Finds out that the server is there, and takes the token: what asks for no topic is refused as just that. */
  async #prove(): Promise<void> {
    try {
      await this.#request('events');
    } catch (cause) {
      const missing = this.#token === undefined && [401, 403].includes((cause as Refusal).status);
      if (!missing && (cause as Refusal).error?.code !== 'bad_request') throw cause;
    }
  }

  async #take(command: Ask): Promise<void> {
    const { type, id, topic } = command;
    switch (type) {
      case 'auth':
        this.#token = command['token'] as string;
        try {
          await this.#prove();
        } catch (cause) {
          // The `id` tells the client that it was this one.
          if ([401, 403].includes((cause as Refusal).status))
            this.#say({ ...(cause as Refusal).error, type: 'error', id });
          throw cause;
        }
        return this.#say({ type: 'authenticated', id });
      case 'subscribe':
        return this.#subscribe(command);
      case 'unsubscribe':
        this.#topics.delete(topic);
        this.#unechoed.left(topic);
        this.#say({ type: 'unsubscribed', id, topic });
        return this.#follow();
      case 'history':
      case 'presence':
        return this.#answer(command, this.#about(command));
      case 'ping':
        // A stream says something by itself. Without one somebody has to be asked.
        if (!this.#topics.size) await this.#prove();
        else if (++this.#silentBeats > SILENT_BEATS_MAX) return;
        return this.#say({ type: 'pong', id });
      case 'publish':
        return;
      default:
        this.#refuse(command, 'unsupported', `${type} takes a WebSocket`);
    }
  }

  /** The events `history` and `presence`, as the server answers with them. */
  async #about({ type, topic, since, limit }: Ask): Promise<ServerEvent> {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries({ ...(since as Position | undefined), limit }))
      if (value !== undefined) query.set(name, `${value}`);
    const path = `topics/${encodeURIComponent(topic)}/${type}?${query}`;
    return (await this.#read(await this.#request(path))) as ServerEvent;
  }

  /** Answers a command with an event that comes, or with the error that comes instead. */
  async #answer({ id, topic }: Ask, coming: Promise<ServerEvent>): Promise<void> {
    try {
      this.#say({ ...(await coming), id });
    } catch (cause) {
      if (!(cause instanceof Refusal) || cause.status === 401) throw cause;
      this.#say({ ...cause.error, type: 'error', id, topic });
    }
  }

  async #publish(
    commands: readonly Ask[],
    unechoed: readonly (((offset?: number) => void) | undefined)[],
  ): Promise<void> {
    const { protocol, encode } = this.#encoding;
    const type = protocol === 'fanfare.v1.msgpack' ? 'application/msgpack' : 'application/json';
    const body = encode({ messages: commands } as never) as string;
    let results: readonly ({ readonly error?: WireError; readonly receivers?: number } & Position)[];
    try {
      const answer = await this.#request('publish', { method: 'POST', body, headers: { 'Content-Type': type } });
      ({ results } = (await this.#read(answer)) as { results: typeof results });
    } catch (cause) {
      if (!(cause instanceof Refusal) || cause.status === 401) throw cause;
      results = commands.map(() => ({ error: { ...cause.error, type: 'error' }, epoch: '', offset: 0 }));
    }
    for (const [at, { error, epoch, offset, receivers }] of results.entries()) {
      const { id, topic } = commands[at] as Ask;
      const known = this.#topics.get(topic)?.position;
      const comes = !error && known && !(known.epoch === epoch && known.offset >= offset);
      unechoed[at]?.(comes ? offset : undefined);
      if (error) this.#say({ ...error, type: 'error', id, topic });
      else this.#say({ type: 'published', id, topic, epoch, offset, receivers });
    }
  }

  async #subscribe(command: Ask): Promise<void> {
    const { id, topic } = command;
    const known = this.#topics.get(topic);
    if (patternOf(topic)) return this.#refuse(command, 'unsupported', 'a pattern takes a WebSocket');
    if (command['presence']) return this.#refuse(command, 'unsupported', 'to join a topic takes a WebSocket');
    if (!known && this.#topics.size >= TOPICS_MAX)
      return this.#refuse(command, 'unsupported', `more than ${TOPICS_MAX} topics take a WebSocket`);
    const since = command['since'] as Position | undefined;
    const limit = command['last'] as number | undefined;
    const asked: Asked = { id, since, ready: limit === undefined, recovers: since !== undefined };
    const place: Place = known ?? { asks: [] };
    place.asks.push(asked);
    this.#topics.set(topic, place);
    if (limit !== undefined) {
      try {
        const past = (await this.#about({ type: 'history', topic, limit })) as WireHistory;
        const [oldest] = past.messages;
        asked.since = { epoch: past.epoch, offset: oldest ? oldest.offset - 1 : past.offset };
      } catch (cause) {
        // What may be followed and not be read back is followed from now on.
        if (!(cause instanceof Refusal) || cause.status === 401) throw cause;
      }
    }
    asked.ready = true;
    this.#next(topic, place);
  }

  /** Answers what can be answered at once, and lets a stream answer the rest. */
  #next(topic: string, { asks, position }: Place): void {
    while (position && asks[0]?.ready && !asks[0].since)
      this.#say({ type: 'subscribed', id: asks.shift()?.id, topic, ...position });
    if (asks[0]?.ready) this.#follow();
  }

  /** Replaces the stream, once for all that is said in one turn. */
  #follow(): void {
    if (this.#due) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      this.#try(() => this.#open());
    });
  }

  async #open(): Promise<void> {
    this.#stream?.abort();
    this.#stream = undefined;
    const all = [...this.#topics].filter(([, { asks, position }]) => position || asks[0]?.ready);
    const [next] = all.filter(([, { asks }]) => asks[0]?.ready);
    if (!next) this.#careful = false;
    const wanted = this.#careful ? all.filter((each) => !each[1].asks[0]?.ready || each === next) : all;
    if (!wanted.length) return;
    const stream = new AbortController();
    this.#stream = stream;
    const since = wanted.flatMap(([, { asks, position }]) => (asks[0]?.ready ? asks[0].since : position) ?? []);
    const query = wanted.map(([name]) => `topic=${encodeURIComponent(name)}`).join('&');
    const headers = {
      Accept: 'text/event-stream',
      ...(since.length && { 'Last-Event-ID': since.map(({ epoch, offset }) => `${epoch}:${offset}`).join() }),
    };
    try {
      const response = await this.#request(`events?${query}`, { headers, cache: 'no-store' }, stream);
      await this.#listen(response, stream);
      throw new Error('the stream ended');
    } catch (cause) {
      // Another one has its place, or nobody needs one any more.
      if (this.#stream !== stream) return;
      const asking = wanted.filter(([, { asks }]) => asks[0]?.ready);
      const [one] = asking;
      const refused = cause instanceof Refusal && ![401, 429, 503].includes(cause.status);
      if (!refused || !one) throw cause;
      if (asking.length > 1) this.#careful = true;
      else {
        const [topic, { asks }] = one;
        this.#topics.delete(topic);
        for (const { id } of asks) this.#say({ ...cause.error, type: 'error', id, topic });
      }
      this.#follow();
    }
  }

  async #listen({ body }: Response, stream: AbortController): Promise<void> {
    // What comes from a stream that was replaced comes again from the one that replaced it.
    const read = createEventReader((event, data) => this.#stream === stream && this.#heard(event, data));
    const text = (body as ReadableStream<Uint8Array<ArrayBuffer>>).pipeThrough(new TextDecoderStream()).getReader();
    let first: ReturnType<typeof setTimeout> | undefined = setTimeout(() => {
      this.#say({ type: 'error', code: 'unsupported', message: 'the event stream is held back, by a proxy perhaps' });
      this.#end(1006, 'held back');
    }, ANSWER_MS_MAX);
    stream.signal.addEventListener('abort', () => clearTimeout(first));
    while (true) {
      const { done, value } = await text.read();
      clearTimeout(first);
      first = undefined;
      if (done) return;
      this.#silentBeats = 0;
      read(value);
    }
  }

  #heard(name: string, data: string): void {
    const { protocol, decode } = this.#encoding;
    let event: ServerEvent;
    try {
      // A decoder of JSON may keep more than the runtime's does.
      event = (protocol === json.protocol ? decode(data) : JSON.parse(data)) as ServerEvent;
    } catch {
      // The client knows what to do with it.
      return this.onmessage?.({ data } as never);
    }
    switch (name) {
      case 'subscribed':
        return this.#subscribed(event as Subscribed);
      case 'goodbye':
        this.#say(event);
        return this.#end((event as { code: number }).code, (event as { reason: string }).reason);
      case 'message':
      case 'gap': {
        const { topic, epoch } = event as Message | WireGap;
        const place = this.#topics.get(topic);
        if (!place?.position) return;
        const offset = event.type === 'message' ? event.offset : (event as WireGap).to;
        place.position = { epoch: epoch ?? place.position.epoch, offset };
        this.#unechoed.heard(event as Message | WireGap);
      }
    }
  }

  #subscribed({ topic, epoch = '', offset = 0, recovered, reason }: Subscribed): void {
    const place = this.#topics.get(topic);
    if (!place) return;
    const asked = place.asks[0]?.ready ? place.asks.shift() : undefined;
    // The client knows better what to do about what was lost between two streams.
    if (!asked) return recovered ? undefined : this.#end(1006, reason ?? 'not recovered');
    place.position = { epoch, offset };
    const said = asked.recovers && recovered !== undefined && { recovered, ...(reason && { reason }) };
    this.#say({ type: 'subscribed', id: asked.id, topic, epoch, offset, ...said });
    this.#next(topic, place);
    // The next of those that are asked for one at a time.
    if (this.#careful) this.#follow();
  }
}
