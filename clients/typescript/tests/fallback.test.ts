/**
 * Where WebSockets are blocked: event streams and requests, against the real server
 * (`FANFARE=target/debug/fanfare`), and against one that does what it should not.
 */

import { afterEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';

import { type FallbackOptions, withFallback } from '../src/fallback.ts';
import { type ClientOptions, createClient, type FanfareError, type SocketConstructor } from '../src/index.ts';
import { msgpack } from '../src/msgpack.ts';
import { createEventReader } from '../src/sse.ts';
import { createUnechoed } from '../src/unechoed.ts';
import { blocked, Silent } from './support/blocked.ts';
import { binary, network, serve } from './support/fanfare.ts';
import { hear, onFakeTime, pass, show } from './support/setup.ts';
import { until } from './support/until.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const started = async (...more: string[]) => {
  const server = await serve(0, ...more);
  cleanups.push(() => server.stop());
  return server;
};

const client = (url: string, options: FallbackOptions = {}) => {
  const made = createClient(
    url,
    withFallback({ WebSocket: blocked, headStartMs: 50, delayMsMin: 20, delayMsMax: 100, ...options }),
  );
  cleanups.push(made.close);
  const errors: FanfareError[] = [];
  made.on('error', (error) => errors.push(error));
  return Object.assign(made, { errors });
};

const direct = (url: string) => {
  const made = createClient(url, { WebSocket: WebSocket as unknown as SocketConstructor, delayMsMin: 20 });
  cleanups.push(made.close);
  return made;
};

