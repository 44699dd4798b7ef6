/**
 * Leaves out what a client published with `echo: false`, where what carries its messages brings them all the
 * same: an event stream, or a connection that it shares with others.
 *
 * Such a message may come before the answer that tells its offset. So while answers are awaited what comes is
 * held, each event until the publishes that were under way before it are answered.
 */

import type { Message, WireGap } from './protocol.ts';
import type { Gap } from './subscription.ts';

type Event = Message | WireGap | Gap;

export interface Unechoed {
  /** One is under way. What this answers with is called once it is not: with its offset, if it will be heard. */
  sent(topic: string): (offset?: number) => void;
  heard(event: Event): void;
  /** The topic is not followed any more. */
  left(topic: string): void;
}

export const createUnechoed = (say: (event: Event) => void): Unechoed => {
  let sent = 0;
  /** Publishes under way, oldest first. */
  const open = new Set<number>();
  /** Offsets still to come, by topic. */
  const own = new Map<string, Set<number>>();
  let held: { readonly event: Event; readonly after: number }[] = [];

  const pass = (event: Event): void => {
    const offsets = own.get(event.topic);
    const mine = event.type === 'message' && offsets?.has(event.offset);
    if (offsets) {
      const newest = event.type === 'message' ? event.offset : (event.to ?? Infinity);
      for (const each of offsets) if (each <= newest) offsets.delete(each);
      if (!offsets.size) own.delete(event.topic);
    }
    if (!mine) say(event);
  };

  return {
    sent(topic) {
      const mine = ++sent;
      open.add(mine);
      return (offset) => {
        open.delete(mine);
        if (offset !== undefined) own.set(topic, (own.get(topic) ?? new Set()).add(offset));
        const [oldest = Infinity] = open;
        const until = held.findIndex(({ after }) => after >= oldest);
        for (const { event } of held.splice(0, until < 0 ? held.length : until)) pass(event);
      };
    },
    heard(event) {
      if (open.size) held.push({ event, after: sent });
      else pass(event);
    },
    left(topic) {
      own.delete(topic);
      held = held.filter(({ event }) => event.topic !== topic);
    },
  };
};
