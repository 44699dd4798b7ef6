// Walks through the dashboard of a server that was started with --demo, as a visitor would.
//
//   node dashboard.mjs BASE_URL OUT_DIR
//
// Prints one line per check and leaves four screenshots in OUT_DIR; exit status 0 or 1.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { assert, check, finish, launch, until } from './browser.mjs';

const [base, out] = process.argv.slice(2);
if (base === undefined || out === undefined) {
  console.error('usage: node dashboard.mjs BASE_URL OUT_DIR');
  process.exit(2);
}
await mkdir(out, { recursive: true });

const SIZES = [
  ['desktop', { width: 1280, height: 800 }],
  ['phone', { width: 390, height: 844 }],
];
const home = new URL(base.endsWith('/') ? base : `${base}/`);
const browser = await launch();
const complaints = [];
const foreign = [];

async function open(options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('response', (answer) => answer.status() >= 400 && complaints.push(`${answer.status()} ${answer.url()}`));
  const stray = (address) => {
    const { protocol, host } = new URL(address);
    if (protocol !== 'data:' && host !== home.host) foreign.push(address);
  };
  page.on('request', (request) => stray(request.url()));
  page.on('websocket', (socket) => stray(socket.url()));
  // Playwright hears CSP violations as console errors only where the browser prints them; ask the page too.
  await page.addInitScript(() => {
    globalThis.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => globalThis.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  await page.goto(home.href, { waitUntil: 'load' });
  return page;
}

const page = await open({ viewport: SIZES[0][1], colorScheme: 'light' });
const figure = (name) => page.locator(`[data-figure="${name}"] output`).textContent();
const number = (text) => Number(text.replace(/[^\d.]/g, ''));
const row = (topic) => page.locator(`#topics-rows tr[data-topic="${topic}"]`);
const rows = page.locator('#tail-rows > li.message');

await check('the page has a policy that allows nothing inline', async () => {
  const { headers } = await fetch(home);
  const policy = headers.get('content-security-policy') ?? '';
  assert(/default-src 'none'/.test(policy) && !/unsafe/.test(policy), `policy: ${policy}`);
});
await check('it goes live', () => until('live', () => page.locator('#status[data-state="live"]').count()).then(() => undefined));
await check('figures arrive', async () => {
  await until('a rate', async () => number(await figure('publishes')) > 0);
  const seen = await Promise.all(['connections', 'subscriptions', 'topics', 'memory'].map(figure));
  assert(seen.every((text) => number(text) > 0), seen.join(' '));
  return seen.join(' ');
});
await check('figures move', async () => {
  const read = () => page.locator('#figures').textContent();
  const before = await read();
  await until('another text', async () => (await read()) !== before, 5000);
});
await check('sparklines are drawn', () => until('a line', async () => ((await page.locator('[data-figure="deliveries"] .line').getAttribute('d')) ?? '').includes('L')).then(() => undefined));
await check('topics of the demonstration are listed', () =>
  until('host.*', async () => {
    const names = (await page.locator('#topics-rows tr').evaluateAll((nodes) => nodes.map((node) => node.dataset.topic))).filter((name) => name.startsWith('host.'));
    return names.length >= 3 && names.join(' ');
  }));
await check('a topic has a rate', async () => {
  const text = () => row('host.cpu').locator('td.rate').textContent();
  await until('a rate above zero', async () => number(await text()) > 0);
  return `${await text()} a second`;
});
await check('clicking a topic follows it', async () => {
  await row('host.cpu').click();
  await until('messages', async () => (await rows.count()) >= 3);
  assert((await page.locator('#tail-filter').inputValue()) === 'host.cpu', 'the filter does not say so');
  const offsets = await page.locator('#tail-rows .at').evaluateAll((nodes) => nodes.map((node) => Number(node.textContent.slice(1))));
  assert(offsets.every((offset, at) => at === 0 || offset === offsets[at - 1] - 1), `not newest first and whole: ${offsets}`);
});
await check('a message opens', async () => {
  // Paused, or the row would move away from under the pointer.
  await page.locator('#tail-pause').click();
  await rows.first().locator('summary').click();
  const text = await rows.first().locator('pre').textContent();
  JSON.parse(text);
  const before = await rows.count();
  await page.waitForTimeout(700);
  assert((await rows.count()) === before, 'paused, and still it moves');
  await page.locator('#tail-pause').click();
  await until('more rows', async () => (await rows.count()) > before);
});
await check('clear empties the tail', async () => {
  const before = await rows.count();
  await page.locator('#tail-clear').click();
  await until('fewer rows', async () => (await rows.count()) < before);
});
await check('a pattern is followed', async () => {
  await page.locator('#tail-filter').fill('host.>');
  await page.locator('#tail-filter').press('Enter');
  await until('two topics', async () => new Set(await page.locator('#tail-rows .topic').allTextContents()).size >= 2);
});
await check('publishing works, and arrives', async () => {
  await page.locator('#tail-filter').fill('news');
  await page.locator('#tail-filter').press('Enter');
  await until('the empty tail', async () => /Waiting for news/.test(await page.locator('#tail-blank').textContent()));
  await page.locator('#publish-topic').fill('news');
  await page.locator('#publish-data').fill('{"hello": "<b>browser</b>", "big": 18446744073709551615}');
  await page.locator('#publish-send').click();
  await until('a result', async () => /Published to news as #\d+/.test(await page.locator('#publish-result').textContent()));
  await until('the message', async () => (await rows.count()) > 0);
  const text = await rows.first().locator('.value').textContent();
  assert(text.includes('<b>browser</b>') && text.includes('18446744073709551615'), text);
  return text;
});
await check('a refused publish shows the code', async () => {
  await page.locator('#publish-topic').fill('$stats');
  await page.locator('#publish-data').press('Control+Enter');
  await until('the code', async () => /forbidden/.test(await page.locator('#publish-result').textContent()));
});
await check('a bad pattern shows the code', async () => {
  await page.locator('#tail-filter').fill('a..b');
  await page.locator('#tail-filter').press('Enter');
  await until('the code', async () => /bad_topic/.test(await page.locator('#tail-error').textContent()));
});
await check('the prefix filters', async () => {
  await page.locator('#topics-prefix').fill('host.m');
  await until('one row', async () => (await page.locator('#topics-rows tr').count()) === 1);
  await page.locator('#topics-prefix').fill('no-such-topic');
  await until('no row', async () => /No match/.test(await page.locator('#topics-blank').textContent()));
  await page.locator('#topics-prefix').fill('');
  await until('all rows', async () => (await page.locator('#topics-rows tr').count()) >= 4);
});
await check('the table sorts', async () => {
  await page.locator('[data-sort="topic"]').click();
  const names = await page.locator('#topics-rows tr').evaluateAll((nodes) => nodes.map((node) => node.dataset.topic));
  assert(names.join() === [...names].sort().reverse().join(), names.join());
  await page.locator('[data-sort="topic"]').click();
});
await check('the theme can be switched', async () => {
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const before = await ground();
  await page.locator('#theme').click();
  assert((await ground()) !== before, 'the same ground');
});
await check('nothing is wider than a phone, and all of it can be tabbed to', async () => {
  const narrow = await open({ viewport: { width: 320, height: 700 } });
  await until('rows', () => narrow.locator('#tail-rows > li').count());
  const width = await narrow.evaluate(() => document.documentElement.scrollWidth);
  assert(width <= 320, `${width} wide`);
  const met = new Set();
  for (let press = 0; press < 60; press += 1) {
    await narrow.keyboard.press('Tab');
    met.add(await narrow.evaluate(() => document.activeElement?.id));
  }
  for (const id of ['theme', 'topics-prefix', 'tail-filter', 'tail-pause', 'tail-clear']) assert(met.has(id), `${id} was not met`);
  await narrow.context().close();
});
await page.context().close();

for (const [size, viewport] of SIZES) {
  for (const colorScheme of ['light', 'dark']) {
    await check(`screenshot ${size}-${colorScheme}`, async () => {
      const shown = await open({ viewport, colorScheme });
      await until('a lively page', async () => (await shown.locator('#tail-rows > li').count()) > 12, 15_000);
      // The lines want a few seconds before they are lines.
      await shown.waitForTimeout(9000);
      await shown.screenshot({ path: join(out, `${size}-${colorScheme}.png`) });
      const violations = await shown.evaluate(() => globalThis.violations);
      assert(violations.length === 0, violations.join('; '));
      await shown.context().close();
    });
  }
}
await check('no error and no warning in the console', () => assert(complaints.length === 0, complaints.join('; ')));
await check('no request to a foreign host', () => assert(foreign.length === 0, foreign.join('; ')));
await finish(browser);
