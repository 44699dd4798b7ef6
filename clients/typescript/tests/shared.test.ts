/**
 * Several tabs and the worker they share, over real ports: with the server in memory, and with the real one
 * (`FANFARE=target/debug/fanfare`).
 */

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { WebSocket } from 'ws';

import {
  type Client,
  type ClientOptions,
  createClient,
  type FanfareError,
  type SocketConstructor,
} from '../src/index.ts';
import { msgpack } from '../src/msgpack.ts';
import { withSharedWorker } from '../src/shared.ts';
import { type ShareOptions, shareClient, type TabsToken } from '../src/worker.ts';
import { binary, network, serve } from './support/fanfare.ts';
import { Server } from './support/server.ts';
import { hear } from './support/setup.ts';
import { until } from './support/until.ts';

type Global = { onconnect?(event: { ports: MessagePort[] }): void };

/** The ports that lead to the worker, page's end first. */
let ports: (readonly [page: MessagePort, worker: MessagePort])[];
const cleanups: (() => unknown)[] = [];
beforeEach(() => {
  ports = [];
  vi.stubGlobal(
    'SharedWorker',
    class {
      onerror?: () => void;
      port: MessagePort;
      constructor(name: string) {
        const { port1, port2 } = new MessageChannel();
        ports.push([port1, port2]);
        this.port = port1;
        if (name === 'broken') setTimeout(() => this.onerror?.(), 0);
        else (globalThis as Global).onconnect?.({ ports: [port2] });
      }
    },
  );
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  for (const pair of ports) for (const port of pair) port.close();
  vi.unstubAllGlobals();
});

const tab = (options: ClientOptions = {}, name = 'worker') => {
  const made = createClient(
    'ws://fanfare.test/ws',
    withSharedWorker(() => new SharedWorker(name), options),
  );
  const errors: FanfareError[] = [];
  const states: string[] = [];
  made.on('error', (error) => errors.push(error));
  made.on('state', (state) => states.push('code' in state ? `${state.status} ${state.code}` : state.status));
  cleanups.push(made.close);
  return Object.assign(made, { errors, states });
};

const worker = (
  source: (token: TabsToken) => ClientOptions,
  options: ShareOptions = {},
  url = 'ws://fanfare.test/ws',
): Client => {
  const intervals = vi.spyOn(globalThis, 'setInterval');
  let client: Client | undefined;
  shareClient((token) => {
    client = createClient(url, { delayMsMin: 5, delayMsMax: 20, ...source(token) });
    return client;
  }, options);
  const interval = intervals.mock.results.at(-1)?.value;
  intervals.mockRestore();
  cleanups.push(() => clearInterval(interval), (client as Client).close);
  return client as Client;
};

const inMemory = (options: ShareOptions = {}) => {
  const server = new Server();
  return { server, client: worker(() => ({ WebSocket: server.WebSocket }), options) };
};

test('tabs have one connection, and each gets what it follows once', async () => {
  const { server } = inMemory();
  const [one, two] = [tab(), tab()];
  const heard = [hear(one, 'a'), hear(one, '*'), hear(one, '>'), hear(two, 'a'), hear(two, 'b')];
  for (const { ready } of heard) await ready;
  server.publish('a', 1);
  server.publish('b', 2);
  await until('the messages', () => heard.every(({ heard }) => heard.length > 0) && heard[1]?.heard.length === 2);
  expect(heard.map(({ heard }) => heard)).toEqual([
    ['a:1=1'],
    ['a:1=1', 'b:1=2'],
    ['a:1=1', 'b:1=2'],
    ['a:1=1'],
    ['b:1=2'],
  ]);
  expect(server.connections).toHaveLength(1);
  // Each topic was asked for once.
  expect(server.last.commands.filter(({ topic }) => topic === 'a')).toHaveLength(1);
  heard[0]?.stop();
  server.publish('a', 3);
  await until('the message', () => heard[3]?.heard.length === 2);
  heard[3]?.stop();
  await until('the end', () => server.last.commands.at(-1)?.['type'] === 'unsubscribe');
});

