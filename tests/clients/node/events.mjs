// Server-Sent Events of fanfare as seen by `eventsource`.
//
//   node events.mjs http://HOST:PORT
//
// Prints one line per check; ends with a stack trace and status 1 at the first that fails.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

import { EventSource } from 'eventsource';

const PATIENCE_MS = 60_000;
const [base] = process.argv.slice(2);

async function publish(topic, data) {
  const answer = await fetch(`${base}/v1/publish`, { method: 'POST', body: JSON.stringify({ topic, data }), headers: { 'content-type': 'application/json' } });
  assert.equal(answer.status, 200);
  return answer.json();
}

/** A stream; what it hears waits in a queue. */
class Stream {
  #heard = [];
  #waiting = [];

  constructor(url) {
    this.source = new EventSource(url);
    for (const kind of ['subscribed', 'message', 'gap', 'goodbye']) {
      this.source.addEventListener(kind, ({ data, lastEventId }) => {
        const event = JSON.parse(data);
        assert.equal(event.type, kind);
        this.#heard.push({ ...event, id: lastEventId });
        this.#waiting.shift()?.();
      });
    }
  }

  async next() {
    while (this.#heard.length === 0) await new Promise((resolve) => this.#waiting.push(resolve));
    return this.#heard.shift();
  }

  close() {
    this.source.close();
  }
}

async function messagesComeInOrder() {
  const stream = new Stream(`${base}/v1/events?topic=node.sse&topic=node.other`);
  for (const topic of ['node.sse', 'node.other']) {
    const event = await stream.next();
    assert.deepEqual([event.type, event.topic, event.offset], ['subscribed', topic, 0]);
  }
  const datum = { text: 'ä\n\r€😀\u2028', list: [null, true, -1, 0.5, { '': 'data: x' }] };
  for (let number = 1; number <= 100; number += 1) {
    const { epoch } = await publish('node.sse', datum);
    const { type, topic, offset, data, id } = await stream.next();
    assert.deepEqual({ type, topic, offset, data }, { type: 'message', topic: 'node.sse', offset: number, data: datum });
    assert.ok(id.startsWith(`${epoch}:${number},`), id);
  }
  stream.close();
}

async function aStreamThatIsCutOffGoesOnWithoutAHole() {
  const upstream = new URL(base);
  const pairs = new Set();
  const proxy = createServer((near) => {
    const far = connect(Number(upstream.port), upstream.hostname);
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
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const stream = new Stream(`http://127.0.0.1:${proxy.address().port}/v1/events?topic=node.cut`);
  assert.equal((await stream.next()).offset, 0);

  let published = 0;
  for (const cut of [false, true, true, false]) {
    let heard = published;
    if (cut) for (const pair of pairs) pair.forEach((socket) => socket.destroy());
    for (let count = 0; count < 20; count += 1) assert.equal((await publish('node.cut', count)).offset, (published += 1));
    if (cut) {
      const { type, offset, recovered } = await stream.next();
      assert.deepEqual({ type, offset, recovered }, { type: 'subscribed', offset: heard, recovered: true });
    }
    while (heard < published) {
      const { type, offset } = await stream.next();
      assert.deepEqual({ type, offset }, { type: 'message', offset: (heard += 1) });
    }
  }
  stream.close();
  proxy.close();
}

async function anErrorIsFinal() {
  const source = new EventSource(`${base}/v1/events?topic=a.*`);
  const [{ code }] = await once(source, 'error');
  assert.equal(code, 400);
  assert.equal(source.readyState, EventSource.CLOSED);
}

const late = setTimeout(() => assert.fail('it takes too long'), PATIENCE_MS);
for (const check of [messagesComeInOrder, aStreamThatIsCutOffGoesOnWithoutAHole, anErrorIsFinal]) {
  await check();
  console.log('ok', check.name);
}
clearTimeout(late);
