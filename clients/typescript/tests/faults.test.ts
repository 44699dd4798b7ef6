/** What a server, a network or a clock may do, on a clock that the test winds. No rejection may go unhandled. */

import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';

import { hear, onFakeTime, pair, pass } from './support/setup.ts';

onFakeTime();

const connected = async (options = {}) => {
  const made = pair(options);
  made.client.connect();
  await pass();
  return made;
};

describe('answers', () => {
  test('one that comes late is one', async () => {
    const { server, client } = await connected({ pendingMax: 1 });
    server.deaf = true;
    const published = client.publish('a', 1);
    await pass(20_000);
    server.deaf = false;
    const { id } = server.last.commands[0] as { id: number };
    server.last.say({ type: 'published', id, topic: 'a', epoch: 'e1', offset: 7 });
    expect(await published).toEqual({ epoch: 'e1', offset: 7 });
    // And once more, which is one too many.
    server.last.say({ type: 'published', id, topic: 'a', epoch: 'e1', offset: 8 });
    expect(client.state.status).toBe('connected');
    // Which makes no more room than the first one did.
    const next = client.publish('a', 2);
    await expect(client.publish('a', 3)).rejects.toMatchObject({ code: 'queue_full' });
    await next;
  });

  test('one that never comes keeps its place in the queue, which has a bound', async () => {
    const { server, client } = await connected({ pendingMax: 3 });
    server.take = (
      (take) => (connection, command) =>
        command['type'] === 'ping' ? take.call(server, connection, command) : undefined
    )(server.take);
    const waits = [1, 2, 3].map((data) => client.publish('a', data));
    await expect(client.publish('a', 4)).rejects.toMatchObject({ code: 'queue_full' });
    await pass(600_000);
    // The server is there: it answers pings.
    expect(server.connections).toHaveLength(1);
    client.close();
    const outcome = await Promise.allSettled(waits);
    expect(outcome.map((each) => each.status === 'rejected' && each.reason.code)).toEqual(Array(3).fill('closed'));
  });

  test('what an earlier connection still says is passed over', async () => {
    const { server, client } = await connected();
    const { heard } = hear(client, 'a');
    await pass();
    server.publish('a', 1);
    const old = server.last;
    const hears = old.onmessage;
    server.cut();
    await pass(1000);
    expect(client.state.status).toBe('connected');
    hears?.({ data: '{"type":"message","topic":"a","offset":2,"data":"of yesterday"}' } as never);
    hears?.({ data: 'garbage' } as never);
    server.publish('a', 2);
    expect(heard).toEqual(['a:1=1', 'a:2=2']);
    expect(client.state).toMatchObject({ status: 'connected', connection: 'c2' });
  });
});

describe('restarts', () => {
  test('ten in a row: each is a gap, nothing is heard twice, and nobody hurries', async () => {
    const { server, client, gaps, errors } = await connected();
    const { heard } = hear(client, 'a');
    await pass();
    const delays: number[] = [];
    client.on('state', (state) => state.status === 'waiting' && delays.push(state.delayMs));
    for (let restart = 0; restart < 10; restart++) {
      server.publish('a', restart);
      server.restart(1000);
      // It begins anew, and has something before the client is back.
      server.publish('a', `new ${restart}`);
      await pass(20_000);
    }
    expect(delays).toEqual(Array(10).fill(1000));
    expect(server.connections).toHaveLength(11);
    expect(gaps.map(({ reason, from, to }) => `${reason} ${from}-${to}`)).toEqual(Array(10).fill('epoch 1-1'));
    const data = heard.filter((each) => !each.startsWith('gap'));
    expect(data).toEqual(Array.from({ length: 10 }, (_, at) => `a:${at ? 2 : 1}=${at}`));
    expect(errors).toEqual([]);
  });

  test('ten in a row, none of which lasts: the delays grow', async () => {
    const { server, client } = await connected();
    const delays: number[] = [];
    client.on('state', (state) => state.status === 'waiting' && delays.push(state.delayMs));
    for (let restart = 0; restart < 10; restart++) {
      server.restart(0);
      await pass(delays.at(-1));
      expect(client.state.status).toBe('connected');
    }
    expect(delays[0]).toBe(0);
    expect(delays.at(-1)).toBeGreaterThan(5000);
  });

  test('a thousand clients of a server that is gone without a word do not return together, nor in a loop', async () => {
    let seed = 1;
    const random = () => (seed = (seed * 48_271) % 0x7fff_ffff) / 0x7fff_ffff;
    // Timers by the hundredth of a second: the fake ones take their time with a thousand clients.
    let now = 0;
    const due = new Map<number, Set<() => void>>();
    const after = (ms: number, run: () => void) => {
      const at = Math.ceil((now + ms) / 10);
      const mine = () => run();
      due.set(at, (due.get(at) ?? new Set()).add(mine));
      return () => void due.get(at)?.delete(mine);
    };
    const pairs = Array.from({ length: 1000 }, () => pair({ random, after }));
    const attempts = async (ms: number): Promise<number> => {
      const made = () => pairs.reduce((sum, { server }) => sum + server.connections.length, 0);
      const before = made();
      for (const until = now + ms; now < until; now += 10) {
        for (const run of due.get(now / 10) ?? []) run();
        due.delete(now / 10);
        await null;
      }
      return made() - before;
    };
    for (const { client } of pairs) client.connect();
    await attempts(100);
    for (const { server } of pairs) {
      server.mood = 'refuses';
      server.cut();
    }
    const tenths: number[] = [];
    for (let tenth = 0; tenth < 10; tenth++) tenths.push(await attempts(100));
    // Half a second of quiet, then a thousand over the next half.
    expect(tenths.slice(0, 5)).toEqual([0, 0, 0, 0, 0]);
    expect(Math.max(...tenths)).toBeLessThan(300);
    expect(tenths.reduce((sum, each) => sum + each)).toBeGreaterThan(900);
    await attempts(59_000);
    // Of a thousand clients, in a second, once the delays have grown.
    for (let second = 0; second < 10; second++) expect(await attempts(1000)).toBeLessThan(200);
  });
});

