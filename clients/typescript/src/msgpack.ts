/**
 * MessagePack, for data with binary in it and for high rates. Integers beyond 2^53 arrive rounded, as they do
 * in JSON. Dates are an extension type, which the server refuses with `bad_data`.
 */

import { Decoder, Encoder } from '@msgpack/msgpack';

import type { Encoding } from './encoding.ts';

export type { Encoding } from './encoding.ts';

/** `data` has up to 128 levels, and the command is one more. */
const encoder = /* @__PURE__ */ new Encoder({ ignoreUndefined: true, maxDepth: 130 });
const decoder = /* @__PURE__ */ new Decoder();

export const msgpack: Encoding<Uint8Array> = {
  protocol: 'fanfare.v1.msgpack',
  encode: (command) => encoder.encode(command),
  join: (frames) => {
    // The header of an array: up to 15 items in one byte, up to 65,535 in three.
    const count = frames.length;
    const header = count < 16 ? [0x90 | count] : [0xdc, count >> 8, count & 0xff];
    const joined = new Uint8Array(frames.reduce((sum, frame) => sum + frame.length, header.length));
    joined.set(header);
    let at = header.length;
    for (const frame of frames) {
      joined.set(frame, at);
      at += frame.length;
    }
    return joined;
  },
  decode: (frame) => decoder.decode(frame as ArrayBuffer),
};
