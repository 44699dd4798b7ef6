// MessagePack in one page, apart from every implementation that is tested with it.
// Integers are exact: beyond 2^53 they are BigInt, on both sides.

/** Reads one value that fills `bytes` to the end. */
export function decode(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const number = (length, method) => {
    at += length;
    return view[method](at - length);
  };
  const slice = (length) => {
    at += length;
    if (at > bytes.length) throw new RangeError('cut off');
    return bytes.subarray(at - length, at);
  };
  const text = (length) => new TextDecoder('utf-8', { fatal: true }).decode(slice(length));
  const list = (length) => Array.from({ length }, () => value());
  const map = (length) => Object.fromEntries(Array.from({ length }, () => [value(), value()]));
  const small = (n) => (n >= Number.MIN_SAFE_INTEGER && n <= Number.MAX_SAFE_INTEGER ? Number(n) : n);

  function value() {
    const tag = number(1, 'getUint8');
    if (tag < 0x80) return tag;
    if (tag < 0x90) return map(tag & 15);
    if (tag < 0xa0) return list(tag & 15);
    if (tag < 0xc0) return text(tag & 31);
    if (tag >= 0xe0) return tag - 256;
    switch (tag) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return slice(number(1, 'getUint8'));
      case 0xc5: return slice(number(2, 'getUint16'));
      case 0xc6: return slice(number(4, 'getUint32'));
      case 0xca: return number(4, 'getFloat32');
      case 0xcb: return number(8, 'getFloat64');
      case 0xcc: return number(1, 'getUint8');
      case 0xcd: return number(2, 'getUint16');
      case 0xce: return number(4, 'getUint32');
      case 0xcf: return small(number(8, 'getBigUint64'));
      case 0xd0: return number(1, 'getInt8');
      case 0xd1: return number(2, 'getInt16');
      case 0xd2: return number(4, 'getInt32');
      case 0xd3: return small(number(8, 'getBigInt64'));
      case 0xd9: return text(number(1, 'getUint8'));
      case 0xda: return text(number(2, 'getUint16'));
      case 0xdb: return text(number(4, 'getUint32'));
      case 0xdc: return list(number(2, 'getUint16'));
      case 0xdd: return list(number(4, 'getUint32'));
      case 0xde: return map(number(2, 'getUint16'));
      case 0xdf: return map(number(4, 'getUint32'));
      default: throw new TypeError(`tag 0x${tag.toString(16)}`);
    }
  }
  const whole = value();
  if (at !== bytes.length) throw new RangeError('trailing bytes');
  return whole;
}
