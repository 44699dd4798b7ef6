import { describe, expect, test, vi } from 'vitest';

import { delayMs, verdict } from '../src/closing.ts';
import { createClient } from '../src/index.ts';
import { onFakeTime, pair, pass } from './support/setup.ts';

onFakeTime();

const connected = async (options = {}) => {
  const made = pair(options);
  made.client.connect();
  await pass();
  return made;
};

describe('opening', () => {
  test('nothing is opened before the first command', async () => {
    const { server, client } = pair();
    await pass(60_000);
    expect(server.connections).toHaveLength(0);
    expect(client.state).toEqual({ status: 'idle' });
    client.subscribe('a', () => {});
    await pass();
    expect(client.state).toEqual({ status: 'connected', connection: 'c1' });
  });

  test('http addresses become those of WebSockets, and the encoding is asked for', async () => {
    const { server } = pair();
    const client = createClient('https://fanfare.test/ws', { WebSocket: server.WebSocket });
    client.connect();
    expect(server.last.url).toBe('wss://fanfare.test/ws');
    expect(server.last.protocols).toEqual(['fanfare.v1.json']);
  });

  test('a handshake without an answer is given up', async () => {
    const { server, client } = pair();
    server.mood = 'silent';
    client.connect();
    await pass(9_999);
    expect(client.state.status).toBe('connecting');
    await pass(1);
    expect(client.state).toMatchObject({ status: 'waiting', reason: 'no answer' });
  });

  test('without a WebSocket the client is closed, and says why', async () => {
    vi.stubGlobal('WebSocket', undefined);
    const client = createClient('ws://fanfare.test/ws');
    const codes: string[] = [];
    client.on('error', ({ code }) => codes.push(code));
    const { ready } = client.subscribe('a', () => {});
    await expect(ready).rejects.toMatchObject({ code: 'closed' });
    expect(codes).toEqual(['unusable']);
    vi.unstubAllGlobals();
  });

  test('an address that is none closes the client', () => {
    const { server } = pair();
    const client = createClient('no address', { WebSocket: server.WebSocket });
    client.connect();
    expect(client.state.status).toBe('closed');
  });
});

describe('returning', () => {
  test.each([
    [1000, 'stay'],
    [1001, 'return'],
    [1002, 'drop'],
    [1003, 'drop'],
    [1005, 'return'],
    [1006, 'return'],
    [1007, 'drop'],
    [1009, 'drop'],
    [1012, 'return'],
    [1013, 'return'],
    [4008, 'return'],
    [4400, 'stay'],
    [4401, 'renew'],
    [4403, 'stay'],
    [4408, 'return'],
    [4409, 'stay'],
    [4429, 'later'],
  ] as const)('%i means %s', async (code, wanted) => {
    expect(verdict(code)).toBe(wanted);
    const { server, client } = await connected({ token: () => 'good' });
    server.goodbye(code, 'why');
    expect(client.state).toMatchObject({ status: wanted === 'stay' ? 'closed' : 'waiting', code, reason: 'why' });
    await pass(60_000);
    expect(server.connections).toHaveLength(wanted === 'stay' ? 1 : 2);
  });

  test('delays grow twofold, are random over their range, and have a bound', () => {
    const bounds = { delayMsMin: 500, delayMsMax: 20_000 };
    const range = (attempt: number) =>
      [0, 0.999_999].map((random) => Math.round(delayMs(attempt, bounds, () => random)));
    expect([0, 1, 2, 5, 6, 40].map(range)).toEqual([
      [500, 1000],
      [500, 1500],
      [500, 2500],
      [500, 16_500],
      [500, 20_000],
      [500, 20_000],
    ]);
  });

  test("the server's hint is taken as it is the first time, and is a lower bound after failures", () => {
    const bounds = { delayMsMin: 500, delayMsMax: 20_000 };
    expect(delayMs(0, bounds, () => 1, 1834)).toBe(1834);
    expect(delayMs(0, bounds, () => 1, 0)).toBe(0);
    expect(delayMs(3, bounds, () => 0.5, 0)).toBe(2500);
    expect(delayMs(1, bounds, () => 0, 60_000)).toBe(60_000);
  });

  test('a thousand clients of a restarted server return over the time it gave them, and not before', async () => {
    const spread = 5000;
    const pairs = Array.from({ length: 1000 }, () => pair());
    for (const { client } of pairs) client.connect();
    await pass();
    for (const [at, { server }] of pairs.entries()) server.restart((at * spread) / 1000);
    const back = () => pairs.filter(({ server }) => server.connections.length > 1).length;
    for (let tenth = 1; tenth <= 10; tenth++) {
      await pass(spread / 10);
      expect(back()).toBeGreaterThanOrEqual(tenth * 100);
      expect(back()).toBeLessThanOrEqual(tenth * 100 + 1);
    }
    expect(pairs.every(({ server }) => server.connections.length === 2)).toBe(true);
  });

  test('a server that sends everybody away at once is not asked in a loop', async () => {
    const { server } = await connected();
    for (let time = 0; time < 100; time++) {
      server.goodbye(1012, 'restart', 0);
      await pass(100);
    }
    // Ten seconds of it.
    expect(server.connections.length).toBeLessThan(8);
  });

  test('one that asked for too much does not return soon', async () => {
    const { server, client } = await connected();
    server.goodbye(4429, 'too many commands');
    expect(client.state).toMatchObject({ status: 'waiting', delayMs: 4500 });
  });

  test('a connection that lasted makes earlier failures forgotten', async () => {
    const { server, client } = await connected();
    const delays: number[] = [];
    client.on('state', (state) => state.status === 'waiting' && delays.push(state.delayMs));
    for (const lasts of [0, 0, 4999, 5000]) {
      await pass(lasts);
      server.cut();
      await pass(20_000 - 20_000 + (delays.at(-1) ?? 0));
    }
    expect(delays).toEqual([750, 1000, 1500, 750]);
  });

  test('a server that is away is tried again and again, without an unhandled rejection', async () => {
    const { server, client, states } = pair();
    server.mood = 'refuses';
    client.subscribe('a', () => {});
    await pass(120_000);
    expect(server.connections.length).toBeGreaterThan(8);
    server.mood = 'accepts';
    await pass(20_000);
    expect(states.at(-1)).toBe('connected');
  });

  test('compression is left away once bytes could not be read', async () => {
    const { server } = await connected();
    server.goodbye(1007, 'cannot be inflated');
    await pass(2000);
    expect(server.last.url).toBe('ws://fanfare.test/ws?deflate=off');
  });

  test('connect is the way back after the server has closed for good', async () => {
    const { server, client } = await connected();
    server.goodbye(4403, 'removed');
    await expect(client.publish('a', 1)).rejects.toMatchObject({ code: 'closed', message: '4403 removed' });
    client.connect();
    await pass();
    expect(client.state.status).toBe('connected');
  });
});

