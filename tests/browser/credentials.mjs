// The dashboard of a server that asks for credentials: signing in and out, tokens that end, and what
// somebody sees who may not administer.
//
//   node credentials.mjs
//
// Prints one line per check; exit status 0 or 1. The servers are its own, of the command in FANFARE.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { assert, check, finish, launch, until } from './browser.mjs';
import { isLive, Watched } from './page.mjs';
import { apiKey, publish, serve, token } from './server.mjs';

const folder = await mkdtemp(join(tmpdir(), 'fanfare-credentials-'));
const file = join(folder, 'fanfare.toml');
const operator = apiKey('operator', '--admin', '--subscribe', '>', '--publish', '>', '--history', '>', '--presence', '>');
await writeFile(file, `[auth]\nsecrets = ["a secret of thirty-two bytes, ok"]\nleeway_ms = 0\nexpiring_ms = 5_000\n[keep_alive]\nheartbeat_ms = 1_000\n\n${operator.lines}\n`);
const all = ['--subscribe', '>', '--publish', '>', '--history', '>', '--presence', '>'];
const admin = (...more) => token(file, '--subject', 'root', '--admin', ...all, ...more);

const server = await serve({ args: ['--config', file] });
const { home } = server;
const browser = await launch();
const watched = new Watched(browser, home);
const expected = (text) => /Failed to load resource/.test(text);
const secrets = [operator.key];

/** Opens the page and shows a credential. */
async function signIn(credential, hash = '', options = {}) {
  const page = await watched.open(hash, { expected, ...options });
  await until('the form', () => page.locator('#signin:not([hidden])').count());
  if (credential !== undefined) {
    secrets.push(credential);
    await page.locator('#signin-credential').fill(credential);
    await page.locator('#signin-credential').press('Enter');
  }
  return page;
}

await check('who shows nothing is asked, and sees nothing', async () => {
  const page = await watched.open('', { expected });
  const sockets = [];
  page.on('websocket', (socket) => sockets.push(socket.url()));
  await until('the form', () => page.locator('#signin:not([hidden])').count());
  for (const name of ['overview', 'topics', 'connections', 'views']) assert(await page.locator(`#${name}`).isHidden(), `${name} is seen`);
  assert((await page.locator('#status-text').textContent()) === 'Signed out', 'the state is another');
  assert((await page.evaluate(() => document.activeElement.id)) === 'signin-credential', 'the field is not focused');
  await page.reload({ waitUntil: 'load' });
  await until('the form', () => page.locator('#signin:not([hidden])').count());
  assert(sockets.length === 0, `connected: ${sockets}`);
  await page.context().close();
});
await check('a credential that does not count is refused, and can be corrected', async () => {
  const page = await signIn('not.a.token');
  await until('why', async () => /unauthorized/.test(await page.locator('#signin-error').textContent()));
  assert((await page.locator('#signin-credential').getAttribute('aria-invalid')) === 'true', 'the field does not say so');
  await page.locator('#signin-credential').fill(admin());
  await page.locator('#signin-send').click();
  await until('live', () => isLive(page));
  await page.context().close();
});

const carried = [];
const page = await signIn(admin(), '', { viewport: { width: 1280, height: 800 } });
page.on('request', async (request) => carried.push([request.url(), (await request.allHeaders()).authorization]));
page.on('websocket', (socket) => carried.push([socket.url()]));
await check('an administrator sees everything', async () => {
  await until('live', () => isLive(page));
  await until('figures', async () => /\d/.test(await page.locator('[data-figure="memory"] output').textContent()));
  assert((await page.locator('#account-who').textContent()) === 'root', await page.locator('#account').textContent());
  await until('the end', async () => /^59 min left$|^1 h left$/.test(await page.locator('#account-left').textContent()));
  await page.locator('#to-connections').click();
  await until('who is connected', async () => /root/.test(await page.locator('#connections-rows .subject').first().textContent()));
});
await check('the token is kept for the tab, and shown in headers only', async () => {
  await page.reload({ waitUntil: 'load' });
  await until('live', () => isLive(page));
  await until('a call', () => carried.some(([url]) => url.includes('/v1/connections')));
  const calls = carried.filter(([url]) => url.includes('/v1/'));
  assert(calls.every(([, shown]) => shown?.startsWith('Bearer ')), 'a call without');
  assert(carried.every(([url]) => !secrets.some((secret) => url.includes(secret))), 'an address has it');
  const [inTab, beyond, cookies] = await page.evaluate(() => [sessionStorage.length, JSON.stringify(localStorage), document.cookie]);
  assert(inTab === 1 && !beyond.includes('ey') && cookies === '', `${inTab} ${beyond} ${cookies}`);
  const neighbour = await watched.open('', { context: page.context(), expected });
  await until('the form', () => neighbour.locator('#signin:not([hidden])').count());
  await neighbour.close();
});
await check('signing out forgets it', async () => {
  await page.locator('#account-out').click();
  await until('the form', () => page.locator('#signin:not([hidden])').count());
  assert((await page.evaluate(() => sessionStorage.length)) === 0, 'it is still kept');
  await page.context().close();
});

