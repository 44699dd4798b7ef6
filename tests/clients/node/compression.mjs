// permessage-deflate of an echo server as seen by `ws`.
//
//   node compression.mjs ws://HOST:PORT [takeover]
//
// `takeover`: the server lets clients refer to earlier messages. Prints one line per set of parameters;
// ends with a stack trace and status 1 at the first that fails.

import assert from 'node:assert/strict';
import { once } from 'node:events';

import { WebSocket } from 'ws';

const PATIENCE_MS = 120_000;
const [url, takeover] = process.argv.slice(2);
setTimeout(() => {
  throw new Error(`not through after ${PATIENCE_MS} ms`);
}, PATIENCE_MS).unref();

/** Text whose words come again near and far, with characters of several bytes. */
const PROSE = Array.from({ length: 20_000 }, (_, at) => ['price', '{"bid":', '0.25', 'Zoë', 'EURUSD ', '𝄞'][(at * at * 7) % 11 % 6]).join('');
const LENGTHS = [
  ...Array(301).keys(),
  ...[511, 512, 513, 1000, 1023, 1024, 1025, 4095, 4096, 4097, 8191, 8192, 16_384, 32_767, 32_768, 32_769, 40_000],
  ...[65_535, 65_536, 65_537, 70_000],
];
const SOME = LENGTHS.filter((length) => length < 3 || length % 50 === 0 || length > 4096);

/** Offers these parameters, and sends each length as text and as bytes, in so many pieces each. */
async function talk(offer, agreed, lengths, pieces) {
  const socket = new WebSocket(url, { perMessageDeflate: { threshold: 0, ...offer } });
  const heard = [];
  socket.on('message', (data, isBinary) => heard.push([data, isBinary]));
  const [[{ headers }]] = await Promise.all([once(socket, 'upgrade'), once(socket, 'open')]);
  const answer = headers['sec-websocket-extensions'].split(';').map((part) => part.trim()).sort();
  assert.deepEqual(answer, ['permessage-deflate', 'server_no_context_takeover', ...agreed].sort());

  const sent = [];
  let pongs = 0;
  socket.on('pong', () => (pongs += 1));
  for (const length of lengths) {
    for (const binary of [false, true]) {
      const message = Buffer.from(binary ? Buffer.from(PROSE).subarray(0, length) : Buffer.from(PROSE.slice(0, length)));
      const size = Math.ceil(message.length / pieces);
      for (let piece = 0; piece < pieces; piece += 1) {
        // Cut between bytes, not between characters.
        socket.send(message.subarray(piece * size, (piece + 1) * size), { binary, compress: true, fin: piece === pieces - 1 });
        if (piece === 0 && pieces > 1) socket.ping();
      }
      sent.push([message, binary]);
    }
  }
  socket.close(1000);
  const [code] = await once(socket, 'close');
  assert.equal(code, 1000);
  assert.equal(pongs, pieces > 1 ? sent.length : 0);
  assert.equal(heard.length, sent.length);
  sent.forEach(([message, binary], at) => {
    assert.equal(heard[at][1], binary);
    assert.ok(message.equals(heard[at][0]), `message ${at} of ${message.length} bytes`);
  });
  const bytes = sent.reduce((sum, [message]) => sum + message.length, 0);
  assert.ok(socket._socket.bytesRead < bytes / 2, `${socket._socket.bytesRead} of ${bytes} bytes came`);
  console.log(`${JSON.stringify(offer)} in ${pieces}: ${sent.length} messages`);
}

const client = takeover === undefined ? ['client_no_context_takeover'] : [];
await talk({}, client, LENGTHS, 1);
await talk({}, client, LENGTHS, 2);
await talk({}, client, SOME, 7);
await talk({ serverNoContextTakeover: true }, client, SOME, 1);
await talk({ clientNoContextTakeover: true }, ['client_no_context_takeover'], SOME, 1);
await talk({ clientNoContextTakeover: true, serverNoContextTakeover: true }, ['client_no_context_takeover'], SOME, 3);
for (let bits = 9; bits <= 15; bits += 1) {
  await talk({ serverMaxWindowBits: bits }, [...client, `server_max_window_bits=${bits}`], SOME, 1);
  await talk({ clientMaxWindowBits: bits }, client, SOME, 2);
}
for (const level of [1, 9]) await talk({ zlibDeflateOptions: { level } }, client, SOME, 1);
// What stored blocks look like.
await talk({ zlibDeflateOptions: { level: 0 } }, client, SOME, 2);

const none = new WebSocket(url, { perMessageDeflate: { serverMaxWindowBits: 8 } });
await once(none, 'open');
assert.equal(none.extensions, '');
none.close();
