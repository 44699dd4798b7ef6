/**
 * `examples/react-ticker` in Chromium, as it is built, with its feed: `FANFARE=target/debug/fanfare`. Its pictures go
 * where `SCREENSHOTS` says.
 */

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { afterEach, describe, expect, test } from 'vitest';

import { launch, screenshots, serveFiles } from './support/chromium.ts';
import { binary, type Fanfare, serve } from './support/fanfare.ts';

const folder = new URL('../../../examples/react-ticker/', import.meta.url);
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const started = async (): Promise<Fanfare> => {
  const server = await serve(0, '--config', fileURLToPath(new URL('fanfare.toml', folder)));
  const feed = spawn('node', ['feed.js', `http://127.0.0.1:${server.port}`], { cwd: folder, stdio: 'inherit' });
  cleanups.push(
    () => server.stop(),
    () => feed.kill(),
  );
  return server;
};

const opened = async (server: Fanfare, options = {}) => {
  // Not as for tests, which is what this process was told.
  const env = { ...process.env, NODE_ENV: 'production' };
  execFileSync('npm', ['run', '--silent', 'build', '--', '--logLevel', 'warn'], { cwd: folder, env, stdio: 'inherit' });
  const site = await serveFiles((path) => {
    const file = new URL(`dist${path === '/' ? '/index.html' : path}`, folder);
    return existsSync(file) ? readFileSync(file) : undefined;
  });
  const browser = await launch();
  cleanups.push(site.close, () => browser.close());
  const page = await browser.newPage(options);
  const failures: string[] = [];
  page.on('pageerror', (error) => failures.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && failures.push(message.text()));
  await page.goto(`${site.url}?server=${encodeURIComponent(server.url)}`);
  // Every row has its price.
  await page.waitForFunction(() => document.querySelectorAll('li .price').length === 1000);
  return Object.assign(page, { failures });
};

describe.skipIf(binary === undefined)('the ticker', () => {
  test('shows a thousand prices as they change, and finds one', async () => {
    const server = await started();
    const page = await opened(server, { viewport: { width: 1100, height: 760 } });
    const shown = () => page.locator('li .price').allTextContents();
    const before = await shown();
    // Twenty of them change sixty times a second, so before long nearly all have.
    await expect
      .poll(async () => (await shown()).filter((each, at) => each !== before[at]).length)
      .toBeGreaterThan(900);
    await expect.poll(() => page.locator('dd').first().textContent()).toMatch(/^\d,\d{3}$/);
    await page.screenshot({ path: screenshots('ticker.png') });
    await page.getByRole('searchbox').fill('zzz');
    await page.getByText('No symbol has').waitFor();
    await page.getByRole('searchbox').fill('arb');
    expect(await page.locator('li').count()).toBe(5);
    await page.getByRole('searchbox').fill('');
    await page.emulateMedia({ colorScheme: 'dark' });
    await page.setViewportSize({ width: 400, height: 800 });
    await page.screenshot({ path: screenshots('ticker-dark-phone.png') });
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(400);
    expect(page.failures).toEqual([]);
  }, 60_000);

  test.skipIf(process.env['FANFARE_SPEED'] === undefined)(
    'drops no frame for 10 s',
    async () => {
      const server = await started();
      const page = await opened(server, { viewport: { width: 1100, height: 760 } });
      const runs: number[] = [];
      for (let run = 0; run < 3; run++) {
        const frames = await page.evaluate(
          () =>
            new Promise<number[]>((resolve) => {
              const at: number[] = [];
              requestAnimationFrame(function frame(now) {
                at.push(now);
                if (now - (at[0] as number) < 10_000) requestAnimationFrame(frame);
                else resolve(at);
              });
            }),
        );
        const late = frames.filter((now, at) => at && now - (frames[at - 1] as number) > 25).length;
        const rate = ((frames.length - 1) * 1000) / ((frames.at(-1) as number) - (frames[0] as number));
        console.log(`ticker: ${rate.toFixed(1)} frames a second, ${late} of ${frames.length} late`);
        runs.push(rate);
      }
      expect(runs.toSorted((a, b) => a - b)[1]).toBeGreaterThan(59);
    },
    120_000,
  );
});