describe.skipIf(binary === undefined)('with the real server', () => {
  test.each([
    ['JSON', {}],
    ['MessagePack', { encoding: msgpack }],
  ] as const)('%s: subscribe, publish, echo, history, presence', async (_, options) => {
    const server = await started();
    const [ana, bob] = [client(server.url, options), direct(server.url)];
    const { heard, ready } = hear(ana, 'chat.one');
    expect(await ready).toMatchObject({ offset: 0 });
    expect(ana.state).toEqual({ status: 'connected', connection: 'events' });
    const data = { text: 'hällo\n', list: [1, -2.5, null, true], deep: { '': 'x' } };
    expect(await bob.publish('chat.one', data)).toMatchObject({ offset: 1 });
    const offsets = await Promise.all([
      ana.publish('chat.one', 'mine', { echo: false }),
      ana.publish('chat.one', 'ours'),
      ana.publish('chat.two', 'elsewhere', { echo: false }),
    ]);
    expect(offsets.map(({ offset }) => offset)).toEqual([2, 3, 1]);
    await bob.publish('chat.one', 'last');
    await until('the messages', () => heard.length === 3);
    expect(heard).toEqual([`chat.one:1=${JSON.stringify(data)}`, 'chat.one:3="ours"', 'chat.one:4="last"']);
    const history = await ana.history('chat.one', { limit: 2 });
    expect(history).toMatchObject({ topic: 'chat.one', offset: 4, more: true });
    expect(history.messages.map(({ data }) => data)).toEqual(['ours', 'last']);
    const { epoch } = history;
    expect((await ana.history('chat.one', { since: { epoch, offset: 3 } })).messages).toHaveLength(1);
    await bob.subscribe('chat.one', () => {}, { presence: true, member: 'bob' }).ready;
    expect((await ana.presence('chat.one')).members).toMatchObject([{ member: 'bob' }]);
    await expect(ana.publish('not valid', 1)).rejects.toMatchObject({ code: 'bad_topic', topic: 'not valid' });
    await expect(ana.history('not valid')).rejects.toMatchObject({ code: 'bad_topic', topic: 'not valid' });
    await expect(ana.publish('a', 'x'.repeat(70_000))).rejects.toMatchObject({ code: 'too_large' });
    expect(ana.state.status).toBe('connected');
  });

  test('topics come and go, and nothing of the others is lost or heard twice', async () => {
    const server = await started();
    const [ana, bob] = [client(server.url), direct(server.url)];
    const first = hear(ana, 'first');
    await first.ready;
    const others = [];
    for (let round = 1; round <= 100; round++) {
      bob.publish('first', round);
      if (round % 7 === 0) others.push(hear(ana, `other.${round}`));
      if (round % 21 === 0) others.shift()?.stop();
      if (round % 10 === 0) await bob.publish('other.98', round);
    }
    await until('everything', () => first.heard.length === 100);
    expect(first.heard).toEqual(Array.from({ length: 100 }, (_, at) => `first:${at + 1}=${at + 1}`));
    expect(others.at(-1)?.heard.length).toBeLessThanOrEqual(10);
  });

  test('the newest messages, and those since a position, also of one topic at once', async () => {
    const server = await started();
    const [ana, bob] = [client(server.url), direct(server.url)];
    for (let data = 1; data <= 5; data++) await bob.publish('a', data);
    const { epoch } = await ana.history('a', { limit: 1 });
    const all = [
      hear(ana, 'a'),
      hear(ana, 'a', { last: 2 }),
      hear(ana, 'a', { since: { epoch, offset: 2 } }),
      hear(ana, 'a', { since: { epoch: 'other', offset: 2 } }),
      hear(ana, 'empty', { last: 5 }),
    ];
    for (const { ready } of all) await ready;
    await bob.publish('a', 6);
    await bob.publish('empty', 1);
    await until('everything', () => all.every(({ heard }) => heard.length > 0 && !heard.at(-1)?.startsWith('gap')));
    expect(all.map(({ heard }) => heard)).toEqual([
      ['a:6=6'],
      ['a:4=4', 'a:5=5', 'a:6=6'],
      ['a:3=3', 'a:4=4', 'a:5=5', 'a:6=6'],
      ['gap a 1-5 epoch', 'a:6=6'],
      ['empty:1=1'],
    ]);
  });

  test('what takes a WebSocket is refused, and says so', async () => {
    const server = await started();
    const ana = client(server.url);
    await expect(hear(ana, 'a.*').ready).rejects.toMatchObject({ code: 'unsupported', topic: 'a.*' });
    await expect(hear(ana, 'a', { presence: true }).ready).rejects.toMatchObject({ code: 'unsupported', topic: 'a' });
    const topics = Array.from({ length: 16 }, (_, at) => hear(ana, `t.${at}`));
    for (const { ready } of topics) await ready;
    await expect(hear(ana, 't.16').ready).rejects.toMatchObject({ code: 'unsupported', topic: 't.16' });
    topics[3]?.stop();
    await hear(ana, 't.17').ready;
  });

  test('a topic that may not be read is refused, and the others are followed', async () => {
    const server = await started();
    const ana = client(server.url);
    const topics = ['one', 'a..b', 'two', 'not valid', 'three'].map((topic) => hear(ana, topic));
    const outcome = await Promise.allSettled(topics.map(({ ready }) => ready));
    const codes = outcome.map((each) => (each.status === 'rejected' ? each.reason.code : 'followed'));
    expect(codes).toEqual(['followed', 'bad_topic', 'followed', 'bad_topic', 'followed']);
    await ana.publish('three', 3);
    await until('the message', () => topics[4]?.heard.length === 1);
  });

  test('twenty cuts of the network, and every message comes exactly once', async () => {
    const server = await started();
    const between = await network(server.port);
    cleanups.push(between.close);
    const [ana, bob] = [client(between.url), direct(server.url)];
    const { heard, ready } = hear(ana, 'a');
    await ready;
    let published = 0;
    const answers: Promise<unknown>[] = [];
    for (let round = 0; round < 20; round++) {
      for (let burst = 0; burst < 10; burst++) await bob.publish('a', ++published);
      answers.push(ana.publish('b', round));
      between.cut();
      for (let burst = 0; burst < 2; burst++) await bob.publish('a', ++published);
      if (round % 3 === 0) await until('the return', () => ana.state.status === 'connected');
    }
    await until('everything', () => heard.length >= published);
    expect(heard).toEqual(Array.from({ length: published }, (_, at) => `a:${at + 1}=${at + 1}`));
    await Promise.all(answers);
    // With their keys each was taken once.
    expect(await bob.history('b')).toMatchObject({ offset: 20 });
  });

  test('a drain sends it away with a hint, and a server that began anew is a gap', async () => {
    const server = await started();
    const ana = client(server.url);
    const { heard, ready } = hear(ana, 'a');
    await ready;
    await ana.publish('a', 'old');
    await until('the old one', () => heard.length === 1);
    const codes: number[] = [];
    ana.on('state', (state) => state.status === 'waiting' && codes.push(state.code));
    await server.stop('SIGTERM');
    await until('the goodbye', () => codes.length > 0);
    expect(codes[0]).toBe(1012);
    const waits = ana.publish('a', 'new');
    const again = await serve(server.port);
    cleanups.push(() => again.stop());
    expect(await waits).toMatchObject({ offset: 1 });
    await until('the gap', () => heard.length > 1);
    await hear(ana, 'a').ready;
    await ana.publish('a', 'newer');
    await until('the newer one', () => heard.at(-1) === 'a:2="newer"');
    // A request and a stream are two connections: what was published before the stream was there is in the gap.
    expect([['gap a 1-0 epoch', 'a:1="new"'], ['gap a 1-1 epoch']]).toContainEqual(heard.slice(1, -1));
    expect(heard[0]).toBe('a:1="old"');
  });

  test('a WebSocket that is there is taken', async () => {
    const server = await started();
    const ana = client(server.url, { WebSocket: WebSocket as unknown as SocketConstructor, headStartMs: 5000 });
    await hear(ana, 'a.*').ready;
    expect(ana.state).not.toMatchObject({ connection: 'events' });
    ana.close();
  });

  test('one that never answers is given up, and taken once it can be had again', async () => {
    const server = await started();
    let open = false;
    const moody = class {
      constructor(url: string, protocols: string[]) {
        // biome-ignore lint/correctness/noConstructorReturn: one of two.
        return open ? new WebSocket(url, protocols) : new Silent();
      }
    } as SocketConstructor;
    const ana = client(server.url, { WebSocket: moody, retryMs: 100 });
    const { heard, ready } = hear(ana, 'a');
    await ready;
    expect(ana.state).toMatchObject({ connection: 'events' });
    for (let data = 1; data <= 50; data++) {
      await ana.publish('a', data);
      if (data === 20) open = true;
      if (data === 30) await until('the change', () => 'connection' in ana.state && ana.state.connection !== 'events');
    }
    await until('everything', () => heard.length === 50);
    expect(heard).toEqual(Array.from({ length: 50 }, (_, at) => `a:${at + 1}=${at + 1}`));
    expect(ana.errors).toEqual([]);
  });
});

