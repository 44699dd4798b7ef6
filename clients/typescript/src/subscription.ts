/**
 * What is subscribed, where each topic stands, and who hears what. Above the connection: it is told when
 * there is a new one, and asks there for everything again, from the positions reached.
 *
 * However many followers a topic has, the server is asked once. A follower that wants older messages (`since`,
 * `last`) moves the connection's position back; the others pass over what they have had.
 */

import { FanfareError } from './errors.ts';
import type { After } from './link.ts';
import { patternOf } from './pattern.ts';
import { applyDiff, fromSnapshot, type Presence } from './presence.ts';
import type { Command, Message, Position, ServerEvent, Subscribed } from './protocol.ts';

/**
 * Messages were left out, `from`..`to` with both ends included where they are known.
 *
 * - `slow`, `latest`, `backplane`: by the server, for its reasons
 * - `expired`: after a return they were no longer held
 * - `epoch`: the topic's numbering began anew while the connection was away; `from`..`to` is what of the new one is past
 * - `future`: the server knows less of the topic than this client
 * - `pattern`: the connection was away, and a pattern has no position to recover from
 * - `buffer`: by this client, because an iterator was not taken from
 */
export interface Gap {
  readonly type: 'gap';
  readonly topic: string;
  readonly epoch?: string | undefined;
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  readonly reason: 'slow' | 'latest' | 'backplane' | 'expired' | 'epoch' | 'future' | 'pattern' | 'buffer';
}

export interface SubscribeOptions {
  /** Replays everything after this position first. Not with a pattern. */
  readonly since?: Position | undefined;
  /** Replays this many of the newest messages first. Not with a pattern, nor with `since`. */
  readonly last?: number;
  /**
   * At most so many messages a second, 1 to 1000: the newest of each key, with gaps (`latest`) for the others.
   * Where another subscription of this client takes more of the topic, this one gets that too. What comes is
   * changed by a new subscription to the server, so a member leaves and joins. A rate that the server refuses ends
   * all that share it. Not with a pattern. @default all of them
   */
  readonly maxRate?: number;
  /** Joins the topic as a member, and keeps `presence` current. @default false */
  readonly presence?: boolean;
  /** What the other members see of this one: up to 1 KiB as JSON. */
  readonly member?: unknown;
  /**
   * How many events may wait for the async iterator. At the bound the oldest is left out, and a gap with the
   * reason `buffer` says so. @default 1024
   */
  readonly bufferMax?: number;
  /** Messages were left out. An iterator yields gaps in their place as well. */
  onGap?(gap: Gap): void;
  /** Who is there has changed, with `presence: true`. */
  onPresence?(presence: Presence): void;
  /** The subscription has ended: it was refused, or the connection is closed for good. */
  onError?(error: FanfareError): void;
}

/** One subscription among those that share a channel. */
export interface Follower {
  readonly options: SubscribeOptions;
  /** It wants older messages, and the server has not answered yet. */
  waiting: boolean;
  /** What it has had of each topic: the newest offset. A pattern has up to `SEEN_TOPICS_MAX`. */
  readonly seen: Map<string, number>;
  heard(event: Message | Gap): void;
  settled(position: Position | undefined): void;
  failed(error: FanfareError): void;
}

export interface Channel {
  readonly topic: string;
  readonly pattern: RegExp | undefined;
  readonly followers: Set<Follower>;
  /** The server has said `subscribed` on this connection; `false` if on an earlier one only. */
  live?: boolean;
  /** What the server is asked for on this connection, in messages a second. */
  rate?: number | undefined;
  position?: Position | undefined;
  presence?: Presence | undefined;
  /** A snapshot of who is there has been asked for. */
  asking?: boolean;
  /** Offsets of this client's own messages that it does not want back (`echo: false`). */
  readonly own: Set<number>;
}

export interface TopicsHooks {
  /** Sends a command; the answer, `error` included, comes unless the connection ends before. */
  ask(command: Command, answer?: (event: ServerEvent) => void): void;
  connected(): boolean;
  emit<Name extends 'gap' | 'error'>(name: Name, event: { gap: Gap; error: FanfareError }[Name]): void;
  readonly after: After;
}

export interface Topics {
  follow(topic: string, follower: Follower): Channel;
  leave(channel: Channel, follower: Follower): void;
  take(event: ServerEvent): void;
  /** The own message of this offset will not come. */
  unechoed(topic: string, position: Position): void;
  restore(): void;
  lost(): void;
  close(error: FanfareError): void;
  /** Whether this client is a member of some topic. */
  present(): boolean;
}

/**
 * Of how many topics a pattern's follower knows what it has had. Beyond, it may get a message twice when
 * somebody else asks for older ones.
 */
