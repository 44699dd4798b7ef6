/**
 * The built package in Chromium, against the real server: `FANFARE=target/debug/fanfare`. Pages follow a topic
 * while the network is cut and the server restarted.
 */

import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';

import { type Client, createClient, type Position, type SocketConstructor } from '../src/index.ts';
import { launch, type Seen, site } from './support/chromium.ts';
import { binary, type Fanfare, network, serve, spoiler } from './support/fanfare.ts';

let browser: Browser;
const cleanups: (() => unknown)[] = [];
const here = { scope: globalThis as never as { seen: Seen; client: Client } };

describe.skipIf(binary === undefined)('in Chromium', () => {
  beforeAll(async () => {
    browser = await launch();
  });
  afterAll(() => browser.close());
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  const started = async (port = 0): Promise<Fanfare> => {
    const server = await serve(port);
    cleanups.push(() => server.stop());
    return server;
  };
  const between = async (server: Fanfare) => {
    const made = await network(server.port);
    cleanups.push(made.close);
    return made;
  };
  const pages = async (connect?: string) => {
    const made = await site(connect);
    const context = await browser.newContext();
    cleanups.push(made.close, () => context.close());
    return async (script: string, url: string) => {
      const page = await context.newPage();
      const failures: string[] = [];
      page.on('pageerror', (error) => failures.push(String(error)));
      await page.goto(`${made.url}?script=${script}&url=${encodeURIComponent(url)}`);
      await page.waitForFunction(() => 'seen' in globalThis);
      return Object.assign(page, { failures });
    };
  };
  const publisherTo = (server: Fanfare): Client => {
    const options = { WebSocket: WebSocket as unknown as SocketConstructor, delayMsMin: 20, delayMsMax: 100 };
    const publisher = createClient(server.url, options);
    cleanups.push(publisher.close);
    return publisher;
  };
  const seenBy = (page: Page): Promise<Seen> => page.evaluate(() => (globalThis as never as typeof here.scope).seen);
  const connected = (page: Page) =>
    page.waitForFunction(() => (globalThis as never as typeof here.scope).seen.states.at(-1) === 'connected');
  /** Has it heard of the last one, as a message or within a gap? */
  const caughtUp = (page: Page, last: Position) =>
    page.waitForFunction(
      (last) => {
        const { heard, gaps } = (globalThis as never as typeof here.scope).seen;
        const is = (epoch?: string, offset?: number) => epoch === last.epoch && offset === last.offset;
        return heard.some(({ epoch, offset }) => is(epoch, offset)) || gaps.some(({ epoch, to }) => is(epoch, to));
      },
      last,
      { timeout: 20_000 },
    );
  /** Every message exactly once, or a gap that it lies within, or one that says that its numbering is over. */
  const judge = ({ heard, gaps }: Seen, published: readonly Position[]): void => {
    const positions = heard.map(({ epoch, offset }) => `${epoch}:${offset}`);
    expect(new Set(positions).size).toBe(positions.length);
    const order = [...new Set(published.map(({ epoch }) => epoch))];
    const begun = new Set(gaps.map(({ epoch }) => epoch));
    for (const { epoch, offset } of published) {
      if (positions.includes(`${epoch}:${offset}`)) continue;
      const told = gaps.some((gap) => gap.epoch === epoch && (gap.from ?? 1) <= offset && offset <= (gap.to ?? 0));
      const replaced = begun.has(order[order.indexOf(epoch) + 1]);
      expect(told || replaced, `${epoch}:${offset}`).toBe(true);
    }
  };

  test.each(['follow', 'blocked', 'tab'])(
    '%s: every message exactly once, or a gap, after twenty cuts and three restarts',
    async (script) => {
      let server = await started();
      const cutter = await between(server);
      // A page's policy is as good as a proxy at keeping it from WebSockets.
      const open = await pages(script === 'blocked' ? 'http://127.0.0.1:*' : '*');
      const publisher = publisherTo(server);
      const page = await open(script, cutter.url);
      const { connection } = await seenBy(page);
      expect(connection === 'events').toBe(script === 'blocked');
      const published: Position[] = [];
      for (let round = 0; round < 20; round++) {
        for (let burst = 0; burst < 10; burst++) published.push(await publisher.publish('a', published.length));
        cutter.cut();
        for (let burst = 0; burst < 5; burst++) published.push(await publisher.publish('a', published.length));
        if (round % 7 === 6) {
          await server.stop('SIGTERM');
          server = await started(server.port);
        }
        if (round % 2) await connected(page);
      }
      await caughtUp(page, published.at(-1) as Position);
      const seen = await seenBy(page);
      judge(seen, published);
      // How much is in gaps depends on how soon after a cut a restart took what was held.
      expect(seen.heard.length).toBeGreaterThan(100);
      expect(seen.errors).toEqual([]);
      expect(page.failures).toEqual([]);
    },
    60_000,
  );

  test('compression that a middlebox spoils is done without, and no message is lost', async () => {
    const server = await started();
    const spoiled = await network(server.port, spoiler);
    cleanups.push(spoiled.close);
    const open = await pages();
    const publisher = publisherTo(server);
    const page = await open('follow', spoiled.url);
    const published: Position[] = [];
    for (let data = 1; data <= 5; data++) published.push(await publisher.publish('a', `${data}`.repeat(1000)));
    await caughtUp(page, published.at(-1) as Position);
    const seen = await seenBy(page);
    expect(seen.heard.map(({ offset }) => offset)).toEqual([1, 2, 3, 4, 5]);
    expect(seen.states.filter((state) => state === 'waiting').length).toBeGreaterThan(0);
  });

  test('tabs share one connection, and one that closes or crashes is missed', async () => {
    const server = await started();
    const open = await pages();
    const publisher = publisherTo(server);
    const figure = async (name: string): Promise<number> => {
      const text = await (await fetch(`http://127.0.0.1:${server.port}/metrics`)).text();
      return Number(new RegExp(`^${name} (\\d+)`, 'm').exec(text)?.[1]);
    };
    const tabs = [await open('tab', server.url), await open('tab', server.url), await open('tab', server.url)];
    const [first, second, third] = tabs as unknown as [Page, Page, Page];
    expect(await figure('fanfare_connections')).toBe(1);
    await third.evaluate(
      () => (globalThis as never as typeof here.scope).client.subscribe('of.the.third', () => {}).ready,
    );
    await second.evaluate(
      () => (globalThis as never as typeof here.scope).client.subscribe('of.the.second', () => {}).ready,
    );
    await first.evaluate(() => (globalThis as never as typeof here.scope).client.publish('a', 1));
    for (const page of tabs) await caughtUp(page, (await publisher.history('a')) as Position);

    const followed = () => figure('fanfare_subscriptions');
    expect(await followed()).toBe(3);
    await second.close();
    await expect.poll(followed).toBe(2);
    const crash = await third.context().newCDPSession(third);
    crash.send('Page.crash').catch(() => {});
    await expect.poll(followed).toBe(1);
    await caughtUp(first, await publisher.publish('a', 2));
    expect(await figure('fanfare_connections')).toBe(2);
  }, 60_000);
});