describe('keep-alive', () => {
  test('a silent connection is asked, and left when it does not answer', async () => {
    const { server, client } = await connected();
    await pass(50_000);
    expect(server.last.commands).toEqual([{ type: 'ping', id: 0 }]);
    expect(client.state.status).toBe('connected');
    server.deaf = true;
    await pass(24_999);
    expect(client.state.status).toBe('connected');
    await pass(60_000);
    expect(server.connections.length).toBeGreaterThan(1);
    expect(server.connections[0]?.open).toBe(false);
  });

  test('a connection that is spoken on is not asked', async () => {
    const { server, client } = await connected();
    client.subscribe('a', () => {});
    await pass();
    for (let time = 0; time < 10; time++) {
      await pass(20_000);
      server.publish('a', time);
    }
    expect(server.last.commands.filter(({ type }) => type === 'ping')).toEqual([]);
  });

  test('a page that is seen again asks at once, and returns at once', async () => {
    const page = Object.assign(new EventTarget(), { hidden: false });
    vi.stubGlobal('document', page);
    vi.stubGlobal('addEventListener', page.addEventListener.bind(page));
    vi.stubGlobal('removeEventListener', page.removeEventListener.bind(page));
    const { server, client } = await connected();
    page.dispatchEvent(new Event('visibilitychange'));
    await pass();
    expect(server.last.commands).toEqual([{ type: 'ping', id: 0 }]);
    server.cut();
    expect(client.state.status).toBe('waiting');
    page.dispatchEvent(new Event('visibilitychange'));
    await pass();
    expect(client.state.status).toBe('connected');
    // What was said in this turn does not go to a connection that is not open yet.
    const published = client.publish('a', 1);
    server.cut();
    page.dispatchEvent(new Event('visibilitychange'));
    await pass();
    expect(await published).toMatchObject({ offset: 1 });
    // The server has said when to return: it knows better.
    server.goodbye(1012, 'restart', 4000);
    page.dispatchEvent(new Event('visibilitychange'));
    await pass();
    expect(client.state.status).toBe('waiting');
    // That was for that time.
    await pass(4000);
    server.cut();
    page.hidden = true;
    page.dispatchEvent(new Event('visibilitychange'));
    expect(client.state.status).toBe('waiting');
    page.hidden = false;
    page.dispatchEvent(new Event('visibilitychange'));
    await pass();
    expect(client.state.status).toBe('connected');
    // The network is back.
    server.cut();
    page.dispatchEvent(new Event('online'));
    await pass();
    expect(client.state.status).toBe('connected');
    client.close();
    page.dispatchEvent(new Event('visibilitychange'));
    page.dispatchEvent(new Event('online'));
    expect(client.state.status).toBe('closed');
    vi.unstubAllGlobals();
  });
});

