// The dashboard where not everything is well: nothing there yet, an answer that does not come or is no
// answer, a server that goes and comes back.
//
//   node states.mjs OUT_DIR
//
// Prints one line per check and leaves a screenshot of each state in OUT_DIR; exit status 0 or 1. The servers are
// its own, of the command in FANFARE.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { assert, check, finish, launch, until } from './browser.mjs';
import { isLive, Watched } from './page.mjs';
import { publish, serve } from './server.mjs';

const [out] = process.argv.slice(2);
if (out === undefined) {
  console.error('usage: node states.mjs OUT_DIR');
  process.exit(2);
}
await mkdir(out, { recursive: true });
const picture = (page, name) => page.screenshot({ path: join(out, `state-${name}.png`) });

let server = await serve();
const { home, port } = server;
const browser = await launch();
const watched = new Watched(browser, home);
// What the browser itself says of an answer that it did not get.
const expected = (text) => /Failed to load resource|WebSocket connection to/.test(text);

await check('what is on its way is said to be', async () => {
  const context = await browser.newContext();
  let answer;
  const asked = new Promise((resolve) => (answer = resolve));
  await context.route('**/v1/topics?limit=1000*', async (route) => {
    await asked;
    await route.continue();
  });
  const page = await watched.open('#/topics', { context });
  await until('live', () => isLive(page));
  assert(/Loading/.test(await page.locator('#topics-blank').textContent()), 'nothing is said');
  await picture(page, 'loading');
  answer();
  await until('the list', () => page.locator('#topics-rows tr[data-topic="$stats"]').count());
  await context.close();
});
await check('an empty server says how to fill it', async () => {
  const context = await browser.newContext();
  // The page's own subscription makes a topic of the server's.
  await context.route('**/v1/topics*', (route) => route.fulfill({ json: { topics: [] } }));
  const page = await watched.open('#/topics', { context });
  await until('the hint', async () => /fanfare pub news/.test(await page.locator('#topics-blank').textContent()));
  assert(/Nothing followed/.test(await page.locator('#tail-blank').textContent()), 'the tail does not say what to do');
  await picture(page, 'empty');
  await page.evaluate(() => (location.hash = '#/topics/quiet'));
  await until('what would be seen', async () => /fanfare pub quiet/.test(await page.locator('#tail-blank').textContent()));
  await page.locator('#tab-history').click();
  await until('no history', async () => /Nothing held/.test(await page.locator('#history-blank').textContent()));
  await page.locator('#tab-members').click();
  await until('no members', async () => /Nobody/.test(await page.locator('#members-blank').textContent()));
  await context.close();
});
for (const [what, answer, said] of [
  ['a refusal', { status: 503, json: { error: { code: 'overloaded', message: 'too much to do' } } }, /overloaded: too much to do/],
  ["a proxy's page", { status: 502, contentType: 'text/html', body: '<h1>Bad gateway</h1>' }, /status 502/],
  ['nonsense', { status: 200, json: { topics: 'none' } }, /no list of topics/],
  ['an empty answer', { status: 200, body: '' }, /no list of topics/],
]) {
  await check(`${what} in place of a list is said, and passes`, async () => {
    const context = await browser.newContext();
    let wrong = true;
    await context.route('**/v1/topics?limit=1000*', (route) => (wrong ? route.fulfill(answer) : route.continue()));
    const page = await watched.open('#/topics', { context, expected });
    await until('it is said', async () => said.test(await page.locator('#topics-error').textContent()));
    assert(!/Loading/.test(await page.locator('#topics-blank').textContent()), 'it is still said to be loading');
    await picture(page, `error-${what.replace(/\W+/g, '-')}`);
    wrong = false;
    await until('it has passed', async () => (await page.locator('#topics-error').isHidden()) && (await page.locator('#topics-rows tr[data-topic]').count()) > 0);
    await context.close();
  });
}
await check('a list of connections that is no list is said', async () => {
  const context = await browser.newContext();
  await context.route('**/v1/connections*', (route) => route.fulfill({ json: { total: 1 } }));
  const page = await watched.open('#/connections', { context, expected });
  await until('it is said', async () => /no list of connections/.test(await page.locator('#connections-error').textContent()));
  await context.close();
});

const page = await watched.open('#/topics/kept', { expected });
await until('live', () => isLive(page));
const lines = page.locator('#tail-rows > li');
await check('a server that is killed is missed, and found again', async () => {
  await publish(home, [{ topic: 'kept', data: 'before' }]);
  await until('a message', async () => (await lines.count()) === 1);
  await server.stop();
  await until('it is said', () => page.locator('#status[data-state="waiting"]').count());
  await until('the notice', async () => /does not answer/.test(await page.locator('#notice-text').textContent()));
  assert(await page.locator('body.stale').count(), 'what is old does not look it');
  assert(await page.locator('#publish-send').isDisabled(), 'publishing seems possible');
  assert(!(await page.locator('#uptime').isVisible()), 'it seems to be up');
  await picture(page, 'disconnected');

  server = await serve({ port });
  await page.locator('#notice-act').click().catch(() => {});
  await until('live', () => isLive(page), 15_000);
  assert(await page.locator('#notice').isHidden(), 'the notice stays');
  await publish(home, [{ topic: 'kept', data: 'after' }]);
  // The numbering began anew, and is said to have.
  await until('what came', async () => /after/.test(await lines.first().textContent()));
  assert((await page.locator('#tail-rows > li.gap').count()) === 1, 'no word of what is missing');
});
await check('a server that restarts says when to come back', async () => {
  await server.stop('SIGTERM');
  await until('the notice', async () => /is restarting/.test(await page.locator('#notice-text').textContent()));
  await picture(page, 'restarting');
  server = await serve({ port });
  await until('live', async () => {
    await page.locator('#notice-act').click({ timeout: 200 }).catch(() => {});
    return isLive(page);
  }, 15_000);
});
await check('whom an operator removes does not come back by itself, and can', async () => {
  const { connections } = await (await fetch(new URL('v1/connections', home))).json();
  for (const { connection } of connections) await fetch(new URL(`v1/connections/${connection}`, home), { method: 'DELETE' });
  await until('closed', () => page.locator('#status[data-state="closed"]').count());
  assert((await page.locator('#notice-act').textContent()) === 'Connect again', await page.locator('#notice-act').textContent());
  await picture(page, 'removed');
  await page.locator('#notice-act').click();
  await until('live', () => isLive(page));
});
await check('a page that is opened without a server waits for one', async () => {
  const late = await watched.open('#/', { expected });
  await until('live', () => isLive(late));
  await late.route('**/v1/topics*', (route) => route.abort());
  await late.reload({ waitUntil: 'load' });
  await until('the notice', async () => /cannot be asked/.test(await late.locator('#notice-text').textContent()));
  await late.unroute('**/v1/topics*');
  await late.locator('#notice-act').click();
  await until('live', () => isLive(late));
});
await watched.conclude();
await server.stop();
await finish(browser);
