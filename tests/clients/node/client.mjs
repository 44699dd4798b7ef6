// fanfare as seen by `ws` and `@msgpack/msgpack`.
//
//   node client.mjs ws://HOST:PORT/ws
//
// Prints one line per check; ends with a stack trace and status 1 at the first that fails.

import assert from 'node:assert/strict';
import { once } from 'node:events';

import { decode, encode } from '@msgpack/msgpack';
import { WebSocket } from 'ws';

const COUNT = 1000;
const PATIENCE_MS = 60_000;
const [url] = process.argv.slice(2);

/** A connection in one encoding; what it hears waits in a queue. */
class Client {
  #heard = [];
  #waiting = [];

  constructor(packed) {
    this.packed = packed;
    this.socket = new WebSocket(url, packed ? 'fanfare.v1.msgpack' : 'fanfare.v1.json');
    this.closed = once(this.socket, 'close').then(([code]) => code);
    this.socket.on('message', (data, isBinary) => {
      assert.equal(isBinary, packed);
      const event = packed ? decode(data) : JSON.parse(data.toString());
      const next = this.#waiting.shift();
      if (next === undefined) this.#heard.push(event);
      else next(event);
    });
  }

  static async open(packed) {
    const client = new Client(packed);
    await once(client.socket, 'open');
    assert.equal(client.socket.protocol, packed ? 'fanfare.v1.msgpack' : 'fanfare.v1.json');
    const welcome = await client.recv();
    assert.equal(welcome.type, 'welcome');
    assert.equal(welcome.protocol, 1);
    return client;
  }

  send(command) {
    this.socket.send(this.packed ? encode(command) : JSON.stringify(command));
  }

  recv() {
    if (this.#heard.length > 0) return Promise.resolve(this.#heard.shift());
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  ask(command) {
    this.send(command);
    return this.recv();
  }

  async close(code = 1000) {
    this.socket.close(code);
    assert.equal(await this.closed, code);
  }
}

function datum(number) {
  return { number, text: `ä€😀 ${number}`, list: [null, true, -1 - number, number / 8, { '': number }] };
}

async function messagesComeInOrderWithoutLoss() {
  const topic = 'node.order';
  const readers = [await Client.open(false), await Client.open(true)];
  for (const reader of readers) {
    const event = await reader.ask({ type: 'subscribe', id: 1, topic });
    assert.equal(event.type, 'subscribed');
    assert.equal(event.offset, 0);
  }
  const writers = [await Client.open(false), await Client.open(true)];
  for (let number = 0; number < COUNT; number += 1) {
    const published = await writers[number % 2].ask({ type: 'publish', id: number, topic, data: datum(number) });
    assert.equal(published.offset, number + 1);
  }
  for (const reader of readers) {
    for (let number = 0; number < COUNT; number += 1) {
      const { type, offset, data } = await reader.recv();
      assert.deepEqual({ type, offset, data }, { type: 'message', offset: number + 1, data: datum(number) });
    }
  }
  await Promise.all([...readers, ...writers].map((client) => client.close()));
}

async function bytesBecomeBase64AndComeBack() {
  const topic = 'node.binary';
  const [text, packed] = [await Client.open(false), await Client.open(true)];
  for (const client of [text, packed]) await client.ask({ type: 'subscribe', id: 1, topic });
  for (const value of [[], [0, 255, 254], Array.from({ length: 1024 }, (_, index) => index % 256)]) {
    const bytes = Uint8Array.from(value);
    const shown = { $bin: Buffer.from(bytes).toString('base64') };
    for (const [sender, data] of [[packed, bytes], [text, shown]]) {
      sender.send({ type: 'publish', topic, data: { in: data } });
      assert.deepEqual((await text.recv()).data, { in: shown });
      assert.deepEqual([...(await packed.recv()).data.in], value);
    }
  }
  await text.close();
  await packed.close();
}

async function fragmentsMakeOneMessage() {
  const [text, packed] = [await Client.open(false), await Client.open(true)];
  text.socket.send('{"type":"pi', { fin: false });
  text.socket.ping('between');
  text.socket.send('', { fin: false });
  text.socket.send('ng","id":"é"}', { fin: true });
  assert.deepEqual(await text.recv(), { type: 'pong', id: 'é' });
  const command = encode({ type: 'ping', id: 7 });
  packed.socket.send(command.slice(0, 1), { fin: false });
  packed.socket.send(command.slice(1), { fin: true });
  assert.deepEqual(await packed.recv(), { type: 'pong', id: 7 });
  await text.close();
  await packed.close();
}

async function pingsAreAnswered() {
  const client = await Client.open(true);
  for (const payload of ['', 'hello', 'x'.repeat(125)]) {
    const pong = once(client.socket, 'pong');
    client.socket.ping(payload);
    assert.equal((await pong)[0].toString(), payload);
  }
  await client.close(3333);
}

async function theServerClosesWithACode() {
  const client = await Client.open(false);
  for (let count = 0; count < 17; count += 1) client.socket.send('nonsense');
  assert.equal(await client.closed, 4400);
  const large = await Client.open(false);
  large.socket.send('x'.repeat(65_537));
  assert.equal(await large.closed, 1009);
}

async function anUnknownSubprotocolIsRefused() {
  const socket = new WebSocket(url, 'mqtt');
  const [, response] = await once(socket, 'unexpected-response');
  assert.equal(response.statusCode, 400);
  response.resume();
}

const late = setTimeout(() => assert.fail('it takes too long'), PATIENCE_MS);
for (const check of [
  messagesComeInOrderWithoutLoss,
  bytesBecomeBase64AndComeBack,
  fragmentsMakeOneMessage,
  pingsAreAnswered,
  theServerClosesWithACode,
  anUnknownSubprotocolIsRefused,
]) {
  await check();
  console.log('ok', check.name);
}
clearTimeout(late);
