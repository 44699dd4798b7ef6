/**
 * One connection after another: opening, credentials, keep-alive, and the return after an end. What is said
 * over it is none of its business.
 *
 * ```text
 *  idle -> connecting -> connected
 *             ^  |           |        closed: by `close()`, or by a code that says not to return
 *             |  v           v
 *            waiting <-------+ ----> closed
 * ```
 *
 * A single timer is armed at any time: for the answer to a handshake, for silence, or for the return. No clock
 * is read, so one that jumps changes nothing.
 */

import { type Backoff, delayMs, verdict } from './closing.ts';
import type { Encoding } from './encoding.ts';
import { FanfareError } from './errors.ts';
import type { Command, Goodbye, ServerEvent, Welcome } from './protocol.ts';

/** What a WebSocket has, in browsers and in `ws`. */
export interface SocketLike {
  binaryType: string;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(frame: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
}

export type SocketConstructor = new (url: string, protocols: string[]) => SocketLike;

/** Runs something later; the answer calls it off. */
export type After = (ms: number, run: () => void) => () => void;

/** Why a token is asked for: for a connection, because it expires soon, or because the last one was refused. */
export type TokenReason = 'connect' | 'expiring' | 'refused';

/** Where the connection stands. Each change makes a new object. */
export type ConnectionState =
  | { readonly status: 'idle' | 'connecting' }
  | { readonly status: 'connected'; readonly connection: string }
  | {
      readonly status: 'waiting';
      readonly attempt: number;
      readonly delayMs: number;
      readonly code: number;
      readonly reason: string;
    }
  | { readonly status: 'closed'; readonly code: number; readonly reason: string };

export interface LinkOptions extends Backoff {
  readonly encoding: Encoding;
  readonly token?: string | ((reason: TokenReason) => string | Promise<string>);
  readonly WebSocket?: SocketConstructor;
  readonly connectMsMax: number;
  readonly pongMsMax: number;
  readonly random: () => number;
  readonly after: After;
}

export interface LinkHooks {
  state(state: ConnectionState): void;
  /** Commands may be sent from now on. */
  ready(welcome: Welcome): void;
  event(event: ServerEvent): void;
  /** The connection is gone. `drop`: what was under way may have been the reason. */
  lost(drop: boolean): void;
  error(error: FanfareError): void;
}

export interface Link {
  connect(): void;
  send(frame: string | Uint8Array): void;
  close(): void;
}

/** A connection that lasted this long makes earlier failures forgotten. */
const STEADY_MS = 5000;
/** The `id` of commands that the link sends itself. */
const OWN_ID = 0;
/** The code of an end without a close frame. */
const ABNORMAL = 1006;

export const createLink = (address: string | URL, options: LinkOptions, hooks: LinkHooks): Link => {
  const { after, encoding, token } = options;
  let state: ConnectionState['status'] = 'idle';
  let socket: SocketLike | undefined;
  let welcome: Welcome | undefined;
  let goodbye: Goodbye | undefined;
  let cancel: (() => void) | undefined;
  let attempt = 0;
  /** Counts connections, and their ends. */
  let turn = 0;
  let heard = false;
  let refused = false;
  let uncompressed = false;

  const enter = (next: ConnectionState): void => {
    state = next.status;
    hooks.state(next);
  };
  const arm = (ms: number, run: () => void): void => {
    cancel?.();
    cancel = after(ms, run);
  };
  const send = (frame: string | Uint8Array): void => socket?.send(frame as string);
  const say = (command: Command): void => send(encoding.encode(command));

  /** For this connection only: what belongs to an earlier one is passed over. */
  const now = <Event>(run: (event: Event) => void): ((event: Event) => void) => {
    const mine = turn;
    return (event) => {
      if (mine === turn) run(event);
    };
  };

  const ask = (reason: TokenReason, then: (token?: string) => void): void => {
    if (typeof token !== 'function') return then(token);
    // The provider is called within the chain, so that one that throws is one that rejects.
    Promise.resolve(reason)
      .then(token)
      .then(
        now(then),
        now((cause) => {
          if (reason !== 'expiring') end(ABNORMAL, 'no token');
          hooks.error(new FanfareError('token', `${cause}`));
        }),
      );
  };

  const end = (code: number, reason: string): void => {
    leave();
    const what = verdict(code);
    refused = what === 'renew';
    // Compression is the first suspect when bytes could not be read, and costs little to be without.
    if (what === 'drop' || (welcome && code === ABNORMAL && attempt)) uncompressed = true;
    welcome = undefined;
    if (what === 'stay' || (refused && typeof token !== 'function')) return shut(code, reason);
    if (what === 'later') attempt = Math.max(attempt, 4);
    const ms = delayMs(attempt++, options, options.random, goodbye?.reconnect_ms);
    arm(ms, connect);
    enter({ status: 'waiting', attempt, delayMs: ms, code, reason });
    hooks.lost(what === 'drop');
  };
  const shut = (code: number, reason: string): void => {
    leave();
    listen(false);
    enter({ status: 'closed', code, reason });
    hooks.lost(true);
  };
  const leave = (): void => {
    cancel?.();
    turn++;
    socket?.close(1000);
    socket = undefined;
  };

  const keepAlive = (): void => {
    heard = false;
    attempt = 0;
    arm((welcome as Welcome).heartbeat_ms, () => (heard ? keepAlive() : probe()));
  };
  /** Is anybody there? Also after sleep, when the timers are late. */
  const probe = (): void => {
    heard = false;
    say({ type: 'ping', id: OWN_ID });
    arm(options.pongMsMax, () => (heard ? keepAlive() : end(ABNORMAL, 'silence')));
  };

  const ready = (): void => {
    arm(STEADY_MS, keepAlive);
    const first = welcome as Welcome;
    enter({ status: 'connected', connection: first.connection });
    hooks.ready(first);
  };

  const take = (event: ServerEvent): void => {
    const own = event.id === OWN_ID;
    switch (event.type) {
      case 'welcome':
        welcome = event;
        if (token === undefined) ready();
        return;
      case 'goodbye':
        goodbye = event;
        return;
      case 'expiring':
        ask('expiring', (value) => say({ type: 'auth', id: OWN_ID, token: value }));
        return;
      case 'authenticated':
      case 'error':
        if (!own) break;
        if (event.type === 'error') {
          hooks.error(new FanfareError(event.code, event.message));
          // The server closes after this one. After others, such as from a server that wants no credentials,
          // everything else works.
          if (event.code === 'unauthorized' || event.code === 'forbidden') return;
        }
        if (state === 'connecting' && welcome) ready();
        return;
    }
    if (state === 'connected') hooks.event(event);
  };

  const open = (value: string | undefined): void => {
    const Socket = options.WebSocket ?? (globalThis.WebSocket as unknown as SocketConstructor | undefined);
    if (!Socket) throw 'pass a `WebSocket`';
    arm(options.connectMsMax, () => end(ABNORMAL, 'no answer'));
    const url = new URL(address, globalThis.location?.href);
    url.protocol = url.protocol.replace('http', 'ws');
    if (uncompressed) url.searchParams.set('deflate', 'off');
    socket = new Socket(url.href, [encoding.protocol]);
    socket.binaryType = 'arraybuffer';
    socket.onopen = now(() => {
      if (token !== undefined) say({ type: 'auth', id: OWN_ID, token: value });
    });
    socket.onmessage = now(({ data }: { data: string | ArrayBuffer }) => {
      heard = true;
      const broken = now(() => {
        end(ABNORMAL, 'garbage');
        hooks.error(new FanfareError('garbage', 'garbage'));
      });
      try {
        const event = encoding.decode(data) as ServerEvent;
        if (!event.type) throw event;
        take(event);
      } catch {
        // What it was is unknown, and it may have been a message: positions recover it.
        broken(0);
      }
    });
    socket.onclose = now(({ code, reason }: { code: number; reason: string }) => end(code, reason));
    // A close event follows. `ws` throws errors that nobody listens to.
    socket.onerror = () => {};
  };

  const connect = (): void => {
    if (state === 'connecting' || state === 'connected') return;
    leave();
    goodbye = undefined;
    listen(true);
    enter({ status: 'connecting' });
    ask(refused ? 'refused' : 'connect', (value) => {
      try {
        open(value);
      } catch (cause) {
        // No WebSocket, or an address that it does not take: later is no better.
        end(1000, `${cause}`);
        hooks.error(new FanfareError('unusable', `${cause}`));
      }
    });
  };

  /** The page is seen again, or the network is back: timers may be late by hours. */
  const wake = (): void => {
    if (globalThis.document?.hidden) return;
    // Who was sent away waits as it was told.
    if (state === 'waiting' && !goodbye) connect();
    else if (state === 'connected') probe();
  };
  const listen = (on: boolean): void => {
    const change = on ? 'addEventListener' : 'removeEventListener';
    // The second one bubbles up from the document.
    for (const event of ['online', 'visibilitychange']) globalThis[change]?.(event, wake);
  };

  return {
    connect,
    send,
    close() {
      if (state !== 'closed') shut(1000, 'closed');
    },
  };
};
