/**
 * What must compile, and what must not: `tsc` reads this, nothing runs it. Below `THROWS` the next line is an
 * error, and that it is none would be one.
 */

import { type Client, createClient, type FanfareError, type Gap, type Message, type Published } from 'fanfare-client';
import { withFallback } from 'fanfare-client/fallback';
import { msgpack } from 'fanfare-client/msgpack';
import { type useConnection, useTopic } from 'fanfare-client/react';
import { withSharedWorker } from 'fanfare-client/shared';
import { shareClient } from 'fanfare-client/worker';

interface Topics {
  'prices.btc': { bid: number };
  news: string;
  [room: `chat.${string}`]: { text: string };
}

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : never;
const same = <A, B>(_: Same<A, B>): void => {};

declare const typed: Client<Topics>;
declare const untyped: Client;

export const topics = async (): Promise<void> => {
  typed.subscribe('prices.btc', (message) => same<typeof message, Message<{ bid: number }>>(true));
  typed.subscribe('chat.one', ({ data }) => same<typeof data, { text: string }>(true));
  typed.subscribe('chat.*', ({ data }) => same<typeof data, { text: string }>(true));
  untyped.subscribe('anything', ({ data }) => same<typeof data, unknown>(true));
  for await (const event of typed.subscribe('news', { last: 1 })) {
    same<typeof event, Message<string> | Gap>(true);
    if (event.type === 'message') same<typeof event.data, string>(true);
  }
  const { messages } = await typed.history('news');
  same<(typeof messages)[number]['data'], string>(true);

  typed.subscribe('news', () => {}, { maxRate: 5 });
  const { receivers } = await typed.publish('news', 'text', { receivers: true });
  same<typeof receivers, number>(true);
  const position = await typed.publish('news', 'text');
  same<typeof position, Published>(true);
  typed.subscribe('news', { since: position });

  // THROWS: a rate is a number.
  // @ts-expect-error
  typed.subscribe('news', () => {}, { maxRate: '5' });
  // THROWS: they were not asked for.
  // @ts-expect-error
  position.receivers.toFixed();
  // THROWS: no such topic.
  // @ts-expect-error
  typed.subscribe('prices.eth', () => {});
  // THROWS: other data.
  // @ts-expect-error
  await typed.publish('prices.btc', { ask: 1 });
  // THROWS: other data, of a family.
  // @ts-expect-error
  await typed.publish('chat.one', 'text');
  // THROWS: nothing is known of the data.
  // @ts-expect-error
  untyped.subscribe('anything', ({ data }) => data.bid);
  // THROWS: a gap has no data.
  // @ts-expect-error
  for await (const event of typed.subscribe('news')) event.data;
  // THROWS: a position has both.
  // @ts-expect-error
  typed.subscribe('news', () => {}, { since: { offset: 1 } });
};

export const others = (): void => {
  createClient('/ws', { encoding: msgpack, token: async (reason) => `for ${reason}` });
  // THROWS: no such event.
  // @ts-expect-error
  typed.on('message', () => {});
  typed.on('error', (error) => same<typeof error, FanfareError>(true));
  typed.on('state', (state) => {
    // THROWS: only while it waits.
    // @ts-expect-error
    state.delayMs;
    if (state.status === 'waiting') same<typeof state.delayMs, number>(true);
  });
  // THROWS: no such code.
  // @ts-expect-error
  typed.on('error', ({ code }) => code === 'no_such_code');
  const { message } = useTopic(typed, 'prices.btc');
  same<typeof message, Message<{ bid: number }> | undefined>(true);
  // THROWS: no such topic.
  // @ts-expect-error
  useTopic(typed, 'prices.eth');
  same<ReturnType<typeof useConnection>, Client['state']>(true);
};

export const transports = (): void => {
  createClient('/ws', withFallback({ encoding: msgpack, headStartMs: 100 }));
  // THROWS: it is called for each connection.
  // @ts-expect-error
  withSharedWorker(new SharedWorker('worker.js'));
  const shared = createClient<Topics>(
    '/ws',
    withSharedWorker(() => new SharedWorker('worker.js'), { pendingMax: 10 }),
  );
  same<typeof shared, Client<Topics>>(true);
  shareClient(untyped, { beatMs: 100 });
  shareClient((token) => createClient('/ws', { token }));
  // THROWS: no such option.
  // @ts-expect-error
  withFallback({ headStart: 100 });
  // THROWS: a worker has a client, or makes one.
  // @ts-expect-error
  shareClient('/ws');
};
