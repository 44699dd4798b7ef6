/**
 * The worker's side of a connection that all tabs share: to each tab a server, which asks one client for what it is
 * asked.
 *
 * A tab is connected while the client is. When the client loses its connection so do the tabs, each with the same
 * code and the time to return; each then asks for what it follows from where it stands. So every tab shows the
 * truth, and recovers as it would alone.
 */

import type { Client, Subscription } from './client.ts';
import type { FanfareError, TokenReason } from './index.ts';
import { patternOf } from './pattern.ts';
import type { Presence } from './presence.ts';
import type { Command, Message, Position } from './protocol.ts';
import type { FromPage, FromWorker } from './shared.ts';
import type { Gap } from './subscription.ts';
import { createUnechoed, type Unechoed } from './unechoed.ts';

export interface ShareOptions {
  /**
   * How often a tab is asked whether it is there. One that did not answer by the next time is gone. @default 10_000
   */
  readonly beatMs?: number;
  /** How many events a tab may leave untaken before it is sent away, to recover when it can. @default 10_000 */
  readonly untakenMax?: number;
}

type Ask = Command & { readonly id?: unknown; readonly topic: string };
/** A token of the tabs', which ask their providers. */
export type TabsToken = (reason: TokenReason) => string | Promise<string>;

interface Tab {
  readonly port: MessagePort;
  readonly follows: Map<string, Subscription<unknown>>;
  readonly unechoed: Unechoed;
  welcomed: boolean;
  /** The `id` of a token that is to be answered for. */
  auth: unknown;
  out: unknown[];
  untaken: number;
  alive: boolean;
  /** However many of its subscriptions match, it gets a message once. */
  latest: Message | undefined;
}

/** Reasons of a gap that answer a `since`. */
const unrecovered: readonly string[] = ['expired', 'epoch', 'future'];

/**
 * Serves the tabs of the SharedWorker that calls it, at once when it starts. `source` is the client, or who makes
 * one with the tokens of the tabs: `shareClient((token) => createClient('/ws', { token }))`.
 */
