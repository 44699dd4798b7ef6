/**
 * Against the real server: `FANFARE=target/debug/fanfare`. Each test has a server of its own.
 */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';

import { withFallback } from '../src/fallback.ts';
import { type Client, type ClientOptions, createClient, type SocketConstructor } from '../src/index.ts';
import { msgpack } from '../src/msgpack.ts';
import { blocked } from './support/blocked.ts';
import { binary, type Fanfare, network, serve, spoiler } from './support/fanfare.ts';
import { hear, show } from './support/setup.ts';
import { until } from './support/until.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const started = async (port?: number, ...more: string[]): Promise<Fanfare> => {
  const server = await serve(port, ...more);
  cleanups.push(() => server.stop());
  return server;
};

const connected = (url: string, options: ClientOptions = {}): Client => {
  const client = createClient(url, {
    WebSocket: WebSocket as unknown as SocketConstructor,
    delayMsMin: 20,
    ...options,
  });
  cleanups.push(() => client.close());
  return client;
};

describe.skipIf(binary === undefined)('with the real server', () => {
  test.each([
    ['JSON', {}],
    ['MessagePack', { encoding: msgpack }],
  ] as const)('%s: subscribe, publish, patterns, echo, history', async (_, options) => {
    const server = await started();
    const [ana, bob] = [connected(server.url, options), connected(server.url)];
    const [name, pattern] = [hear(ana, 'chat.one'), hear(ana, 'chat.*')];
    const ready = await ana.subscribe('chat.two', () => {}).ready;
    expect(ready).toMatchObject({ offset: 0 });
    const data = { text: 'hällo', list: [1, -2.5, null, true], deep: { '': 'x' } };
    expect(await bob.publish('chat.one', data)).toMatchObject({ offset: 1 });
    expect(await ana.publish('chat.one', 'mine', { echo: false })).toMatchObject({ offset: 2 });
    await bob.publish('chat.one', 'last');
    const wanted = [`chat.one:1=${JSON.stringify(data)}`, 'chat.one:3="last"'];
    await until('the messages', () => name.heard.length === 2 && pattern.heard.length === 2);
    expect([name.heard, pattern.heard]).toEqual([wanted, wanted]);
    const history = await ana.history('chat.one', { limit: 2 });
    expect(history).toMatchObject({ topic: 'chat.one', offset: 3, more: true });
    expect(history.messages.map(({ data }) => data)).toEqual(['mine', 'last']);
    await expect(ana.publish('not valid', 1)).rejects.toMatchObject({ code: 'bad_topic', topic: 'not valid' });
    await expect(ana.publish('$mine', 1)).rejects.toMatchObject({ code: 'forbidden' });
    await expect(hear(ana, 'a..b').ready).rejects.toMatchObject({ code: 'bad_topic' });
    await expect(ana.publish('a', 'x'.repeat(70_000))).rejects.toMatchObject({ code: 'too_large' });
    expect(ana.state.status).toBe('connected');
  });

  test('binary goes through MessagePack, and is base64 in JSON', async () => {
    const server = await started();
    const [packed, plain] = [connected(server.url, { encoding: msgpack }), connected(server.url)];
    const seen: unknown[] = [];
    await packed.subscribe('a', ({ data }) => seen.push(data)).ready;
    await plain.subscribe('a', ({ data }) => seen.push(data)).ready;
    await packed.publish('a', new Uint8Array([1, 2]));
    await until('both', () => seen.length === 2);
    expect(seen).toContainEqual(new Uint8Array([1, 2]));
    expect(seen).toContainEqual({ $bin: 'AQI=' });
  });

  test('the newest messages are replayed, also to one of several followers', async () => {
    const server = await started();
    const client = connected(server.url);
    for (let data = 1; data <= 5; data++) await client.publish('a', data);
    const early = hear(client, 'a');
    await early.ready;
    const late = hear(client, 'a', { last: 2 });
    await late.ready;
    await client.publish('a', 6);
    await until('the newest', () => early.heard.length === 1 && late.heard.length === 3);
    expect(late.heard).toEqual(['a:4=4', 'a:5=5', 'a:6=6']);
    const events = client.subscribe('a', { since: { epoch: 'wrong', offset: 2 } })[Symbol.asyncIterator]();
    expect(show((await events.next()).value as never)).toBe('gap a 1-6 epoch');
  });

  test('with a rate the newest come, gaps stand for the others, and who wants everything gets it', async () => {
    const server = await started();
    const [client, publisher] = [connected(server.url), connected(server.url)];
    const calm = hear(client, 'a', { maxRate: 1 });
    await calm.ready;
    await Promise.all(Array.from({ length: 500 }, (_, at) => publisher.publish('a', at + 1, { key: 'one' })));
    await until('the newest', () => calm.heard.at(-1) === 'a:500=500');
    expect(calm.heard.filter((each) => !each.startsWith('gap')).length).toBeLessThan(100);
    // `slow` stands for what had left the history before its turn came.
    const covered = calm.heard.flatMap((each) => {
      const [, from, to] = /^gap a (\d+)-(\d+) (?:latest|slow)$/.exec(each) ?? [0, ...[/^a:(\d+)=/.exec(each)?.[1]]];
      const [first, last] = [Number(from), Number(to ?? from)];
      return Array.from({ length: last - first + 1 }, (_, at) => first + at);
    });
    expect(covered).toEqual(Array.from({ length: 500 }, (_, at) => at + 1));
    const every = hear(client, 'a');
    await every.ready;
    for (let data = 501; data <= 520; data++) publisher.publish('a', data, { key: 'one' });
    await until('all of them', () => every.heard.length === 20);
    expect(every.heard).toEqual(Array.from({ length: 20 }, (_, at) => `a:${at + 501}=${at + 501}`));
    await expect(hear(client, 'b', { maxRate: 0 }).ready).rejects.toMatchObject({ code: 'bad_request' });
    await expect(hear(client, 'b.*', { maxRate: 5 }).ready).rejects.toMatchObject({ code: 'bad_request' });
  });

  test.each([
    ['JSON', {}],
    ['MessagePack', { encoding: msgpack }],
    ['an event stream', withFallback({ WebSocket: blocked })],
  ] as const)('%s: a publish says how many it is for', async (_, options) => {
    const server = await started();
    const [ana, bob] = [connected(server.url, options), connected(server.url)];
    await hear(ana, 'a').ready;
    await hear(bob, '*').ready;
    const published = await ana.publish('a', 1, { receivers: true });
    expect(published).toMatchObject({ offset: 1, receivers: 2 });
    expect((await ana.publish('nobody.here', 1, { receivers: true })).receivers).toBe(0);
    expect(await ana.publish('a', 2)).not.toHaveProperty('receivers');
    // It is a position as any other.
    const since = hear(ana, 'a', { since: published });
    await until('what came after it', () => since.heard.length > 0);
    expect(since.heard).toEqual(['a:2=2']);
  });

  test('members see who comes and goes', async () => {
    const server = await started();
    const names = (client: Client, name: string) => {
      const seen: string[] = [];
      const room = client.subscribe('room', () => {}, {
        presence: true,
        member: { name },
        onPresence: ({ members }) =>
          seen.push(members.map(({ member }) => (member as { name: string }).name).join('+')),
      });
      return { seen, room };
    };
    const [ana, bob] = [connected(server.url), connected(server.url)];
    const first = names(ana, 'ana');
    await until('ana', () => first.seen.length === 1);
    const second = names(bob, 'bob');
    await until('both', () => first.seen.length === 2 && second.seen.length === 1);
    second.room.unsubscribe();
    await until('one', () => first.seen.length === 3);
    expect(first.seen).toEqual(['ana', 'ana+bob', 'ana']);
    expect((await bob.presence('room')).members).toHaveLength(1);
  });

  test('a member that lost its connection takes its own place, and nobody sees it leave', async () => {
    const server = await started();
    const between = await network(server.port);
    cleanups.push(between.close);
    const [ana, bob] = [connected(between.url), connected(server.url)];
    const counts: number[] = [];
    await bob.subscribe('room', () => {}, { presence: true, onPresence: ({ members }) => counts.push(members.length) })
      .ready;
    const { ready, heard } = hear(ana, 'room', { presence: true, member: 'ana' });
    await ready;
    await until('both', () => counts.at(-1) === 2);
    between.strand();
    await until('the loss', () => ana.state.status !== 'connected');
    await bob.publish('room', 'meanwhile');
    await until('the return', () => heard.length === 1);
    await ana.publish('room', 'back');
    await until('the news', () => heard.length === 2);
    expect(counts).toEqual([1, 2]);
  });

  test('twenty cuts of the network, and every message comes exactly once', async () => {
    const server = await started();
    const between = await network(server.port);
    cleanups.push(between.close);
    const [client, publisher] = [connected(between.url, { delayMsMax: 50 }), connected(server.url)];
    const { heard, ready } = hear(client, 'a');
    await ready;
    let published = 0;
    for (let round = 0; round < 20; round++) {
      for (let burst = 0; burst < 10; burst++) await publisher.publish('a', ++published);
      between.cut();
      for (let burst = 0; burst < 2; burst++) await publisher.publish('a', ++published);
      if (round % 3 === 0) await until('the return', () => client.state.status === 'connected');
    }
    await until('everything', () => heard.length >= published);
    expect(heard).toEqual(Array.from({ length: published }, (_, at) => `a:${at + 1}=${at + 1}`));
  });

  test('a publisher whose network is cut publishes each message once', async () => {
    const server = await started();
    const between = await network(server.port);
    cleanups.push(between.close);
    const [publisher, client] = [connected(between.url, { delayMsMax: 50 }), connected(server.url)];
    const { heard, ready } = hear(client, 'a');
    await ready;
    const answers: Promise<unknown>[] = [];
    for (let data = 1; data <= 200; data++) {
      answers.push(publisher.publish('a', data));
      if (data % 20 === 0) between.cut();
      if (data % 7 === 0) await new Promise((resolve) => setTimeout(resolve, 3));
    }
    await Promise.all(answers);
    await until('everything', () => heard.length >= 200);
    const data = heard.map((each) => Number(each.split('=')[1]));
    expect(data.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, at) => at + 1));
  });

  test('compression that a middlebox spoils is done without, and no message is lost', async () => {
    const server = await started();
    const between = await network(server.port, spoiler);
    cleanups.push(between.close);
    const [client, publisher] = [connected(between.url), connected(server.url)];
    const codes: number[] = [];
    client.on('state', (state) => state.status === 'waiting' && codes.push(state.code));
    const { heard, ready } = hear(client, 'a');
    await ready;
    for (let data = 1; data <= 5; data++) await publisher.publish('a', `${data}`.repeat(1000));
    await until('everything', () => heard.length === 5);
    // Once might be chance.
    expect(codes).toEqual([1006, 1006]);
    expect(heard.map((each) => each.slice(0, 6))).toEqual(['a:1="1', 'a:2="2', 'a:3="3', 'a:4="4', 'a:5="5']);
  });

  test.each([
    ['a WebSocket', {}],
    ['an event stream', withFallback({ WebSocket: blocked })],
  ] as const)('a token that expires over %s is renewed, and no message is lost', async (over, options) => {
    const folder = mkdtempSync(join(tmpdir(), 'fanfare-'));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const config = join(folder, 'fanfare.toml');
    writeFileSync(config, '[auth]\nsecrets = ["a secret of thirty-two bytes or more"]\nleeway_ms = 0\n');
    const rights = ['--subject', 'ana', '--subscribe', '>', '--publish', '>'];
    const token = (seconds: number): string =>
      execFileSync(binary as string, ['token', '--config', config, ...rights, '--seconds', `${seconds}`], {
        encoding: 'utf8',
      }).trim();
    const server = await started(0, '--config', config);
    const reasons: string[] = [];
    // Made beforehand: to run a command takes time, and the short one has little.
    const long = token(60);
    const short = token(4);
    const { exp } = JSON.parse(Buffer.from(short.split('.')[1] as string, 'base64url').toString()) as { exp: number };
    const client = connected(server.url, {
      ...options,
      token: (reason) => (reasons.push(reason) === 1 ? short : long),
    });
    const publisher = connected(server.url, { token: long });
    const states: string[] = [];
    client.on('state', ({ status }) => states.push(status));
    const { heard, ready } = hear(client, 'a');
    await ready;
    let published = 0;
    while (reasons.length < 2 || Date.now() < exp * 1000 + 200) {
      await publisher.publish('a', ++published);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await until('everything', () => heard.length === published);
    expect(heard).toEqual(Array.from({ length: published }, (_, at) => `a:${at + 1}=${at + 1}`));
    // Before it expires, or once it has.
    expect(reasons).toEqual(['connect', over === 'a WebSocket' ? 'expiring' : 'refused']);
    expect(states.includes('waiting')).toBe(over !== 'a WebSocket');
  });

  test('a restarted server begins anew: a gap says so, and a member is a member again', async () => {
    const server = await started();
    const client = connected(server.url, { delayMsMax: 200 });
    const { heard, ready } = hear(client, 'a', { presence: true, member: 'ana' });
    await ready;
    await client.publish('a', 'old');
    await until('the old one', () => heard.length === 1);
    const codes: number[] = [];
    client.on('state', (state) => state.status === 'waiting' && codes.push(state.code));
    await server.stop('SIGTERM');
    await until('the goodbye', () => codes.length > 0);
    expect(codes[0]).toBe(1012);
    const waits = client.publish('a', 'new');
    await started(server.port);
    expect(await waits).toMatchObject({ offset: 1 });
    await until('the new one', () => heard.length === 3);
    expect(heard).toEqual(['a:1="old"', 'gap a 1-0 epoch', 'a:1="new"']);
    expect((await client.presence('a')).members).toHaveLength(1);
  });
});