test('what a tab asks for is answered as the server would', async () => {
  const { server } = inMemory();
  const [one, two] = [tab(), tab({ encoding: msgpack })];
  const other = hear(two, 'a');
  await other.ready;
  expect(await one.publish('a', 'early')).toEqual({ epoch: 'e1', offset: 1 });
  const first = hear(one, 'a');
  const [last, since] = [hear(one, 'a', { last: 1 }), hear(one, 'a', { since: { epoch: 'old', offset: 1 } })];
  await Promise.all([first.ready, last.ready, since.ready]);
  // Only the one who published it does without.
  await Promise.all([one.publish('a', 'mine', { echo: false }), one.publish('a', 'ours')]);
  await until('the messages', () => other.heard.length === 3 && first.heard.length === 1 && last.heard.length === 2);
  expect(other.heard).toEqual(['a:1="early"', 'a:2="mine"', 'a:3="ours"']);
  expect(first.heard).toEqual(['a:3="ours"']);
  expect(last.heard).toEqual(['a:1="early"', 'a:3="ours"']);
  expect(since.heard).toEqual(['gap a 1-1 epoch', 'a:3="ours"']);
  expect(await one.history('a', { limit: 1 })).toMatchObject({ topic: 'a', messages: [{ offset: 3, data: 'ours' }] });
  await one.subscribe('a', () => {}, { presence: true, member: 'ana' }).ready;
  expect((await two.presence('a')).members).toEqual([{ connection: 'c1', member: 'ana' }]);
  server.refusals.set('no', { code: 'forbidden' });
  await expect(one.publish('no', 1)).rejects.toMatchObject({ code: 'forbidden', topic: 'no' });
  await expect(hear(one, 'no').ready).rejects.toMatchObject({ code: 'forbidden' });
  expect([one.errors.length, two.errors.length]).toEqual([1, 0]);
  expect(await one.publish('a', 'counted', { receivers: true })).toMatchObject({ offset: 4, receivers: 1 });
  await hear(one, 'calm', { maxRate: 5 }).ready;
  expect(server.last.commands.at(-1)).toMatchObject({ type: 'subscribe', topic: 'calm', max_rate: 5 });
  server.deaf = true;
  const lost = one.publish('a', 'once', { retry: false });
  await until('the publish', () => server.last.commands.at(-1)?.['data'] === 'once');
  server.cut();
  await expect(lost).rejects.toMatchObject({ code: 'disconnected' });
});

test('tabs see the state of the connection, and recover what they missed', async () => {
  const { server, client } = inMemory();
  const [one, two] = [tab(), tab()];
  const heard = [hear(one, 'a'), hear(two, 'a')];
  for (const { ready } of heard) await ready;
  server.mood = 'refuses';
  server.cut();
  await until('the loss', () => one.states.includes('waiting 1006') && two.states.includes('waiting 1006'));
  const waits = one.publish('a', 'meanwhile');
  server.mood = 'accepts';
  server.publish('a', 'missed');
  await waits;
  await until('the messages', () => heard.every(({ heard }) => heard.length === 2));
  for (const each of heard) expect(each.heard).toEqual(['a:1="missed"', 'a:2="meanwhile"']);
  server.goodbye(4403, 'removed');
  await until('the end', () => one.state.status === 'closed' && two.state.status === 'closed');
  expect(one.states.at(-1)).toBe('closed 4403');
  expect(client.state.status).toBe('closed');
  one.connect();
  await until('the return', () => one.state.status === 'connected');
});

