/**
 * A bounded queue between listeners, which are pushed to, and an async iterator, which is pulled from. At
 * its bound the oldest entry is left out, and a gap in its place says so.
 */

import type { Message } from './protocol.ts';
import type { Gap } from './subscription.ts';

export interface EventQueue {
  push(event: Message | Gap): void;
  /** Ends the iteration once everything queued is taken: with an error if there is one. */
  end(error?: Error): void;
  events(): AsyncGenerator<Message | Gap, void>;
}

export const createQueue = (bufferMax: number): EventQueue => {
  const queued: (Message | Gap)[] = [];
  // What was left out, by topic. It was older than everything queued, so it goes first.
  const holes = new Map<string, Gap>();
  let ended: { readonly error: Error | undefined } | undefined;
  let wake: (() => void) | undefined;
  return {
    push(event) {
      if (ended) return;
      queued.push(event);
      const lost = queued.length > bufferMax && queued.shift();
      if (lost) {
        const { topic } = lost;
        const { from, to } = lost.type === 'gap' ? lost : { from: lost.offset, to: lost.offset };
        holes.set(topic, { type: 'gap', topic, reason: 'buffer', from: holes.get(topic)?.from ?? from, to });
      }
      wake?.();
    },
    end(error) {
      ended ??= { error };
      wake?.();
    },
    async *events() {
      while (true) {
        const [hole] = holes.values();
        if (hole) holes.delete(hole.topic);
        const next = hole ?? queued.shift();
        if (next) yield next;
        else if (!ended)
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        else if (ended.error) throw ended.error;
        else return;
      }
    },
  };
};
