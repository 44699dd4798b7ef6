/**
 * The built package in Chromium, against the real server: `FANFARE=target/debug/fanfare`. The page follows a
 * topic while the network is cut and the server restarted.
 */

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

import { chromium } from 'playwright-core';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';

import { createClient, type SocketConstructor } from '../src/index.ts';
import { binary, network, serve } from './support/fanfare.ts';

const file = (name: string): Buffer =>
  readFileSync(new URL(name === 'page.js' ? 'support/page.js' : `../dist/${name}`, import.meta.url));

/** Serves the built package, and a page that may run nothing else. */
const site = async () => {
  const server = createServer(({ url = '/' }, response) => {
    const script = url.endsWith('.js');
    response.setHeader('Content-Type', script ? 'text/javascript' : 'text/html');
    response.setHeader('Content-Security-Policy', "default-src 'self'; connect-src *");
    response.end(script ? file(url.slice(1)) : '<!doctype html><script type="module" src="page.js"></script>');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, close: () => server.close() };
};

interface Seen {
  heard: { epoch: string; offset: number; data: number }[];
  gaps: { epoch?: string; from?: number; to?: number; reason: string }[];
  status: string;
}

test.skipIf(binary === undefined)(
  'a page ends with every message exactly once, or a gap, after twenty cuts and three restarts',
  async () => {
    const page = await site();
    let server = await serve();
    const { port } = server;
    const between = await network(port);
    const browser = await chromium.launch({
      executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
      args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
    });
    const options = { WebSocket: WebSocket as unknown as SocketConstructor, delayMsMin: 20, delayMsMax: 100 };
    const publisher = createClient(server.url, options);
    try {
      const tab = await browser.newPage();
      const errors: string[] = [];
      tab.on('pageerror', (error) => errors.push(String(error)));
      await tab.goto(`${page.url}?url=${between.url}`);
      await tab.waitForFunction(() => 'seen' in globalThis);

      const published: { epoch: string; offset: number }[] = [];
      for (let round = 0; round < 20; round++) {
        for (let burst = 0; burst < 10; burst++) published.push(await publisher.publish('a', published.length));
        between.cut();
        for (let burst = 0; burst < 5; burst++) published.push(await publisher.publish('a', published.length));
        if (round % 7 === 6) {
          await server.stop('SIGTERM');
          server = await serve(port);
        }
        if (round % 2)
          await tab.waitForFunction(() => (globalThis as never as { seen: Seen }).seen.status === 'connected');
      }
      const last = published.at(-1);
      await tab.waitForFunction(
        (last) => {
          const { heard, gaps } = (globalThis as never as { seen: Seen }).seen;
          const done = (epoch?: string, offset?: number) => epoch === last?.epoch && offset === last?.offset;
          return (
            heard.some(({ epoch, offset }) => done(epoch, offset)) || gaps.some(({ epoch, to }) => done(epoch, to))
          );
        },
        last,
        { timeout: 20_000 },
      );
      const { heard, gaps } = await tab.evaluate(() => (globalThis as never as { seen: Seen }).seen);
      const positions = heard.map(({ epoch, offset }) => `${epoch}:${offset}`);
      expect(new Set(positions).size).toBe(positions.length);
      // What a restart took is in a gap; everything else was heard.
      const epochs = new Set(gaps.map(({ epoch }) => epoch));
      const unheard = published.filter(({ epoch, offset }) => !positions.includes(`${epoch}:${offset}`));
      for (const { epoch, offset } of unheard) {
        const told = gaps.some((gap) => gap.epoch === epoch && (gap.from ?? 1) <= offset && offset <= (gap.to ?? 0));
        const next = [...new Set(published.map((each) => each.epoch))];
        const replaced = epochs.has(next[next.indexOf(epoch) + 1] ?? '');
        expect(told || replaced, `${epoch}:${offset}`).toBe(true);
      }
      expect(heard.length).toBeGreaterThan(200);
      expect(errors).toEqual([]);
    } finally {
      publisher.close();
      await browser.close();
      between.close();
      page.close();
      await server.stop();
    }
  },
  60_000,
);