/** Answers requests by their path. Streams are texts, which stay open unless they end with an end. */
const answering = (answer: (path: string, request: RequestInit) => Response | Promise<Response>) => {
  const seen: string[] = [];
  const request = (async (input: URL, init: RequestInit) => {
    seen.push(`${init.method ?? 'GET'} ${input.pathname}${input.search}`);
    return Promise.race([
      answer(`${input.pathname}${input.search}`, init),
      new Promise<never>((_, reject) => {
        init.signal?.addEventListener('abort', () => reject(init.signal?.reason));
      }),
    ]);
  }) as typeof fetch;
  return { request, seen };
};
const refusal = (status: number, code: string, more = {}) =>
  Response.json({ error: { code, message: code, ...more } }, { status });
const stream = (...events: string[]) =>
  new Response(
    new ReadableStream({
      start: (to) => to.enqueue(new TextEncoder().encode(events.map((each) => `${each}\n\n`).join(''))),
    }),
  );
const there = () => refusal(400, 'bad_request');

describe('with a server that does what it should not', () => {
  const faulty = (answer: Parameters<typeof answering>[0], options: ClientOptions = {}) => {
    const { request, seen } = answering(answer);
    const made = client('ws://fanfare.test/ws', { ...options, fetch: request });
    const states: string[] = [];
    made.on('state', (state) =>
      states.push('reason' in state ? `${state.status} ${state.code} ${state.reason}` : state.status),
    );
    return { made, seen, states };
  };

  test('an error page of a proxy is no answer', async () => {
    const { made, states } = faulty(() => new Response('<h1>Blocked</h1>', { status: 403 }));
    made.connect();
    await until('the failure', () => states.length > 1);
    expect(states[1]).toMatch(/^waiting 1006/);
  });

  test('garbage in a stream is told, and the connection replaced', async () => {
    const { made, states } = faulty((path) => (path.endsWith('/events') ? there() : stream('event: message\ndata: {')));
    hear(made, 'a');
    await until('the failure', () => made.errors.length > 0);
    expect(made.errors[0]?.code).toBe('garbage');
    expect(states).toContain('waiting 1006 garbage');
  });

  describe('on fake time', () => {
    onFakeTime();

    test('a stream that a proxy holds back is given up, and says so', async () => {
      const { made, states } = faulty((path) => (path.endsWith('/events') ? there() : stream()));
      hear(made, 'a');
      await pass(9_000);
      expect(states).toEqual(['connecting', 'connected']);
      await pass(2_000);
      expect(made.errors.map(({ code }) => code)).toEqual(['unsupported']);
      expect(states).toContain('waiting 1006 held back');
    });

    test('a request that is not answered ends it', async () => {
      const { made, states } = faulty((path) => (path.endsWith('/events') ? there() : new Promise(() => {})));
      made.publish('a', 1);
      await pass(11_000);
      expect(states.slice(0, 3)).toEqual(['connecting', 'connected', 'waiting 1006 Error: no answer']);
    });

    test('a stream that has gone silent is given up', async () => {
      const { made, states } = faulty((path) =>
        path.endsWith('/events')
          ? there()
          : stream('event: subscribed\ndata: {"type":"subscribed","topic":"a","epoch":"e","offset":1}'),
      );
      await Promise.all([hear(made, 'a').ready, pass()]);
      await pass(90_000);
      expect(states.at(-1)).toBe('connected');
      await pass(25_000);
      expect(states).toContain('waiting 1006 silence');
    });
  });

  test('a server that is full says when to return', async () => {
    const { made, states } = faulty(() => refusal(503, 'overloaded', { retry_after_ms: 1234 }));
    made.connect();
    await until('the failure', () => states.length > 1);
    expect(made.state).toMatchObject({ status: 'waiting', code: 1013, delayMs: 1234 });
  });

  test('a token is sent along, and asked for again once it is refused', async () => {
    const reasons: string[] = [];
    let good = 'Bearer connect';
    const { made } = faulty(
      (path, { headers }) => {
        const token = (headers as Record<string, string>)['Authorization'];
        if (token === undefined || token !== good) return refusal(401, 'unauthorized');
        if (path.endsWith('/events')) return there();
        return Response.json({ results: [{ epoch: 'e', offset: 1 }] });
      },
      {
        token(reason) {
          reasons.push(reason);
          return reason;
        },
      },
    );
    await made.publish('a', 1);
    expect(reasons).toEqual(['connect']);
    good = 'Bearer refused';
    await made.publish('a', 2);
    expect(reasons).toEqual(['connect', 'refused']);
    expect(made.errors.map(({ code }) => code)).toEqual(['unauthorized']);
  });

  test('what a publish was refused with is its error, and nothing else ends', async () => {
    const { made, seen } = faulty((path) =>
      path.endsWith('/events') ? there() : refusal(429, 'rate_limited', { retry_after_ms: 20 }),
    );
    const [one, two] = [made.publish('a', 1), made.publish('a', 2)];
    await expect(one).rejects.toMatchObject({ code: 'rate_limited', retryAfterMs: 20, topic: 'a' });
    await expect(two).rejects.toMatchObject({ code: 'rate_limited' });
    expect(made.state.status).toBe('connected');
    expect(seen.filter((each) => each.startsWith('POST'))).toEqual(['POST /v1/publish']);
  });

  test('the address of the requests is beside that of the WebSocket', async () => {
    const { request, seen } = answering(there);
    client('wss://fanfare.test/live/ws?deflate=off', { fetch: request }).connect();
    await until('a request', () => seen.length > 0);
    expect(seen[0]).toBe('GET /live/v1/events');
  });
});

