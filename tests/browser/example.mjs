// The example `dashboard`, started by its command and looked at.
//
//   node example.mjs OUT_DIR
//
// Prints one line per check and leaves a screenshot in OUT_DIR; exit status 0 or 1. The broker is the command
// in FANFARE.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { assert, check, finish, launch, until } from './browser.mjs';

const [out] = process.argv.slice(2);
if (out === undefined) {
  console.error('usage: node example.mjs OUT_DIR');
  process.exit(2);
}
await mkdir(out, { recursive: true });

/** A port that was free a moment ago. */
async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
const start = fileURLToPath(new URL('../../examples/dashboard/start', import.meta.url));
const example = spawn(start, [String(await freePort()), String(await freePort())], { stdio: ['ignore', 'pipe', 'ignore'] });
const exited = once(example, 'exit');
let said = '';
example.stdout.on('data', (text) => (said += text));
const address = await until('the address', () => /look at (\S+)/.exec(said)?.[1]);
await until('the page', () => fetch(address).then((answer) => answer.ok, () => false));

const browser = await launch();
const page = await browser.newPage({ viewport: { width: 1100, height: 680 } });
const complaints = [];
page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
page.on('pageerror', (error) => complaints.push(String(error)));
await page.goto(address);
const figure = (id) => page.locator(`#${id} output`).textContent();

await check('each card has its figure', async () => {
  await until('connected', async () => (await page.locator('#state').textContent()) === 'connected');
  await until('figures', async () => (await Promise.all(['cpu', 'memory', 'network'].map(figure))).every((text) => /\d/.test(text)));
  await until('a disk', () => page.locator('#disk meter').count());
  assert((await page.locator('#cpu meter').count()) > 0, 'no core');
  return `${await figure('cpu')}, ${await figure('memory')}, ${await figure('network')}`;
});
await check('lines grow', async () => {
  const points = async () => ((await page.locator('#cpu .line').getAttribute('d')) ?? '').split('L').length;
  await until('a few points', async () => (await points()) > 2);
  const before = await points();
  await until('more', async () => (await points()) > before + 3);
});
await check('a page that is loaded again has its line at once', async () => {
  await page.reload();
  await until('a line', async () => ((await page.locator('#cpu .line').getAttribute('d')) ?? '').split('L').length > 6, 2000);
  await page.waitForTimeout(1000);
  await page.screenshot({ path: join(out, 'example-dashboard.png') });
});
await check('no error and no warning in the console', () => assert(complaints.length === 0, complaints.join('; ')));
await check('it ends when it is interrupted, and its broker with it', async () => {
  const broker = new URL(new URL(address).searchParams.get('broker').replace('ws', 'http'));
  example.kill('SIGINT');
  await exited;
  await until('nobody', () => fetch(broker).then(() => false, () => true));
});
await finish(browser);