describe('bad servers', () => {
  test.each(['', 'garbage', '[]', 'null', '{}', '"welcome"'])(
    '%j is told, and the connection replaced',
    async (frame) => {
      const { server, client, errors } = await connected();
      server.last.raw(frame);
      expect(errors.map(({ code }) => code)).toEqual(['garbage']);
      expect(client.state.status).toBe('waiting');
      await pass(1000);
      expect(client.state.status).toBe('connected');
    },
  );

  test('events of a later version are passed over', async () => {
    const { server, client, errors } = await connected();
    server.last.say({ type: 'applause', topic: 'a' });
    server.last.say({ type: 7 });
    server.last.say({ type: 'message', topic: 'nobody.asked', offset: 3, data: 1 });
    server.last.say({ type: 'presence_diff', topic: 'nobody.asked', version: 3, joined: [], left: [] });
    expect(errors).toEqual([]);
    expect(client.state.status).toBe('connected');
  });

  test('a listener that throws is reported, and disturbs nobody', async () => {
    const { server, client } = await connected();
    const thrown: unknown[] = [];
    const report = (error: unknown) => thrown.push(error);
    process.on('uncaughtException', report);
    const heard: number[] = [];
    client.subscribe('a', () => {
      throw new Error('mine');
    });
    client.subscribe('a', ({ offset }) => heard.push(offset));
    await pass();
    server.publish('a', 1);
    vi.useRealTimers();
    await new Promise((resolve) => setTimeout(resolve, 0));
    process.off('uncaughtException', report);
    expect(heard).toEqual([1]);
    expect(thrown).toEqual([new Error('mine')]);
  });
});

describe('tokens', () => {
  test('a token is sent first, and everything else waits for the answer', async () => {
    const { server, client } = pair({ token: 'good' });
    server.tokens = new Set(['good']);
    client.subscribe('a', () => {});
    await pass();
    expect(client.state.status).toBe('connected');
    expect(server.last.commands.map(({ type }) => type)).toEqual(['auth', 'subscribe']);
  });

  test('a token that is refused is asked for again, and a fixed one ends it', async () => {
    const reasons: string[] = [];
    const { server, client } = pair({
      token(reason) {
        reasons.push(reason);
        return reason === 'refused' ? 'good' : 'bad';
      },
    });
    server.tokens = new Set(['good']);
    client.connect();
    await pass(2000);
    expect(reasons).toEqual(['connect', 'refused']);
    expect(client.state.status).toBe('connected');

    const fixed = pair({ token: 'bad' });
    fixed.server.tokens = new Set(['good']);
    fixed.client.connect();
    await pass(60_000);
    expect(fixed.client.state).toMatchObject({ status: 'closed', code: 4401 });
    expect(fixed.server.connections).toHaveLength(1);
    expect(fixed.errors.map(({ code }) => code)).toEqual(['unauthorized']);
  });

  test('a token is renewed before it expires', async () => {
    const reasons: string[] = [];
    const { server, states } = await connected({
      async token(reason: string) {
        reasons.push(reason);
        return `for ${reason}`;
      },
    });
    server.last.say({ type: 'expiring', expires_in_ms: 30_000 });
    await pass();
    expect(reasons).toEqual(['connect', 'expiring']);
    expect(server.last.commands.map(({ token }) => token)).toEqual(['for connect', 'for expiring']);
    expect(states).toEqual(['connecting', 'connected']);
  });

  test('a provider that fails is told and asked again later', async () => {
    let calls = 0;
    const { client, errors, server } = pair({
      token: () => {
        if (++calls < 3) throw new Error('offline');
        return 'good';
      },
    });
    client.connect();
    await pass(10_000);
    expect(errors.map(({ code, message }) => [code, message])).toEqual([
      ['token', 'Error: offline'],
      ['token', 'Error: offline'],
    ]);
    expect(client.state.status).toBe('connected');
    expect(server.connections).toHaveLength(1);
  });

  test('a provider that answers after the client was closed opens nothing', async () => {
    let answer = (_: string) => {};
    const { client, server } = pair({ token: () => new Promise<string>((resolve) => (answer = resolve)) });
    client.connect();
    await pass();
    client.close();
    answer('late');
    await pass(60_000);
    expect(server.connections).toHaveLength(0);
  });

  test('a server that wants no credentials works all the same', async () => {
    const { server, client, errors } = pair({ token: 'any' });
    server.take = (
      (take) => (connection, command) =>
        command['type'] === 'auth'
          ? connection.say({ type: 'error', id: command['id'], code: 'bad_request', message: 'no credentials here' })
          : take.call(server, connection, command)
    )(server.take);
    client.connect();
    await pass();
    expect(client.state.status).toBe('connected');
    expect(errors.map(({ code }) => code)).toEqual(['bad_request']);
  });
});