test('an event stream is read whatever pieces it comes in', () => {
  const text =
    ': hello\r\nretry: 5\n\nevent: message\rid: 1\rdata: {"a":"ä: b"}\r\revent:gap\ndata:x\ndata: y\n\nevent: z\n\n';
  const read = (size: number): string[] => {
    const heard: string[] = [];
    const take = createEventReader((event, data) => heard.push(`${event}|${data}`));
    for (let at = 0; at < text.length; at += size) take(text.slice(at, at + size));
    return heard;
  };
  for (let size = 1; size <= text.length; size++)
    expect(read(size), `${size}`).toEqual(['message|{"a":"ä: b"}', 'gap|x\ny']);
});

test('own messages are left out, whether the answer comes before them or after', () => {
  const heard: string[] = [];
  const unechoed = createUnechoed((event) => heard.push(show(event as never)));
  const message = (offset: number) => unechoed.heard({ type: 'message', topic: 'a', offset, data: offset });
  message(1);
  const second = unechoed.sent('a');
  message(2);
  const fourth = unechoed.sent('a');
  const refused = unechoed.sent('a');
  message(3);
  expect(heard).toEqual(['a:1=1']);
  // Out of turn: what the others are waited for is held all the same.
  refused();
  expect(heard).toEqual(['a:1=1']);
  second(2);
  expect(heard).toEqual(['a:1=1']);
  fourth(4);
  expect(heard).toEqual(['a:1=1', 'a:3=3']);
  message(4);
  message(5);
  unechoed.sent('a')();
  message(6);
  expect(heard).toEqual(['a:1=1', 'a:3=3', 'a:5=5', 'a:6=6']);
});
