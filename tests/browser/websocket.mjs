// Chromium's own WebSocket as a client of fanfare, in JSON and in MessagePack, from a page of the
// server and from foreign pages.
//
//   node websocket.mjs BASE_URL
//
// Prints one line per check; exit status 0 or 1.

import { createServer } from 'node:http';
import { isDeepStrictEqual } from 'node:util';

import { assert, check, finish, launch, until } from './browser.mjs';
import { decode } from './msgpack.mjs';

const [base] = process.argv.slice(2);
if (base === undefined) {
  console.error('usage: node websocket.mjs BASE_URL');
  process.exit(2);
}
const home = new URL(base.endsWith('/') ? base : `${base}/`);
const url = new URL('ws', home);
url.protocol = home.protocol === 'https:' ? 'wss:' : 'ws:';
const topic = `browser.${Date.now().toString(36)}`;

// The name is foreign, the address is not: a page from another address space would be stopped by
// Chromium itself, and that the server refuses it would go unseen.
const browser = await launch('--host-resolver-rules=MAP foreign.example 127.0.0.1');
const page = await browser.newPage();
await page.goto(home.href);

/** Opens a socket in the page; what it receives is kept there, binary as lists of bytes. */
function open(name, protocols, into = page) {
  return into.evaluate(
    ([name, address, protocols]) =>
      new Promise((resolve) => {
        const socket = protocols === undefined ? new WebSocket(address) : new WebSocket(address, protocols);
        socket.binaryType = 'arraybuffer';
        const kept = { socket, heard: [], events: [] };
        globalThis.kept = { ...globalThis.kept, [name]: kept };
        socket.onmessage = ({ data }) => kept.heard.push(typeof data === 'string' ? data : [...new Uint8Array(data)]);
        for (const event of ['open', 'error', 'close']) {
          socket.addEventListener(event, ({ code }) => {
            kept.events.push(code === undefined ? event : `${event} ${code}`);
            if (event !== 'error') resolve({ events: kept.events, protocol: socket.protocol });
          });
        }
      }),
    [name, url.href, protocols],
  );
}

/** Everything a socket has heard, as values. */
async function heard(name) {
  const frames = await page.evaluate((name) => globalThis.kept[name].heard, name);
  return frames.map((frame) => (typeof frame === 'string' ? JSON.parse(frame) : decode(Uint8Array.from(frame))));
}

const say = (name, frame) => page.evaluate(([name, frame]) => globalThis.kept[name].socket.send(typeof frame === 'string' ? frame : Uint8Array.from(frame)), [name, frame]);
const event = (name, wanted) => until(`${name}: ${JSON.stringify(wanted)}`, async () => (await heard(name)).find((got) => Object.entries(wanted).every(([key, value]) => isDeepStrictEqual(got[key], value))));

const utf8 = (text) => [...new TextEncoder().encode(text)];
/** A MessagePack string of up to 31 bytes, or of up to 255. */
const str = (text) => (utf8(text).length < 32 ? [0xa0 | utf8(text).length, ...utf8(text)] : [0xd9, utf8(text).length, ...utf8(text)]);

await check('JSON is negotiated, welcome comes first', async () => {
  const { events, protocol } = await open('json', ['fanfare.v1.json']);
  assert(events[0] === 'open' && protocol === 'fanfare.v1.json', `${events} ${protocol}`);
  await event('json', { type: 'welcome', protocol: 1 });
  assert((await heard('json'))[0].type === 'welcome', 'not the first');
});
await check('MessagePack is negotiated, welcome comes first', async () => {
  const { events, protocol } = await open('packed', ['fanfare.v1.msgpack']);
  assert(events[0] === 'open' && protocol === 'fanfare.v1.msgpack', `${events} ${protocol}`);
  await event('packed', { type: 'welcome', protocol: 1 });
});
await check("of several subprotocols the client's order decides", async () => {
  const { protocol } = await open('both', ['fanfare.v2.none', 'fanfare.v1.msgpack', 'fanfare.v1.json']);
  assert(protocol === 'fanfare.v1.msgpack', protocol);
});
await check('both subscribe', async () => {
  await say('json', JSON.stringify({ type: 'subscribe', id: 1, topic }));
  // {"type":"subscribe","id":1,"topic":…}
  await say('packed', [0x83, ...str('type'), ...str('subscribe'), ...str('id'), 0x01, ...str('topic'), ...str(topic)]);
  for (const name of ['json', 'packed']) await event(name, { type: 'subscribed', id: 1, topic, offset: 0 });
});

