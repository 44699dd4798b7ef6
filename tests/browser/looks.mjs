// How the dashboard looks, light and dark, wide and narrow; whether everybody can use it, by the rules that
// a program can check; and what it weighs.
//
//   node looks.mjs BASE_URL OUT_DIR
//
// BASE_URL is a server's that was started with --demo. Prints one line per check and leaves screenshots in
// OUT_DIR; exit status 0 or 1.

import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

import { assert, check, finish, launch, until } from './browser.mjs';
import { isLive, Watched } from './page.mjs';
import { publish, serve } from './server.mjs';

const WEIGHT_MAX = 100_000;
const USABLE_MS_MAX = 300;

const [base, out] = process.argv.slice(2);
if (base === undefined || out === undefined) {
  console.error('usage: node looks.mjs BASE_URL OUT_DIR');
  process.exit(2);
}
await mkdir(out, { recursive: true });
const home = new URL(base.endsWith('/') ? base : `${base}/`);
const browser = await launch();
const watched = new Watched(browser, home);
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** What axe finds wrong, by the rules of WCAG 2.2 AA and its own best practices. */
async function audit(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(({ target }) => target.join(' ')).join(', ')}`);
  assert(found.length === 0, found.join('; '));
}

const sizes = new Map();
await check('the whole page weighs less than 100 kB, gzipped', async () => {
  const page = await browser.newPage();
  page.on('response', async (answer) => {
    const { pathname } = new URL(answer.url());
    if (pathname === '/' || pathname.startsWith('/assets/')) sizes.set(pathname, gzipSync(await answer.body()).length);
  });
  await page.goto(home.href, { waitUntil: 'load' });
  await until('live', () => isLive(page));
  const weight = [...sizes.values()].reduce((sum, size) => sum + size, 0);
  assert(sizes.size > 10 && weight < WEIGHT_MAX, `${weight} bytes`);
  await page.context().close();
  return `${weight} bytes in ${sizes.size} files`;
});
/** From the request until everything listens: the median of five. */
async function usableMs() {
  const took = [];
  for (let time = 0; time < 5; time += 1) {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(home.href, { waitUntil: 'load' });
    took.push(await page.evaluate(() => performance.getEntriesByName('usable')[0].startTime));
    await context.close();
  }
  return took.sort((a, b) => a - b)[2];
}
await check('it can be used within 300 ms', async () => {
  const medians = [];
  // Others may be busy with the same processor: what they cost is not the page's.
  while (medians.length < 4 && !(medians.at(-1) < USABLE_MS_MAX)) medians.push(await usableMs());
  const shown = `${medians.map(Math.round)} ms, the median of five`;
  assert(medians.at(-1) < USABLE_MS_MAX, shown);
  return shown;
});

// A few subscribers, one of them slow to its topic's end, and members of a room.
const guests = await (await browser.newContext()).newPage();
await guests.goto(new URL('healthz', home).href);
await guests.evaluate(
  ([address]) => {
    for (const name of ['Ana', 'Ben', 'Cleo']) {
      const socket = new WebSocket(address, 'fanfare.v1.json');
      socket.onopen = () => {
        socket.send(JSON.stringify({ type: 'subscribe', id: 1, topic: 'room', presence: true, member: { name, typing: name === 'Ben' } }));
        socket.send(JSON.stringify({ type: 'subscribe', id: 2, topic: 'host.>' }));
      };
    }
  },
  [new URL('ws', home).href.replace('http', 'ws')],
);
await publish(home, Array.from({ length: 40 }, (_, n) => ({ topic: 'room', data: { from: ['Ana', 'Ben', 'Cleo'][n % 3], text: `message ${n}` } })));

const VIEWS = [
  ['overview', '#/', (page) => page.locator('#busiest a').count()],
  ['topics', '#/topics/host.%3E', async (page) => (await page.locator('#tail-rows > li').count()) > 12],
  ['history', '#/topics/room/history', async (page) => (await page.locator('#history-rows > li').count()) >= 40],
  ['members', '#/topics/room/members', async (page) => (await page.locator('#members-rows tr[aria-rowindex]').count()) >= 3],
  ['connections', '#/connections', async (page) => (await page.locator('#connections-rows tr[aria-rowindex]').count()) >= 3],
];
for (const [size, viewport] of [['desktop', { width: 1280, height: 800 }], ['phone', { width: 390, height: 844 }]]) {
  for (const colorScheme of ['light', 'dark']) {
    const page = await watched.open('', { viewport, colorScheme, hasTouch: size === 'phone' });
    for (const [name, hash, ready] of VIEWS) {
      await check(`${name}, ${size}, ${colorScheme}`, async () => {
        await page.evaluate((to) => (location.hash = to), hash);
        await until('something to see', () => ready(page), 15_000);
        await page.screenshot({ path: join(out, `${name}-${size}-${colorScheme}.png`) });
        await audit(page);
      });
    }
    await check(`a question, ${size}, ${colorScheme}`, async () => {
      await page.locator('#connections-rows button').first().click();
      await page.locator('#confirm[open]').waitFor();
      await page.screenshot({ path: join(out, `confirm-${size}-${colorScheme}.png`) });
      await audit(page);
    });
    await page.context().close();
  }
}

const guarded = await serve({ settings: { 'auth.secrets': '["a secret of thirty-two bytes, ok"]' } });
for (const colorScheme of ['light', 'dark']) {
  await check(`signing in, ${colorScheme}`, async () => {
    const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, colorScheme });
    await page.goto(guarded.home.href);
    await page.locator('#signin-credential').fill('nonsense');
    await page.locator('#signin-credential').press('Enter');
    await until('why not', () => page.locator('#signin-error:not([hidden])').count());
    await page.screenshot({ path: join(out, `signin-desktop-${colorScheme}.png`) });
    await audit(page);
    await page.context().close();
  });
}
await guarded.stop();
await watched.conclude();
await finish(browser);
