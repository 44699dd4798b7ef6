// Chromium's own EventSource as a client of fanfare: from a page of the server, through a connection that is
// cut, and from foreign pages.
//
//   node events.mjs BASE_URL
//
// Prints one line per check; exit status 0 or 1.

import { createServer } from 'node:http';
import { connect, createServer as createTunnel } from 'node:net';
import { isDeepStrictEqual } from 'node:util';

import { assert, check, finish, launch, until } from './browser.mjs';

const [base] = process.argv.slice(2);
if (base === undefined) {
  console.error('usage: node events.mjs BASE_URL');
  process.exit(2);
}
const home = new URL(base.endsWith('/') ? base : `${base}/`);
const topic = `browser.events.${Date.now().toString(36)}`;

/** A way to the server that can be cut. */
const pairs = new Set();
const tunnel = createTunnel((near) => {
  const far = connect(Number(home.port), home.hostname);
  const pair = [near, far];
  pairs.add(pair);
  for (const [socket, other] of [[near, far], [far, near]]) {
    socket.pipe(other);
    socket.on('error', () => {});
    socket.on('close', () => {
      other.destroy();
      pairs.delete(pair);
    });
  }
});
await new Promise((listening) => tunnel.listen(0, '127.0.0.1', listening));
const near = `http://127.0.0.1:${tunnel.address().port}/`;

const browser = await launch('--host-resolver-rules=MAP foreign.example 127.0.0.1');
const page = await browser.newPage();
await page.goto(near);

/** Opens a stream in the page, which keeps what it hears. */
function open(name, address, into = page) {
  return into.evaluate(
    ([name, address]) => {
      const source = new EventSource(address);
      const kept = { source, heard: [], opened: 0, failed: 0 };
      globalThis.kept = { ...globalThis.kept, [name]: kept };
      for (const kind of ['subscribed', 'message', 'gap', 'goodbye']) {
        source.addEventListener(kind, ({ data, lastEventId }) => kept.heard.push({ kind, id: lastEventId, ...JSON.parse(data) }));
      }
      source.onopen = () => (kept.opened += 1);
      source.onerror = () => (kept.failed += 1);
    },
    [name, address],
  );
}
const look = (name, from = page) =>
  from.evaluate((name) => {
    const { heard, opened, failed, source } = globalThis.kept[name];
    return { heard, opened, failed, state: source.readyState };
  }, name);
const heard = (name, count) => until(`${count} events`, async () => ((await look(name)).heard.length >= count ? (await look(name)).heard : undefined), 15_000);

async function publish(data) {
  const answer = await fetch(new URL('v1/publish', home), { method: 'POST', body: JSON.stringify({ topic, data }), headers: { 'content-type': 'application/json' } });
  assert(answer.status === 200, `status ${answer.status}`);
}

const data = { text: 'ä\n€😀', list: [null, true, -1, 0.5] };
await check('a page follows a topic', async () => {
  await open('own', `v1/events?topic=${topic}&topic=${topic}.other`);
  await heard('own', 2);
  await publish(data);
  const [first, second, message] = await heard('own', 3);
  assert(first.kind === 'subscribed' && second.kind === 'subscribed' && first.offset === 0, JSON.stringify([first, second]));
  assert(message.kind === 'message' && message.type === 'message' && message.offset === 1, JSON.stringify(message));
  assert(isDeepStrictEqual(message.data, data), 'other data');
  assert(message.id.startsWith(`${message.epoch}:1,`), message.id);
});
await check('a stream that is cut off goes on by itself, without a hole', async () => {
  for (const pair of pairs) pair.forEach((socket) => socket.destroy());
  for (let number = 0; number < 5; number += 1) await publish(number);
  const [again, other, ...messages] = (await heard('own', 10)).slice(3);
  assert(again.kind === 'subscribed' && again.recovered && again.offset === 1, JSON.stringify(again));
  assert(other.kind === 'subscribed' && other.recovered && other.offset === 0, JSON.stringify(other));
  assert(isDeepStrictEqual(messages.map(({ offset }) => offset), [2, 3, 4, 5, 6]), JSON.stringify(messages));
  const { opened, state } = await look('own');
  assert(opened === 2 && state === 1, `opened ${opened} times, state ${state}`);
});
await check('an error before the stream begins is final', async () => {
  await open('wrong', 'v1/events?topic=a.*');
  await until('the error', async () => (await look('wrong')).state === 2);
});

// A page that another site could serve.
const elsewhere = createServer((_request, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>elsewhere</title>'));
await new Promise((listening) => elsewhere.listen(0, '127.0.0.1', listening));
const address = new URL(`v1/events?topic=${topic}`, home).href;

await check('a page from a foreign origin is refused', async () => {
  const foreign = await browser.newPage();
  await foreign.goto(`http://foreign.example:${elsewhere.address().port}/`);
  await open('foreign', address, foreign);
  await until('the error', async () => (await look('foreign', foreign)).state === 2);
  assert((await look('foreign', foreign)).heard.length === 0, 'it has heard something');
});
await check('a page of another loopback port is served', async () => {
  const neighbour = await browser.newPage();
  await neighbour.goto(`http://127.0.0.1:${elsewhere.address().port}/`);
  await open('neighbour', address, neighbour);
  await until('the stream', async () => (await look('neighbour', neighbour)).heard.length === 1);
});
elsewhere.close();
tunnel.close();
await finish(browser);