test('a tab that closes or vanishes leaves what it followed', async () => {
  const { server } = inMemory({ beatMs: 40 });
  const [one, two, three] = [tab(), tab(), tab()];
  for (const [at, each] of [one, two, three].entries()) await hear(each, `t.${at}`).ready;
  one.close();
  await until('the first to leave', () => !server.last.follows.has('t.0'));
  // Its process is gone: nothing is taken, and nothing said.
  const [page] = ports[1] as readonly [MessagePort, MessagePort];
  page.onmessage = null;
  page.postMessage = () => {};
  await until('the second one to be missed', () => !server.last.follows.has('t.1'));
  expect([...server.last.follows.keys()]).toEqual(['t.2']);
  expect(three.state.status).toBe('connected');
});

test('a tab that takes nothing is sent away, and recovers when it can', async () => {
  const { server } = inMemory({ untakenMax: 50 });
  const one = tab();
  const { heard, ready } = hear(one, 'a');
  await ready;
  // Its thread is busy while this goes on.
  for (let data = 1; data <= 100; data++) {
    server.publish('a', data);
    await null;
  }
  await until('the messages', () => heard.length >= 100);
  expect(heard).toEqual(Array.from({ length: 100 }, (_, at) => `a:${at + 1}=${at + 1}`));
  expect(one.states).toContain('waiting 4008');
});

test('tokens are those of the tabs, who are asked for them', async () => {
  const server = new Server();
  server.tokens = new Set(['connect']);
  worker((token) => ({ token, WebSocket: server.WebSocket }));
  const reasons: string[] = [];
  const provider = (reason: string): string => {
    reasons.push(reason);
    return reason;
  };
  const [one, two] = [tab({ token: provider }), tab({ token: provider })];
  await one.publish('a', 1);
  await two.publish('a', 2);
  expect(reasons).toEqual(['connect', 'connect']);
  server.tokens = new Set(['expiring']);
  server.last.say({ type: 'expiring', expires_in_ms: 1000 });
  await until('a new token', () => server.last.commands.some(({ token }) => token === 'expiring'));
  server.tokens = new Set(['refused']);
  server.goodbye(4401, 'expired');
  await one.publish('a', 3);
  expect(reasons.filter((reason) => reason === 'refused').length).toBeGreaterThan(0);
  expect(server.last.commands[0]).toMatchObject({ type: 'auth', token: 'refused' });
});

test('a worker that cannot be had is tried again, without haste', async () => {
  const one = tab({}, 'broken');
  one.connect();
  await until('the failure', () => one.states.filter((state) => state === 'waiting 1006').length > 2);
  expect(one.state).toMatchObject({ reason: 'the worker cannot be had' });
  expect(ports.length).toBeLessThan(10);
});

test('without a SharedWorker a client has its own connection', () => {
  vi.stubGlobal('SharedWorker', undefined);
  const options: ClientOptions = { delayMsMin: 7 };
  expect(withSharedWorker(() => new SharedWorker('none'), options)).toBe(options);
});

describe.skipIf(binary === undefined)('with the real server', () => {
  test('twenty cuts of the network, and every tab hears every message exactly once', async () => {
    const server = await serve();
    cleanups.push(() => server.stop());
    const between = await network(server.port);
    cleanups.push(between.close);
    worker(() => ({ WebSocket: WebSocket as unknown as SocketConstructor, encoding: msgpack }), {}, between.url);
    const publisher = createClient(server.url, { WebSocket: WebSocket as unknown as SocketConstructor });
    cleanups.push(publisher.close);
    const tabs = [tab(), tab(), tab()];
    const heard = tabs.map((each) => hear(each, 'a'));
    for (const { ready } of heard) await ready;
    let published = 0;
    for (let round = 0; round < 20; round++) {
      for (let burst = 0; burst < 10; burst++) await publisher.publish('a', ++published);
      between.cut();
      for (let burst = 0; burst < 2; burst++) await publisher.publish('a', ++published);
      if (round % 3 === 0) await until('the return', () => tabs.every(({ state }) => state.status === 'connected'));
    }
    await until('everything', () => heard.every(({ heard }) => heard.length >= published));
    for (const each of heard)
      expect(each.heard).toEqual(Array.from({ length: published }, (_, at) => `a:${at + 1}=${at + 1}`));
  });
});
