/**
 * Whatever happens to the connection and to the server: everything published after the subscription is
 * heard exactly once and in order, or lies within a gap.
 */

import fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import type { Gap, Message } from '../src/index.ts';
import { pair, pass } from './support/setup.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

type Step =
  | { do: 'publish' | 'own' | 'quiet' | 'demand'; topic: number }
  | { do: 'forget'; topic: number; keep: number }
  | { do: 'follow'; topic: number; last: number }
  | { do: 'cut' | 'restart' | 'refuse' | 'accept' | 'garbage' | 'turn' }
  | { do: 'wait'; ms: number };

const topic = fc.nat(1);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constantFrom('publish' as const, 'own' as const, 'quiet' as const), topic }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('forget' as const), topic, keep: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('follow' as const), topic, last: fc.nat(4) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('demand' as const), topic }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom('cut' as const, 'turn' as const, 'refuse' as const, 'accept' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('restart' as const, 'garbage' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(30_000) }) },
);

/** What one follower heard of one topic, in the order in which it did. */
interface Heard {
  topic: string;
  events: (Message | Gap)[];
  from: number;
}

/** Every offset of each epoch in order: heard once, left out by a gap, or not wanted back. */
const audit = (
  { topic, events, from }: Heard,
  quiet: Set<string>,
  start: string,
  server: ReturnType<typeof pair>['server'],
) => {
  let epoch = start;
  let next = from;
  const missing = (offset: number) => {
    for (; next < offset; next++)
      if (!quiet.has(`${epoch}:${next}`)) throw new Error(`${topic} ${epoch}:${next} is missing`);
  };
  for (const event of events) {
    if (event.epoch !== undefined && event.epoch !== epoch) {
      // A numbering that begins anew needs a gap for what is past, or begins with its first message.
      epoch = event.epoch;
      next = 1;
    }
    if (event.type === 'message') {
      if (event.offset < next) throw new Error(`${topic} ${epoch}:${event.offset} came again`);
      missing(event.offset);
      next = event.offset + 1;
    } else {
      if (event.from === undefined || event.to === undefined) throw new Error(`a gap without bounds: ${event.reason}`);
      missing(event.from);
      next = Math.max(next, event.to + 1);
    }
  }
  expect(epoch, topic).toBe(server.topic(topic).epoch);
  missing(server.topic(topic).head + 1);
};

test('every message is heard exactly once and in order, or lies within a gap', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      vi.clearAllTimers();
      const { server, client } = pair({ delayMsMin: 100, delayMsMax: 2000 });
      const topics = ['a', 'b'];
      const all: (Heard & { start?: string })[] = [];
      const follow = async (name: string, last?: number, maxRate?: number) => {
        const heard: Heard & { start?: string } = { topic: name, events: [], from: 0 };
        const push = (event: Message | Gap) => void heard.events.push(event);
        const { ready } = client.subscribe(name, push, {
          onGap: push,
          ...(last && { last }),
          ...(maxRate && { maxRate }),
        });
        ready.then((position) => {
          heard.start = position?.epoch ?? '';
          heard.from = (position?.offset ?? 0) + 1;
        });
        all.push(heard);
      };
      for (const name of topics) await follow(name, undefined, 5);
      /** Who comes and goes, and wants everything. */
      const demanding = new Map<string, () => void>();
      await pass();
      const quiet = new Set<string>();
      const published: Promise<unknown>[] = [];
      let data = 0;
      for (const each of steps) {
        const name = 'topic' in each ? (topics[each.topic] as string) : '';
        switch (each.do) {
          case 'publish':
            server.publish(name, ++data);
            break;
          case 'own':
            published.push(client.publish(name, ++data));
            break;
          case 'quiet':
            published.push(
              client
                .publish(name, ++data, { echo: false })
                .then(({ epoch, offset }) => quiet.add(`${epoch}:${offset}`)),
            );
            break;
          case 'forget':
            server.forget(name, each.keep);
            break;
          case 'follow':
            await follow(name, each.last);
            break;
          case 'demand': {
            const leave = demanding.get(name);
            leave?.();
            if (leave) demanding.delete(name);
            else demanding.set(name, client.subscribe(name, () => {}).unsubscribe);
            break;
          }
          case 'cut':
            server.cut();
            break;
          case 'restart':
            server.restart(100);
            break;
          case 'garbage':
            if (server.last.open) server.last.raw('garbage');
            break;
          case 'refuse':
            server.mood = 'refuses';
            break;
          case 'accept':
            server.mood = 'accepts';
            break;
          case 'turn':
            await Promise.resolve();
            break;
          case 'wait':
            await pass(each.ms);
        }
      }
      server.mood = 'accepts';
      await pass(120_000);
      expect(client.state.status).toBe('connected');
      await Promise.all(published);
      for (const heard of all) audit(heard, quiet, heard.start ?? 'never ready', server);
      client.close();
      await pass();
      expect(vi.getTimerCount()).toBe(0);
    }),
    { numRuns: Number(process.env['RUNS'] ?? 300) },
  );
}, 60_000);
