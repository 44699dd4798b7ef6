/**
 * What goes over the wire. JSON is built in; `fanfare-client/msgpack` has the other one.
 */

import type { Command } from './protocol.ts';

export interface Encoding<Frame extends string | Uint8Array = string | Uint8Array> {
  /** The WebSocket subprotocol that asks for it. */
  readonly protocol: 'fanfare.v1.json' | 'fanfare.v1.msgpack';
  /** One command. Throws what cannot be encoded. */
  encode(command: Command): Frame;
  /** A batch of encoded commands, two or more. */
  join(frames: readonly Frame[]): Frame;
  /** An event. Throws what is none. */
  decode(frame: string | ArrayBuffer): unknown;
}

const utf8 = /* @__PURE__ */ new TextEncoder();

export const bytesOf = (frame: string | Uint8Array): number =>
  typeof frame === 'string' ? utf8.encode(frame).length : frame.length;

export const json: Encoding<string> = {
  protocol: 'fanfare.v1.json',
  encode: (command) => JSON.stringify(command),
  join: (frames) => `[${frames}]`,
  decode: (frame) => JSON.parse(frame as string),
};
