/**
 * For networks where WebSockets are blocked: a connection that is a WebSocket if one can be had, and else an event
 * stream with requests beside it.
 *
 * Both are tried at each connection, the WebSocket with a head start. The one that says something first is it:
 * that a WebSocket opened means little where a proxy passes on the handshake and nothing after it.
 */

import type { ClientOptions } from './client.ts';
import { json } from './encoding.ts';
import { EventConnection } from './events.ts';
import type { After, SocketConstructor, SocketLike } from './link.ts';

export interface FallbackOptions extends ClientOptions {
  /**
   * No WebSocket is tried. One message costs a page several times less in an event stream, where many come in one
   * piece, than in a WebSocket, where each is an event of its own. @default false
   */
  readonly eventsOnly?: boolean;
  /** @default globalThis.fetch */
  readonly fetch?: typeof fetch;
  /** How long a WebSocket may be silent until an event stream is tried as well. @default 2500 */
  readonly headStartMs?: number;
  /** How often a client of an event stream tries whether it can have a WebSocket again. @default 300_000 */
  readonly retryMs?: number;
}

const laterBy: After = (ms, run) => {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
};

/**
 * Options that make a client use an event stream where it cannot have a WebSocket. Where the runtime has none, and
 * none is given, there are only event streams.
 */
export const withFallback = ({
  fetch,
  eventsOnly,
  headStartMs = 2500,
  retryMs = 300_000,
  ...options
}: FallbackOptions = {}): ClientOptions => {
  const { encoding = json, after = laterBy } = options;

  /** A WebSocket that is taken once it has said something, and given up when it ends before. */
  const attempt = (url: string, protocols: string[], socket: Either): SocketLike | undefined => {
    const WebSocket = options.WebSocket ?? (globalThis.WebSocket as unknown as SocketConstructor | undefined);
    if (!WebSocket || eventsOnly) return;
    let tried: SocketLike;
    try {
      tried = new WebSocket(url, protocols);
    } catch {
      // A page's policy may forbid it at once.
      return;
    }
    tried.binaryType = 'arraybuffer';
    tried.onmessage = (event) => socket.won(tried, event);
    tried.onclose = () => socket.failed(tried);
    // Where a page's policy forbids it Chromium says no more than this.
    tried.onerror = () => socket.failed(tried);
    return tried;
  };

  class Either implements SocketLike {
    binaryType = '';
    onopen: ((event: never) => void) | null = null;
    onmessage: ((event: never) => void) | null = null;
    onclose: ((event: never) => void) | null = null;
    onerror: ((event: never) => void) | null = null;
    #socket: SocketLike | undefined;
    #events: EventConnection | undefined;
    #chosen: SocketLike | undefined;
    #cancel: () => void;
    #over = false;

    constructor(
      readonly url: string,
      readonly protocols: string[],
    ) {
      this.#socket = attempt(url, protocols, this);
      this.#cancel = after(this.#socket ? headStartMs : 0, () => this.#fall());
    }

    send(frame: string | Uint8Array<ArrayBuffer>): void {
      this.#chosen?.send(frame);
    }

    close(code?: number): void {
      this.#end();
      this.#socket?.close(code);
      this.#events?.close();
    }

    /** A WebSocket has said something. */
    won(socket: SocketLike, event: never): void {
      if (this.#over) return socket.close();
      // The client returns, and has it then.
      if (this.#chosen) return this.#events?.leave(1001, 'a WebSocket can be had', 0);
      this.#choose(socket);
      this.#events?.close();
      this.onmessage?.(event);
    }

    /** A WebSocket has ended before. */
    failed(socket: SocketLike): void {
      if (this.#over || this.#socket !== socket) return;
      this.#socket = undefined;
      if (!this.#chosen && !this.#events) this.#fall();
    }

    #end(): void {
      this.#over = true;
      this.#cancel();
    }

    #choose(socket: SocketLike): void {
      this.#cancel();
      this.#chosen = socket;
      socket.onmessage = (event) => this.onmessage?.(event);
      socket.onclose = (event) => {
        this.close();
        this.onclose?.(event);
      };
      this.onopen?.({} as never);
    }

    #fall(): void {
      this.#cancel();
      const events = new EventConnection(this.url, encoding, fetch ?? globalThis.fetch);
      this.#events = events;
      events.onmessage = (event) => this.onmessage?.(event);
      events.onopen = () => {
        this.#socket?.close();
        this.#socket = undefined;
        this.#choose(events);
        this.#retryLater();
      };
      events.onclose = (event) => {
        if (this.#over || this.#chosen) return;
        this.close();
        this.onclose?.(event);
      };
    }

    #retryLater(): void {
      this.#cancel = after(retryMs, () => {
        this.#socket?.close();
        this.#socket = attempt(this.url, this.protocols, this);
        this.#retryLater();
      });
    }
  }
  return {
    ...options,
    WebSocket: Either,
    encoding: {
      ...encoding,
      // Of an event stream they come as values.
      decode: (frame) => ((frame as { type?: unknown }).type ? frame : encoding.decode(frame)),
    },
  };
};
