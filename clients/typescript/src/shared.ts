/**
 * The page's side of a connection that all tabs share: to the client a socket, which leads to the SharedWorker that
 * runs `fanfare-client/worker`.
 *
 * What goes over the port is commands and events as values. A page that leaves says so; the worker notices what has
 * no time for that because it answers no more.
 */

import type { ClientOptions } from './client.ts';
import { json } from './encoding.ts';
import type { SocketConstructor, SocketLike } from './link.ts';

/** What a worker says over a port: events, or that it was the last. */
export type FromWorker = readonly unknown[] | { readonly code: number; readonly reason: string };
/** What a page says: commands, how many events it has taken, or that it leaves. */
export type FromPage = { readonly commands: readonly unknown[] } | number | null;

/**
 * Options that make a client share its connection with all tabs whose `worker` is the same. Where there is no
 * SharedWorker they are what is given, and the client has a connection of its own.
 *
 * `worker` is called for each connection: `() => new SharedWorker(new URL('./worker.js', import.meta.url), { type: 'module' })`.
 */
export const withSharedWorker = (worker: () => SharedWorker, options: ClientOptions = {}): ClientOptions => {
  if (typeof SharedWorker === 'undefined') return options;
  const { encoding = json } = options;

  class Port implements SocketLike {
    binaryType = '';
    onopen: ((event: never) => void) | null = null;
    onmessage: ((event: never) => void) | null = null;
    onclose: ((event: never) => void) | null = null;
    onerror: ((event: never) => void) | null = null;
    #port: MessagePort | undefined;

    constructor() {
      const shared = worker();
      const { port } = shared;
      this.#port = port;
      shared.onerror = () => this.#end(1006, 'the worker cannot be had');
      port.onmessage = ({ data }: MessageEvent<FromWorker>) => {
        if (!('length' in data)) return this.#end(data.code, data.reason);
        for (const event of data) this.onmessage?.({ data: event } as never);
        this.#say(data.length);
      };
      globalThis.addEventListener?.('pagehide', this.#leave);
      queueMicrotask(() => this.onopen?.({} as never));
    }

    send(frame: string | Uint8Array): void {
      // As a server would read it: without what the encoding leaves out.
      const value = encoding.decode(frame as string);
      this.#say({ commands: Array.isArray(value) ? value : [value] });
    }

    close(): void {
      this.#say(null);
      this.#end(1000, '');
    }

    #say(what: FromPage): void {
      this.#port?.postMessage(what);
    }

    /** A page that is kept to be shown again returns then. */
    #leave = (): void => {
      this.#say(null);
      this.#end(1006, 'the page is hidden');
    };

    #end(code: number, reason: string): void {
      if (!this.#port) return;
      globalThis.removeEventListener?.('pagehide', this.#leave);
      this.#port.close();
      this.#port = undefined;
      this.onclose?.({ code, reason } as never);
    }
  }

  return {
    ...options,
    WebSocket: Port as SocketConstructor,
    // Events come as values. What is asked for is encoded, so that its size is known and its data judged.
    encoding: { ...encoding, decode: (event) => event },
    // The worker says when to return, and is the one who must not hurry.
    delayMsMin: 100,
    delayMsMax: 1000,
  };
};