await check('a token that ends soon is renewed, and everything goes on', async () => {
  const page = await signIn(admin('--seconds', '8'), '#/topics/going.on');
  await until('live', () => isLive(page));
  await until('the warning', async () => /ends soon/.test(await page.locator('#notice-text').textContent()));
  const { connections: [before] } = await listed();
  await page.locator('#notice-act').click();
  await page.locator('#signin-credential').fill(admin());
  await page.locator('#signin-send').click();
  await until('no warning', () => page.locator('#notice').isHidden());
  // Longer than the first token has left.
  await page.waitForTimeout(5500);
  assert(await isLive(page), 'not live any more');
  const { connections: [after] } = await listed();
  assert(before.connection === after.connection, 'another connection');
  await page.context().close();
});
await check('a token that ends is asked for again', async () => {
  const page = await signIn(admin('--seconds', '6'), '#/topics/going.on');
  await until('live', () => isLive(page));
  await until('the form', () => page.locator('#signin:not([hidden])').count());
  await page.locator('#signin-credential').fill(admin());
  await page.locator('#signin-send').click();
  await until('live', () => isLive(page));
  await publish(home, [{ topic: 'going.on', data: 1 }], { 'x-api-key': operator.key });
  await until('it is followed again', async () => (await page.locator('#tail-rows > li.message').count()) === 1);
  await page.context().close();
});

await check('without the admin right one is told what is missing, and may do the rest', async () => {
  const page = await signIn(token(file, '--subject', 'ana', '--subscribe', 'news.>', '--publish', 'news.a', '--history', 'news.a'));
  await until('live', () => isLive(page));
  assert(/admin right/.test(await page.locator('#limited').textContent()), 'the overview says nothing');
  assert(await page.locator('#figures').isHidden(), 'figures that never come');
  await page.locator('#to-connections').click();
  await until('connections say it', async () => /admin right/.test(await page.locator('#connections-blank').textContent()));
  await page.locator('#to-topics').click();
  assert(/admin right/.test(await page.locator('#topics-blank').textContent()), 'topics say nothing');
  await page.locator('#topic-filter').fill('news.a');
  await page.locator('#topic-filter').press('Enter');
  await until('waiting', async () => /Waiting for news.a/.test(await page.locator('#tail-blank').textContent()));
  await page.locator('#publish-data').fill('1');
  await page.locator('#publish-send').click();
  await until('it arrives', async () => (await page.locator('#tail-rows > li.message').count()) === 1);
  await page.locator('#tab-history').click();
  await until('its history', async () => (await page.locator('#history-rows > li').count()) === 1);
  await page.locator('#tab-members').click();
  await until('no members', async () => /forbidden/.test(await page.locator('#members-error').textContent()));
  await page.evaluate(() => (location.hash = '#/topics/secret'));
  await until('the refusal', async () => /forbidden/.test(await page.locator('#tail-error').textContent()));
  await page.context().close();
});
await check('an API key works too, over HTTP', async () => {
  const page = await signIn(operator.key, '#/topics/by.key');
  await until('live', () => isLive(page));
  await until('topics', () => page.locator('#topics-rows tr[data-topic="by.key"]').count());
  await page.locator('#publish-data').fill('{"big": 18446744073709551615}');
  await page.locator('#publish-send').click();
  await until('it arrives', async () => /18446744073709551615/.test(await page.locator('#tail-rows').textContent()));
  await page.evaluate(() => (location.hash = '#/topics/by.*'));
  await until('no patterns', async () => /takes a WebSocket/.test(await page.locator('#tail-error').textContent()));
  await page.evaluate(() => (location.hash = '#/topics/by.key/history'));
  await until('its history', async () => (await page.locator('#history-rows > li').count()) === 1);
  await page.locator('#to-overview').click();
  await until('figures', async () => /\d/.test(await page.locator('[data-figure="memory"] output').textContent()));
  await page.context().close();
});
await server.stop();

await check('the anonymous see what they may, and where to sign in', async () => {
  const open = await serve({ args: ['--config', file], settings: { 'anonymous.subscribe': 'public.>' } });
  const visitors = new Watched(browser, open.home);
  const page = await visitors.open('#/topics/public.a', { expected });
  await until('live', () => isLive(page));
  await publish(open.home, [{ topic: 'public.a', data: 'hello' }], { 'x-api-key': operator.key });
  await until('a message', async () => (await page.locator('#tail-rows > li.message').count()) === 1);
  await page.locator('#account-in').click();
  await page.locator('#signin-cancel').click();
  await page.locator('#account-in').click();
  await page.locator('#signin-credential').fill(admin());
  await page.locator('#signin-send').click();
  await until('the list', () => page.locator('#topics-rows tr[data-topic="public.a"]').count());
  assert(visitors.complaints.length === 0, visitors.complaints.join('; '));
  await open.stop();
});
await watched.conclude();
await rm(folder, { recursive: true });
await finish(browser);

async function listed() {
  return (await fetch(new URL('v1/connections', home), { headers: { 'x-api-key': operator.key } })).json();
}