export const shareClient = (
  source: Client | ((token: TabsToken) => Client),
  { beatMs = 10_000, untakenMax = 10_000 }: ShareOptions = {},
): void => {
  const tabs = new Set<Tab>();
  let token: string | undefined;
  const awaited: ((token: string) => void)[] = [];

  const ofTabs: TabsToken = (reason) => {
    if (reason === 'expiring') {
      token = undefined;
      for (const tab of tabs) say(tab, { type: 'expiring', expires_in_ms: 0 });
    }
    return token ?? new Promise((resolve) => awaited.push(resolve));
  };
  const client = typeof source === 'function' ? source(ofTabs) : source;

  const say = (tab: Tab, event: object): void => {
    if (!tabs.has(tab)) return;
    if (!tab.out.length) queueMicrotask(() => post(tab));
    tab.out.push(event);
  };
  const post = (tab: Tab): void => {
    if (!tabs.has(tab)) return;
    // What comes at once may be more than the bound: else what is recovered could be too much each time.
    if (tab.untaken > untakenMax) return leave(tab, 4008, 'the page is too slow');
    const { out } = tab;
    tab.out = [];
    tab.untaken += out.length;
    tab.port.postMessage(out satisfies FromWorker);
  };

  /** The tab is gone, or is to go: with a code that says why. */
  const leave = (tab: Tab, code?: number, reason = ''): void => {
    if (!tabs.delete(tab)) return;
    for (const subscription of tab.follows.values()) subscription.unsubscribe();
    if (code !== undefined) {
      // What says goodbye, and of messages not more than came at once.
      tab.port.postMessage(tab.out satisfies FromWorker);
      tab.port.postMessage({ code, reason } satisfies FromWorker);
    }
    tab.port.close();
  };

  const welcome = (tab: Tab): void => {
    if (client.state.status !== 'connected' || tab.welcomed) return;
    tab.welcomed = true;
    const { connection } = client.state;
    say(tab, { type: 'welcome', connection, resume: '', heartbeat_ms: 25_000, max_message_bytes: Infinity });
    if (tab.auth !== undefined) say(tab, { type: 'authenticated', id: tab.auth });
  };

  const answer = (tab: Tab, { id, topic }: Ask, coming: Promise<object>, type: string): void => {
    coming.then(
      (event) => say(tab, { ...event, type, id, topic }),
      (error: FanfareError) => say(tab, refusal(error, id)),
    );
  };

  const subscribe = (tab: Tab, { id, topic, since, last, max_rate, presence, member }: Ask): void => {
    const before = tab.follows.get(topic);
    // What comes before the answer is said after it.
    let early: object[] | undefined = [];
    let lost: Gap | undefined;
    const pass = (event: object): void => {
      if (early) early.push(event);
      else say(tab, event);
    };
    const hear = (event: Message | Gap): void => {
      if (early) early.push(event);
      else tab.unechoed.heard(event);
    };
    const subscription = client.subscribe(
      topic,
      (message) => {
        if (message !== tab.latest) hear(message);
        tab.latest = message;
      },
      {
        ...(since !== undefined && { since: since as Position }),
        ...(last !== undefined && { last: last as number }),
        ...(max_rate !== undefined && { maxRate: max_rate as number }),
        ...(presence === true && { presence, member }),
        onGap(gap) {
          if (early && since && unrecovered.includes(gap.reason)) lost = gap;
          else hear(gap);
        },
        onPresence: (members) => pass({ ...members, type: 'presence', topic }),
      },
    );
    tab.follows.set(topic, subscription);
    const answered = before?.ready.catch(() => {}).then(() => subscription.ready) ?? subscription.ready;
    answered.then(
      (position) => {
        before?.unsubscribe();
        const recovered =
          since !== undefined && (lost ? { recovered: false, reason: lost.reason } : { recovered: true });
        say(tab, { type: 'subscribed', id, topic, ...position, ...recovered });
        const waited = early as (Message | Gap | Presence)[];
        early = undefined;
        for (const event of waited) {
          if ('members' in event) say(tab, event);
          else tab.unechoed.heard(event);
        }
      },
      (error: FanfareError) => {
        // Refused, which leaves what was there; or given up, with what was there.
        if (tab.follows.get(topic) !== subscription) before?.unsubscribe();
        else if (before) tab.follows.set(topic, before);
        else tab.follows.delete(topic);
        say(tab, refusal(error, id, topic));
      },
    );
  };

  const publish = (tab: Tab, { id, topic, data, key, receivers, idempotency_key, echo }: Ask): void => {
    const unechoed = echo === false ? tab.unechoed.sent(topic) : undefined;
    const published = client.publish(topic, data, {
      // Without a key it must not be sent twice.
      retry: idempotency_key !== undefined,
      ...(idempotency_key !== undefined && { idempotencyKey: idempotency_key as string }),
      ...(key !== undefined && { key: key as string }),
      ...(receivers === true && { receivers }),
    });
    published.then(
      (position) => {
        const comes = [...tab.follows.keys()].some((name) => name === topic || patternOf(name)?.test(topic));
        unechoed?.(comes ? position.offset : undefined);
        say(tab, { ...position, type: 'published', id, topic });
      },
      (error: FanfareError) => {
        unechoed?.();
        say(tab, refusal(error, id, topic));
      },
    );
  };

  const take = (tab: Tab, command: Ask): void => {
    const { type, id, topic, since, limit } = command;
    switch (type) {
      case 'subscribe':
        return subscribe(tab, command);
      case 'unsubscribe':
        tab.follows.get(topic)?.unsubscribe();
        tab.follows.delete(topic);
        tab.unechoed.left(topic);
        return say(tab, { type: 'unsubscribed', id, topic });
      case 'publish':
        return publish(tab, command);
      case 'history': {
        const asked = {
          ...(since !== undefined && { since: since as Position }),
          ...(limit !== undefined && { limit: limit as number }),
        };
        return answer(tab, command, client.history(topic, asked), type);
      }
      case 'presence':
        return answer(tab, command, client.presence(topic), type);
      case 'auth':
        token = command['token'] as string;
        tab.auth = id;
        for (const resolve of awaited.splice(0)) resolve(token);
        return tab.welcomed ? say(tab, { type: 'authenticated', id }) : undefined;
      case 'ping':
        // A tab that asks may have been asleep, and so may the connection.
        globalThis.dispatchEvent?.(new Event('visibilitychange'));
        return say(tab, { type: 'pong', id });
      case 'resume':
        return say(tab, { type: 'resumed', id });
      default:
        say(tab, { type: 'error', id, code: 'unknown_type', message: `${type}` });
    }
  };

  client.on('state', (state) => {
    if (state.status === 'connected') for (const tab of tabs) welcome(tab);
    if (!('code' in state)) return;
    const { code, reason } = state;
    if (code === 4401) token = undefined;
    for (const tab of tabs) {
      // A tab without tokens can do nothing about one that is refused, and this worker's client can.
      const waits = state.status === 'waiting';
      if (waits) say(tab, { type: 'goodbye', code, reason, reconnect_ms: state.delayMs });
      leave(tab, waits && code === 4401 && tab.auth === undefined ? 1012 : code, reason);
    }
  });
  client.on('error', (error) => {
    // What is about a topic is told to who asked.
    if (error.topic === undefined) for (const tab of tabs) say(tab, refusal(error));
  });

  const attend = (port: MessagePort): void => {
    const tab: Tab = {
      port,
      follows: new Map(),
      unechoed: createUnechoed((event) => say(tab, event)),
      welcomed: false,
      auth: undefined,
      out: [],
      untaken: 0,
      alive: true,
      latest: undefined,
    };
    tabs.add(tab);
    port.onmessage = ({ data }: MessageEvent<FromPage>) => {
      tab.alive = true;
      if (data === null) leave(tab);
      else if (typeof data === 'number') tab.untaken -= data;
      else for (const command of data.commands) take(tab, command as Ask);
    };
    const { status } = client.state;
    if (status === 'idle' || status === 'closed') client.connect();
    welcome(tab);
  };

  setInterval(() => {
    for (const tab of tabs) {
      // It may be frozen rather than gone, and then hears of it when it wakes.
      if (!tab.alive) leave(tab, 4408, 'no answer from the page');
      tab.alive = false;
      post(tab);
    }
  }, beatMs);
  (globalThis as unknown as { onconnect(event: MessageEvent): void }).onconnect = ({ ports: [port] }) =>
    port && attend(port);
};

const refusal = ({ code, message, topic, retryAfterMs }: FanfareError, id?: unknown, about = topic): object => ({
  type: 'error',
  id,
  code,
  message,
  topic: about,
  retry_after_ms: retryAfterMs,
});
