import { readFileSync } from 'node:fs';

import { expect, test } from 'vitest';

import { json } from '../src/encoding.ts';
import { msgpack } from '../src/msgpack.ts';

interface Case {
  name: string;
  json?: string;
  msgpack_hex?: string;
  direction?: string;
}

const cases = (file: string): Case[] =>
  JSON.parse(readFileSync(new URL(`../../../tests/vectors/${file}.json`, import.meta.url), 'utf8')).cases;

const bytes = (hex: string): ArrayBuffer => new Uint8Array(Buffer.from(hex, 'hex')).buffer;

test('the events of both encodings say the same', () => {
  const all = cases('events').filter((each) => each.json !== undefined && each.msgpack_hex !== undefined);
  expect(all.length).toBeGreaterThan(15);
  for (const { name, json: text = '', msgpack_hex: hex = '' } of all) {
    expect(msgpack.decode(bytes(hex)), name).toEqual(json.decode(text));
  }
});

test('data of MessagePack survives its way out and in', () => {
  const rounded = /-0|\d{16,}/;
  let compared = 0;
  for (const { name, msgpack_hex: hex = '', direction } of cases('data')) {
    if (direction === undefined || hex === '' || rounded.test(name)) continue;
    const value = msgpack.decode(bytes(hex));
    // JavaScript's numbers have no minus zero that is an integer.
    if (Object.is(value, -0)) continue;
    const again = msgpack.decode(new Uint8Array(msgpack.encode({ type: 'publish', data: value })).buffer) as {
      data: unknown;
    };
    expect(again.data, name).toEqual(value);
    compared++;
  }
  expect(compared).toBeGreaterThan(20);
});

test.each([2, 15, 16, 1000])('%i commands are one MessagePack list', (count) => {
  const commands = Array.from({ length: count }, (_, id) => ({ type: 'ping', id }));
  const frame = msgpack.join(commands.map((command) => msgpack.encode(command)));
  expect(msgpack.decode(new Uint8Array(frame).buffer)).toEqual(commands);
});

test('commands leave out what is not given, in both encodings', () => {
  const command = { type: 'publish', topic: 'a', data: null, echo: undefined };
  expect(json.encode(command)).toBe('{"type":"publish","topic":"a","data":null}');
  expect(msgpack.decode(new Uint8Array(msgpack.encode(command)).buffer)).toEqual({
    type: 'publish',
    topic: 'a',
    data: null,
  });
  expect(json.join([json.encode({ type: 'ping', id: 1 }), json.encode({ type: 'ping' })])).toBe(
    '[{"type":"ping","id":1},{"type":"ping"}]',
  );
});