const SEEN_TOPICS_MAX = 10_000;

/** Calls a listener. One that throws disturbs nobody else, and is reported as the runtime reports errors. */
export const tell = <Event>(listener: ((event: Event) => void) | undefined, event: Event): void => {
  try {
    listener?.(event);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
};

export const errorOf = (event: ServerEvent & { type: 'error' }): FanfareError =>
  new FanfareError(event.code, event.message, event.topic, event.retry_after_ms);

export const createTopics = (hooks: TopicsHooks): Topics => {
  const channels = new Map<string, Channel>();
  const patterns = new Set<Channel>();

  const hear = (followers: Iterable<Follower>, gap: Gap): void => {
    // Who waits for older messages begins where these begin.
    for (const follower of [...followers]) if (!follower.waiting) tell(follower.heard, gap);
    hooks.emit('gap', gap);
  };

  /** The channel's numbering is this one, and stands here. */
  const begin = (channel: Channel, epoch: string, offset: number): void => {
    channel.position = { epoch, offset };
    channel.own.clear();
    for (const { seen } of channel.followers) seen.set(channel.topic, offset);
  };

  /** What the most demanding of its followers wants, in messages a second. */
  const wanted = ({ followers }: Channel): number =>
    Math.max(...[...followers].map(({ options }) => options.maxRate ?? Infinity));

  /** Has the server send as many messages as its followers want. It keeps to a rate until it is unsubscribed. */
  const pace = (channel: Channel): void => {
    if (!channel.live || channel.rate === wanted(channel)) return;
    hooks.ask({ type: 'unsubscribe', topic: channel.topic });
    channel.live = false;
    channel.rate = undefined;
    join(channel);
  };

  const join = (channel: Channel, follower?: Follower): void => {
    const { topic, followers, position } = channel;
    const everybody = [...followers];
    const own = follower?.waiting ? follower : undefined;
    // From where the one who is furthest behind stands.
    const back = position && {
      ...position,
      offset: Math.min(position.offset, ...everybody.map(({ seen }) => seen.get(topic) ?? Infinity)),
    };
    const { since, last }: SubscribeOptions = own ? own.options : channel.live ? {} : { since: back };
    const { presence, member } = everybody.findLast(({ options }) => options.presence)?.options ?? {};
    const rate = (channel.rate ??= wanted(channel));
    const max_rate = rate < Infinity ? rate : undefined;
    hooks.ask({ type: 'subscribe', topic, since, last, max_rate, presence, member }, (event) => {
      if (channels.get(topic) !== channel) return;
      if (event.type === 'error') return refuse(channel, errorOf(event), follower);
      const { epoch, offset = 0, recovered, reason } = event as Subscribed;
      const lost = recovered === false;
      channel.live = true;
      if (epoch !== undefined) {
        if (channel.position?.epoch !== epoch || (lost && !own)) {
          begin(channel, epoch, offset);
          // What a pattern showed of an earlier numbering says nothing of this one.
          if (!own) for (const { seen } of matching(topic)) seen.set(topic, Math.min(offset, seen.get(topic) ?? 0));
        }
        if (own) {
          own.waiting = false;
          own.seen.set(topic, offset);
          own.settled({ epoch, offset });
        }
      }
      if (lost && since && reason) {
        const from = { expired: since.offset + 1, epoch: 1, future: undefined }[reason];
        hear(own ? [own] : followers, { type: 'gap', topic, epoch, from, to: from && offset, reason });
      }
      for (const each of followers) if (!each.waiting) each.settled(channel.position);
      pace(channel);
    });
  };

  const refuse = (channel: Channel, error: FanfareError, follower?: Follower): void => {
    const { topic, followers } = channel;
    if (error.retryAfterMs !== undefined) {
      // Twice is harmless: who subscribes again is answered, and changes nothing.
      hooks.after(error.retryAfterMs, () => {
        if (channels.get(topic) === channel && hooks.connected()) join(channel, follower);
      });
    } else {
      for (const each of follower && channel.live ? [follower] : [...followers]) {
        followers.delete(each);
        each.failed(error);
      }
      forget(channel, channel.live);
    }
    hooks.emit('error', error);
  };

  const forget = (channel: Channel, asked: boolean | undefined): void => {
    const { topic, followers } = channel;
    if (followers.size) return pace(channel);
    if (channels.get(topic) !== channel) return;
    channels.delete(topic);
    patterns.delete(channel);
    if (asked) hooks.ask({ type: 'unsubscribe', topic });
  };

  /** What follows a topic by its name, and has now come to `offset`. An `epoch` is where a numbering begins. */
  const reach = (topic: string, offset: number, epoch?: string): Channel | undefined => {
    const channel = channels.get(topic);
    if (!channel?.live) return;
    if (epoch !== undefined && channel.position?.epoch !== epoch) begin(channel, epoch, 0);
    const { position } = channel;
    if (position && offset > position.offset) channel.position = { ...position, offset };
    return channel;
  };
  const matching = (topic: string): Follower[] =>
    [...patterns].flatMap(({ live, pattern, followers }) => (live && pattern?.test(topic) ? [...followers] : []));

  const deliver = (message: Message): void => {
    const { topic, offset, epoch } = message;
    const live = reach(topic, offset, epoch);
    // Sent with `echo: false`, and replayed to a connection that is not the one it was sent on.
    const mine = live?.own.has(offset);
    for (const each of live?.own ?? []) if (each <= offset) live?.own.delete(each);
    for (const follower of [...(live?.followers ?? []), ...matching(topic)]) {
      const { seen } = follower;
      // Older messages come only where somebody follows the topic by its name, which keeps its numbering.
      if (follower.waiting || (live && offset <= (seen.get(topic) ?? 0))) continue;
      seen.set(topic, offset);
      if (seen.size > SEEN_TOPICS_MAX) seen.delete(seen.keys().next().value as string);
      if (!mine) tell(follower.heard, message);
    }
  };

  const skip = (event: Gap): void => {
    const { topic, epoch, to = 0 } = event;
    const live = reach(topic, to, epoch);
    const followers = [...(live?.followers ?? []), ...matching(topic)];
    for (const { seen } of followers) seen.set(topic, Math.max(seen.get(topic) ?? 0, to));
    hear(followers, event);
  };

  const attend = (channel: Channel, presence: Presence): void => {
    channel.presence = presence;
    for (const follower of [...channel.followers]) tell(follower.options.onPresence, presence);
  };

  const take = (event: ServerEvent): void => {
    switch (event.type) {
      case 'message':
        return deliver(event);
      case 'gap':
        return skip(event);
      case 'presence':
      case 'presence_diff': {
        const channel = channels.get(event.topic);
        if (!channel) return;
        if (event.type === 'presence') return attend(channel, fromSnapshot(event));
        const { presence } = channel;
        const { version } = event;
        if (!presence || channel.asking || version <= presence.version) return;
        if (version === presence.version + 1) return attend(channel, applyDiff(presence, event));
        // One is missing.
        channel.asking = true;
        hooks.ask({ type: 'presence', topic: channel.topic }, (answer) => {
          channel.asking = false;
          take(answer);
        });
      }
    }
  };

  return {
    follow(topic, follower) {
      let channel = channels.get(topic);
      if (!channel) {
        channel = {
          topic,
          pattern: patternOf(topic),
          followers: new Set(),
          own: new Set(),
        };
        channels.set(topic, channel);
        if (channel.pattern) patterns.add(channel);
      }
      channel.followers.add(follower);
      if (channel.position && !follower.waiting) follower.seen.set(topic, channel.position.offset);
      if (hooks.connected()) {
        pace(channel);
        if (channel.rate === undefined || follower.waiting || follower.options.presence) join(channel, follower);
        else if (channel.live) follower.settled(channel.position);
      }
      return channel;
    },
    leave(channel, follower) {
      if (channel.followers.delete(follower)) forget(channel, channel.rate !== undefined);
    },
    take,
    unechoed(topic, { epoch, offset }) {
      const channel = channels.get(topic);
      if (channel?.position?.epoch === epoch && offset > channel.position.offset) channel.own.add(offset);
    },
    restore() {
      // Names go first: what a pattern brings of such a topic must not come before what is recovered of it.
      for (const channel of [...channels.values()].sort((a, b) => +patterns.has(a) - +patterns.has(b))) {
        const waiting = [...channel.followers].filter((follower) => follower.waiting);
        if (channel.position || waiting.length === 0) join(channel);
        for (const follower of waiting) join(channel, follower);
        if (channel.pattern && channel.live === false) {
          for (const { seen } of channel.followers)
            for (const each of seen.keys()) if (!channels.has(each)) seen.delete(each);
          hear(channel.followers, { type: 'gap', topic: channel.topic, reason: 'pattern' });
        }
      }
    },
    lost() {
      for (const channel of channels.values()) {
        channel.live &&= false;
        channel.rate = undefined;
        channel.asking = false;
      }
    },
    close(error) {
      const all = [...channels.values()];
      channels.clear();
      patterns.clear();
      for (const { followers } of all) for (const follower of followers) follower.failed(error);
    },
    present: () => [...channels.values()].some(({ presence }) => presence),
  };
};