describe('networks', () => {
  test('a proxy that lets nothing through is given up', async () => {
    const { server, client, states } = pair();
    // The handshake is passed on, and nothing after it.
    server.mood = 'silent';
    client.connect();
    await pass(10_000);
    expect(client.state).toMatchObject({ status: 'waiting', code: 1006, reason: 'no answer' });
    server.mood = 'accepts';
    await pass(1000);
    expect(states.at(-1)).toBe('connected');
  });

  test('a proxy that begins to hold back is noticed, and what it held is not heard twice', async () => {
    const { server, client } = await connected();
    const { heard } = hear(client, 'a');
    await pass();
    server.publish('a', 1);
    const held: string[] = [];
    const old = server.last;
    const hears = old.onmessage;
    old.raw = (data) => void held.push(data);
    server.publish('a', 2);
    // A heartbeat and a half of silence at most, a ping, and its answer that does not come.
    await pass(5000 + 25_000 + 25_000 + 10_000);
    expect(old.open).toBe(false);
    expect(old.commands.at(-1)).toEqual({ type: 'ping', id: 0 });
    await pass(1000);
    for (const data of held) hears?.({ data } as never);
    server.publish('a', 3);
    expect(heard).toEqual(['a:1=1', 'a:2=2', 'a:3=3']);
  });
});

describe('tokens', () => {
  test('a token that expires in mid-stream costs no message', async () => {
    const reasons: string[] = [];
    const { server, client, errors, gaps } = pair({
      token(reason) {
        reasons.push(reason);
        // The service that makes them is away for a moment.
        if (reason === 'expiring') throw new Error('away');
        return reason;
      },
    });
    server.tokens = new Set(['connect']);
    const { heard } = hear(client, 'a');
    await pass();
    server.publish('a', 1);
    server.last.say({ type: 'expiring', expires_in_ms: 30_000 });
    await pass(30_000);
    expect(client.state.status).toBe('connected');
    server.tokens = new Set(['refused']);
    server.publish('a', 2);
    server.goodbye(4401, 'expired');
    server.publish('a', 3);
    await pass(1000);
    server.publish('a', 4);
    expect(heard).toEqual(['a:1=1', 'a:2=2', 'a:3=3', 'a:4=4']);
    expect(reasons).toEqual(['connect', 'expiring', 'refused']);
    expect(errors.map(({ code }) => code)).toEqual(['token']);
    expect(gaps).toEqual([]);
  });

  test('a provider that never answers opens nothing, and closes as anything', async () => {
    const { server, client } = pair({ token: () => new Promise<string>(() => {}) });
    const { ready } = hear(client, 'a');
    await pass(600_000);
    expect([client.state.status, server.connections.length]).toEqual(['connecting', 0]);
    client.close();
    await expect(ready).rejects.toMatchObject({ code: 'closed' });
  });
});

describe('clocks', () => {
  test.each([-315_360_000_000, 315_360_000_000])('one that jumps by %i ms changes nothing', async (by) => {
    const { server, client } = await connected();
    const { heard } = hear(client, 'a');
    await pass(10_000);
    vi.setSystemTime(Date.now() + by);
    server.publish('a', 1);
    await pass(60_000);
    expect(heard).toEqual(['a:1=1']);
    expect(server.connections).toHaveLength(1);
    server.cut();
    vi.setSystemTime(Date.now() - by);
    await pass(1000);
    expect(client.state.status).toBe('connected');
  });

  test('timers that were late by a night find out who is there', async () => {
    const { server, client } = await connected();
    await pass(10_000);
    // The machine slept: the server gave up, and nothing of it arrived.
    server.last.open = false;
    await pass(25_000 + 25_000 + 10_000);
    await pass(1000);
    expect(server.connections).toHaveLength(2);
    expect(client.state.status).toBe('connected');
  });
});

test('no garbage ends in an exception, and the client is there after it', async () => {
  const types = [
    'welcome',
    'subscribed',
    'message',
    'gap',
    'presence',
    'presence_diff',
    'history',
    'published',
    'error',
  ];
  const field = fc.oneof(fc.constant('a'), fc.constant('*'), fc.jsonValue({ maxDepth: 2 }));
  const event = fc.record(
    {
      type: fc.oneof(...[...types, 'goodbye', 'authenticated', 'expiring', 'pong'].map(fc.constant), field),
      id: fc.oneof(fc.integer({ min: 0, max: 6 }), field),
      topic: field,
      epoch: field,
      offset: field,
      from: field,
      to: field,
      members: field,
      joined: field,
      left: field,
      version: fc.oneof(fc.integer({ min: 0, max: 3 }), field),
      recovered: field,
      reason: field,
      code: field,
      data: field,
    },
    { requiredKeys: ['type'] },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 12 }), async (events) => {
      const { server, client } = await connected();
      client.subscribe('a', () => {}, { presence: true });
      client.subscribe('*', () => {});
      client.publish('a', 1);
      await pass();
      for (const each of events) server.last.say(each);
      await pass(60_000);
      // Whatever it made of that, with a server that is right it is right.
      server.cut();
      await pass(60_000);
      expect(client.state.status).toBe('connected');
      client.close();
    }),
    { numRuns: 300 },
  );
});
