// The wire's JSON with every digit kept: integers beyond 2^53 are read as `BigInt`, and what is published
// goes out as it was typed. It is an encoding for the client.

/** Data as JSON text that is sent as it stands: parsed and written again, large integers would lose digits. */
export class Text {
  constructor(json) {
    this.json = json;
  }
}

/**
 * Parses JSON and keeps integers beyond 2^53 exact, where the browser tells a number's source text. A
 * reviver visits each value, so it runs only when there are 16 digits in a row.
 */
export function parse(text) {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  return JSON.parse(text, (_key, value, context) => {
    if (typeof value !== 'number' || Number.isSafeInteger(value) || context?.source === undefined) return value;
    return /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
  });
}

/** A large integer is written as it was read, where the browser can; elsewhere as near as it comes. */
const digits = (n) => (JSON.rawJSON ? JSON.rawJSON(String(n)) : Number(n));

/** JSON text of what `parse` gave. */
export function stringify(value) {
  return JSON.stringify(value, (_key, inner) => (typeof inner === 'bigint' ? digits(inner) : inner));
}

/** `hear` is told of each event before the client is. */
export const exact = (hear) => ({
  protocol: 'fanfare.v1.json',
  encode(command) {
    const { data, ...envelope } = command;
    if (!(data instanceof Text)) return stringify(command);
    return `${JSON.stringify(envelope).slice(0, -1)},"data":${data.json}}`;
  },
  join: (frames) => `[${frames}]`,
  decode(frame) {
    const event = parse(frame);
    hear(event);
    return event;
  },
});