const DATA = { text: 'Zoë ✓ 𝄞', list: [1, -1, 0.5, true, false, null], 'nested map': { empty: {}, none: [] }, large: 9007199254740991 };
await check('what JSON publishes reaches both, equal', async () => {
  await say('json', JSON.stringify({ type: 'publish', id: 2, topic, data: DATA }));
  await event('json', { type: 'published', id: 2, topic, offset: 1 });
  const [json, packed] = [await event('json', { type: 'message', offset: 1 }), await event('packed', { type: 'message', offset: 1 })];
  assert(isDeepStrictEqual(json.data, DATA), `JSON: ${JSON.stringify(json.data)}`);
  assert(isDeepStrictEqual(packed.data, DATA), `MessagePack: ${JSON.stringify(packed.data)}`);
  assert(json.epoch !== undefined && json.epoch === packed.epoch, 'the first message carries the epoch');
});
await check('what MessagePack publishes reaches both, equal', async () => {
  // {"hi":[1,-2,1.5,"ü",{"deep":nil}],"on":true}
  const data = [0x82, ...str('hi'), 0x95, 0x01, 0xfe, 0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0, ...str('ü'), 0x81, ...str('deep'), 0xc0, ...str('on'), 0xc3];
  await say('packed', [0x84, ...str('type'), ...str('publish'), ...str('id'), 0x02, ...str('topic'), ...str(topic), ...str('data'), ...data]);
  await event('packed', { type: 'published', id: 2, topic, offset: 2 });
  const [json, packed] = [await event('json', { type: 'message', offset: 2 }), await event('packed', { type: 'message', offset: 2 })];
  const wanted = { hi: [1, -2, 1.5, 'ü', { deep: null }], on: true };
  assert(isDeepStrictEqual(json.data, wanted), `JSON: ${JSON.stringify(json.data)}`);
  assert(isDeepStrictEqual(packed.data, wanted), `MessagePack: ${JSON.stringify(packed.data)}`);
});
await check('a text frame is JSON on a MessagePack connection too', async () => {
  await say('packed', JSON.stringify({ type: 'ping', id: 'text' }));
  await event('packed', { type: 'pong', id: 'text' });
});
await check('offsets rose by one, nothing came twice', async () => {
  for (const name of ['json', 'packed']) {
    const offsets = (await heard(name)).filter(({ type }) => type === 'message').map(({ offset }) => offset);
    assert(isDeepStrictEqual(offsets, [1, 2]), `${name}: ${offsets}`);
  }
});
await check('after unsubscribing nothing comes', async () => {
  await say('json', JSON.stringify({ type: 'unsubscribe', id: 3, topic }));
  await event('json', { type: 'unsubscribed', id: 3, topic });
  await say('json', JSON.stringify({ type: 'publish', id: 4, topic, data: 'unheard' }));
  await event('json', { type: 'published', id: 4, offset: 3 });
  await event('packed', { type: 'message', offset: 3 });
  assert((await heard('json')).every(({ type, offset }) => type !== 'message' || offset < 3), 'it came');
});
await check('a close is answered with its code', async () => {
  await page.evaluate(() => globalThis.kept.json.socket.close(1000, 'done'));
  await until('the close', () => page.evaluate(() => globalThis.kept.json.events.includes('close 1000')));
});

