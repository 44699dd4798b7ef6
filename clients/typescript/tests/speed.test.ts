/**
 * How fast, in Chromium, against an optimised server: `FANFARE_SPEED=1 FANFARE=target/release/fanfare`. It takes
 * minutes, and a machine that does nothing else.
 */

import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { CDPSession } from 'playwright-core';
import { afterEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';

import { launch, site } from './support/chromium.ts';
import { binary, serve } from './support/fanfare.ts';

const RATE = 100_000;
const SECONDS = 10;
const RUNS = 3;

interface TraceEvent {
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur?: number;
  readonly args: { readonly name?: string };
}

/**
 * What the main thread of the page did: for how long it was at something, as Chromium traced it, and for how much of
 * that it had a processor, by the thread's own clock.
 */
const traced = async (cdp: CDPSession, run: () => Promise<void>): Promise<{ busyMs: number; cpuMs: number }> => {
  const events: TraceEvent[] = [];
  cdp.on('Tracing.dataCollected', ({ value }) => void events.push(...(value as unknown as TraceEvent[])));
  await cdp.send('Performance.enable');
  const threadMs = async (): Promise<number> => {
    const { metrics } = await cdp.send('Performance.getMetrics');
    return (metrics.find(({ name }) => name === 'ThreadTime')?.value as number) * 1000;
  };
  await cdp.send('Tracing.start', { transferMode: 'ReportEvents', traceConfig: { includedCategories: ['toplevel'] } });
  const before = await threadMs();
  await run();
  const cpuMs = (await threadMs()) - before;
  const complete = new Promise((resolve) => cdp.once('Tracing.tracingComplete', resolve));
  await cdp.send('Tracing.end');
  await complete;
  const threads = new Map<string, TraceEvent[]>();
  for (const event of events) {
    const thread = `${event.pid}.${event.tid}`;
    if (event.name === 'thread_name' && event.args.name === 'CrRendererMain') threads.set(thread, []);
  }
  for (const event of events) if (event.dur) threads.get(`${event.pid}.${event.tid}`)?.push(event);
  // Tasks, and the microtasks after them, lie within each other: what counts is what they cover.
  const covered = [...threads.values()].map((all) => {
    let [sum, until] = [0, 0];
    for (const { ts, dur = 0 } of all.sort((a, b) => a.ts - b.ts)) {
      sum += Math.max(0, ts + dur - Math.max(ts, until));
      until = Math.max(until, ts + dur);
    }
    return sum / 1000;
  });
  // Other pages of the browser do nothing.
  return { busyMs: Math.max(...covered), cpuMs };
};

const speed = process.env['FANFARE_SPEED'] !== undefined && binary !== undefined;
const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] as number;
const percent = (part: number): string => `${(part * 100).toFixed(0)} %`;
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A server that holds on to more than a page could fall behind. */
const started = async () => {
  const folder = mkdtempSync(join(tmpdir(), 'fanfare-'));
  const config = join(folder, 'fanfare.toml');
  const rule = ['[[topics]]', 'pattern = "load"', 'history_entries = 1000000', 'history_bytes = 200000000'];
  writeFileSync(config, rule.join('\n'));
  const server = await serve(0, '--config', config);
  cleanups.push(
    () => rmSync(folder, { recursive: true }),
    () => server.stop(),
  );
  return server;
};

/** Messages of about 100 bytes at a steady rate: what the main thread did meanwhile, as a share of the time. */
const into = async (over: 'events' | 'websocket', rate: number, seconds: number) => {
  const server = await started();
  const [pages, browser] = [await site(), await launch()];
  cleanups.push(pages.close, () => browser.close());
  const page = await browser.newPage();
  await page.goto(`${pages.url}?script=load&over=${over}&url=${encodeURIComponent(server.url)}`);
  await page.waitForFunction(() => 'load' in globalThis);
  const load = () =>
    page.evaluate(() => (globalThis as never as { load: Record<'count' | 'wrong' | 'gaps' | 'sum', number> }).load);
  const publisher = new WebSocket(server.url, { perMessageDeflate: false });
  await once(publisher, 'open');
  const each = 500;
  const command = (at: number) =>
    `{"type":"publish","topic":"load","data":{"symbol":"BTC","bid":${at},"ask":${at}.25}}`;
  const frame = `[${Array.from({ length: each }, (_, at) => command(at)).join()}]`;
  const cdp = await page.context().newCDPSession(page);
  let took = 0;
  const { busyMs, cpuMs } = await traced(cdp, async () => {
    const began = performance.now();
    for (let sent = 0; sent < rate * seconds; sent += each) {
      publisher.send(frame);
      const ahead = began + ((sent + each) * 1000) / rate - performance.now();
      if (ahead > 1) await sleep(ahead);
    }
    while ((await load()).count < rate * seconds) await sleep(20);
    took = performance.now() - began;
  });
  publisher.close();
  const { count, wrong, gaps, sum } = await load();
  expect([count, wrong, gaps, sum]).toEqual([rate * seconds, 0, 0, ((each - 1) / 2) * rate * seconds]);
  console.log(
    `${over}: ${count} messages in ${(took / 1000).toFixed(2)} s, the main thread was at it for ${percent(busyMs / took)} ` +
      `of that, ${percent(cpuMs / took)} by its own clock: ${((cpuMs * 1000) / count).toFixed(2)} µs a message`,
  );
  return { took, busy: busyMs / took, cpu: cpuMs / took, each: (cpuMs * 1000) / count };
};

describe.skipIf(!speed)('into a page', () => {
  test(`${RATE} messages a second for ${SECONDS} s: none is lost, and the main thread is below half busy`, async () => {
    const runs = [];
    for (let run = 0; run < RUNS; run++) runs.push(await into('events', RATE, SECONDS));
    // The CPU clock: what the thread waited for a processor says nothing of the page.
    expect(median(runs.map(({ cpu }) => cpu))).toBeLessThan(0.5);
    expect(median(runs.map(({ took }) => took))).toBeLessThan(SECONDS * 1000 * 1.05);
  }, 300_000);

  test('what a message costs over a WebSocket, where each is an event of its own', async () => {
    const runs = [];
    for (let run = 0; run < RUNS; run++) runs.push(await into('websocket', 20_000, SECONDS));
    expect(median(runs.map(({ cpu }) => cpu))).toBeLessThan(0.5);
  }, 300_000);
});