/** A counter of the server. */
async function counter(name) {
  const text = await (await fetch(new URL('metrics', home))).text();
  return Number(text.match(new RegExp(`^fanfare_${name}_total (\\d+)$`, 'm'))[1]);
}
await check('Chromium agrees on compression, and what is compressed arrives both ways', async () => {
  const [deflated, from, to, inflated] = [await counter('deflated'), await counter('deflated_from_bytes'), await counter('deflated_to_bytes'), await counter('inflated')];
  const { events } = await open('dense', ['fanfare.v1.json']);
  assert(events[0] === 'open', `events: ${events}`);
  const extensions = await page.evaluate(() => globalThis.kept.dense.socket.extensions);
  assert(extensions === 'permessage-deflate; server_no_context_takeover; client_no_context_takeover', extensions);

  const data = Array.from({ length: 200 }, (_, at) => ({ symbol: 'EURUSD', bid: at / 8, text: 'Zoë ✓ 𝄞' }));
  await say('dense', JSON.stringify({ type: 'subscribe', id: 1, topic: `${topic}.dense` }));
  await event('dense', { type: 'subscribed', id: 1 });
  await say('dense', JSON.stringify({ type: 'publish', id: 2, topic: `${topic}.dense`, data }));
  const message = await event('dense', { type: 'message', offset: 1 });
  assert(isDeepStrictEqual(message.data, data), 'other data');
  assert((await counter('inflated')) >= inflated + 2, 'the page did not compress');

  await until('the counters', async () => (await counter('deflated')) > deflated);
  const [before, after] = [(await counter('deflated_from_bytes')) - from, (await counter('deflated_to_bytes')) - to];
  assert(before >= JSON.stringify(data).length && after < before / 4, `${before} bytes became ${after}`);
  return `${before} bytes became ${after}`;
});
await check('a client that asks for it is not compressed', async () => {
  const plain = await page.evaluate(
    (address) =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(address, 'fanfare.v1.json');
        socket.onopen = () => resolve(socket.extensions);
        socket.onerror = reject;
      }),
    `${url.href}?deflate=off`,
  );
  assert(plain === '', plain);
});

// A page that another site could serve.
const elsewhere = createServer((_request, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>elsewhere</title>'));
await new Promise((listening) => elsewhere.listen(0, '127.0.0.1', listening));

async function refused(from, where) {
  const said = [];
  from.on('console', (message) => said.push(message.text()));
  const { events } = await open('foreign', ['fanfare.v1.json'], where ?? from);
  assert(!events.includes('open') && events[0] === 'error', `events: ${events}`);
  // The page itself learns no more than `error`; the console tells the status.
  return until('the status in the console', () => said.find((text) => /response code: 403/.test(text)), 3000).then(
    () => '403',
    () => Promise.reject(new Error(`console: ${said}`)),
  );
}
await check('a page from a foreign origin is refused', async () => {
  const foreign = await browser.newPage();
  await foreign.goto(`http://foreign.example:${elsewhere.address().port}/`);
  return refused(foreign);
});
await check('a page whose origin is null is refused', async () => {
  const sandboxed = await browser.newPage();
  await sandboxed.goto(`http://127.0.0.1:${elsewhere.address().port}/`);
  await sandboxed.evaluate(() => {
    const frame = document.createElement('iframe');
    frame.setAttribute('sandbox', 'allow-scripts');
    frame.src = location.href;
    document.body.append(frame);
  });
  return refused(sandboxed, await until('the frame', () => sandboxed.frames()[1]));
});
await check('a page of another loopback port is served', async () => {
  const neighbour = await browser.newPage();
  await neighbour.goto(`http://127.0.0.1:${elsewhere.address().port}/`);
  const { events } = await open('neighbour', ['fanfare.v1.json'], neighbour);
  assert(events[0] === 'open', `events: ${events}`);
});
elsewhere.close();
await finish(browser);
