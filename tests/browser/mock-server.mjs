// Stands in for `fanfare --demo` while the page is developed: it serves assets/ from the disk and
// speaks as much of the protocol as the page uses. Not a reference of anything.
//
//   node mock-server.mjs [--port 7171] [--topics N] [--quiet] [--burst N] [--prefix /fanfare]
//
// --topics N: N more topics, a few of them busy. --quiet: no host.* figures, no topics at all.
// --burst N: N messages a second on `load`. Typing `gap`, `restart` or `forbid` makes it happen.

import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { WebSocketServer } from 'ws';

import { covers } from '../../assets/connection.js';
import { decode, encode } from './msgpack.mjs';

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '7171' },
    topics: { type: 'string', default: '0' },
    burst: { type: 'string', default: '0' },
    prefix: { type: 'string', default: '' },
    quiet: { type: 'boolean', default: false },
  },
});

const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:";
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml' };
const ASSETS = fileURLToPath(new URL('../../assets/', import.meta.url));

const begun = Date.now();
const topics = new Map();
const connections = new Set();
const totals = { published: 0, delivered: 0, delivered_bytes: 0, gaps: 0, skipped: 0, refused: 0 };
const newEpoch = () => randomBytes(4).readUInt32LE().toString(36);

function topicOf(name) {
  if (!topics.has(name)) topics.set(name, { name, epoch: newEpoch(), offset: 0 });
  return topics.get(name);
}

const wellFormed = (name) => typeof name === 'string' && name.length > 0 && name.length < 256 && name.split('.').every((part) => part !== '') && !/[\s\p{Cc}]/u.test(name);

/** `text` is the data as its JSON publisher wrote it: parsed and written again, large integers lose digits. */
function publish(name, data, text = JSON.stringify(data)) {
  const topic = topicOf(name);
  topic.offset += 1;
  if (!name.startsWith('$')) totals.published += 1;
  const event = { type: 'message', topic: name, offset: topic.offset, ...(topic.offset === 1 && { epoch: topic.epoch }), data };
  for (const connection of connections) {
    if (![...connection.filters].some((filter) => covers(filter, name))) continue;
    totals.delivered += 1;
    totals.delivered_bytes += connection.tell(event, text);
  }
  return { topic: name, epoch: topic.epoch, offset: topic.offset };
}

function carryOut(connection, command, text) {
  const { type, id, topic } = command;
  const refuse = (code, message) => connection.tell({ type: 'error', id, topic, code, message });
  switch (type) {
    case 'subscribe': {
      if (!wellFormed(topic)) return refuse('bad_topic', 'empty segment in topic');
      connection.filters.add(topic);
      const position = /[*>]/.test(topic) ? {} : { epoch: topicOf(topic).epoch, offset: topicOf(topic).offset };
      return connection.tell({ type: 'subscribed', id, topic, ...position });
    }
    case 'unsubscribe':
      connection.filters.delete(topic);
      return id !== undefined && connection.tell({ type: 'unsubscribed', id, topic });
    case 'publish': {
      if (!wellFormed(topic) || /[*>]/.test(topic)) return refuse('bad_topic', 'wildcards name no topic');
      if (topic.startsWith('$')) return refuse('forbidden', 'names that begin with $ belong to the server');
      const position = publish(topic, command.data, text);
      return id !== undefined && connection.tell({ type: 'published', id, ...position });
    }
    case 'ping':
      return connection.tell({ type: 'pong', id });
    default:
      return refuse('unknown_type', `unknown type ${type}`);
  }
}

const server = createServer(async (request, response) => {
  const url = new URL(request.url, 'http://mock');
  const send = (status, type, body) => response.writeHead(status, { 'content-type': type, 'content-security-policy': CSP, 'x-content-type-options': 'nosniff' }).end(body);
  if (!url.pathname.startsWith(`${options.prefix}/`)) return send(404, 'text/plain', 'not found');
  const path = url.pathname.slice(options.prefix.length);
  if (path === '/v1/topics') {
    const [prefix, after] = [url.searchParams.get('prefix') ?? '', url.searchParams.get('after') ?? ''];
    const limit = Math.min(1000, Number(url.searchParams.get('limit') ?? 100));
    const names = [...topics.keys()].filter((name) => !name.startsWith('$') && name.startsWith(prefix) && name > after).sort().slice(0, limit);
    const listed = names.map((name) => {
      const { epoch, offset } = topics.get(name);
      const subscribers = [...connections].filter(({ filters }) => [...filters].some((filter) => covers(filter, name))).length;
      return { topic: name, subscribers, epoch, offset };
    });
    return send(200, 'application/json', JSON.stringify({ topics: listed }));
  }
  if (path === '/v1/publish' && request.method === 'POST') {
    const body = [];
    for await (const chunk of request) body.push(chunk);
    const { topic, data } = JSON.parse(Buffer.concat(body));
    return send(200, 'application/json', JSON.stringify(publish(topic, data)));
  }
  const file = path === '/' ? 'index.html' : /^\/assets\/([\w-]+\.\w+)$/.exec(path)?.[1];
  if (file === undefined) return send(404, 'text/plain', 'not found');
  try {
    return send(200, TYPES[extname(file)], await readFile(ASSETS + file));
  } catch {
    return send(404, 'text/plain', 'not found');
  }
});

const sockets = new WebSocketServer({ noServer: true, handleProtocols: (offered) => [...offered].find((name) => /^fanfare\.v1\.(json|msgpack)$/.test(name)) ?? false });
server.on('upgrade', (request, socket, head) => {
  const origin = request.headers.origin;
  const loopback = (host) => /^(127\.\d+\.\d+\.\d+|localhost|\[::1\])$/.test(host);
  const foreign = origin !== undefined && (origin === 'null' || !loopback(new URL(origin).hostname));
  if (foreign || forbidding) return socket.end('HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n');
  return sockets.handleUpgrade(request, socket, head, (ws) => {
    const packed = ws.protocol === 'fanfare.v1.msgpack';
    const connection = {
      ws,
      filters: new Set(),
      tell(event, text) {
        const { data: _, ...envelope } = event;
        const json = () => (text === undefined ? JSON.stringify(event) : `${JSON.stringify(envelope).slice(0, -1)},"data":${text}}`);
        const bytes = packed ? encode(event) : json();
        ws.send(bytes);
        return bytes.length;
      },
    };
    connections.add(connection);
    ws.on('close', () => connections.delete(connection));
    ws.on('message', (bytes, binary) => {
      const frame = binary ? decode(new Uint8Array(bytes)) : JSON.parse(bytes);
      // The page writes `data` last.
      const text = !binary && frame.type === 'publish' ? /"data":(.*)\}$/s.exec(bytes)?.[1] : undefined;
      for (const command of Array.isArray(frame) ? frame : [frame]) carryOut(connection, command, text);
    });
    connection.tell({ type: 'welcome', protocol: 1, connection: randomBytes(6).toString('hex'), resume: randomBytes(16).toString('hex'), heartbeat_ms: 25_000, max_message_bytes: 65_536 });
  });
});

setInterval(() => {
  const cpu = process.cpuUsage();
  const subscriptions = [...connections].reduce((sum, { filters }) => sum + filters.size, 0);
  publish('$stats', {
    at: Date.now(), uptime_ms: Date.now() - begun, version: '0.1.0', connections: connections.size, subscriptions,
    topics: [...topics.keys()].filter((name) => !name.startsWith('$')).length, ...totals,
    retained_bytes: Math.min(268_435_456, totals.published * 96), memory_bytes: process.memoryUsage().rss, cpu_ms: (cpu.user + cpu.system) / 1000, shards: 2,
  });
}, 1000);

if (!options.quiet) {
  const wave = (period, low, high) => low + ((high - low) * (1 + Math.sin(Date.now() / period))) / 2 + Math.random() * (high - low) * 0.15;
  const round = (n) => Math.round(n * 10) / 10;
  setInterval(() => publish('host.cpu', { percent: round(wave(9000, 4, 60)), cores: [round(wave(7000, 2, 80)), round(wave(5000, 2, 70))] }), 250);
  setInterval(() => publish('host.memory', { used_bytes: Math.round(wave(20_000, 3e9, 4e9)), total_bytes: 8_232_239_104 }), 500);
  setInterval(() => publish('host.network', { received_bytes_per_s: Math.round(wave(6000, 0, 9e5)), sent_bytes_per_s: Math.round(wave(4000, 0, 4e5)) }), 250);
  setInterval(() => publish('host.disk', { device: 'vda1', read_bytes_per_s: 0, written_bytes_per_s: Math.round(wave(3000, 0, 2e6)) }), 1000);
}
for (let n = 0; n < Number(options.topics); n += 1) topicOf(`shop.${String(n % 97).padStart(2, '0')}.item.${n}`).offset = n;
if (Number(options.topics) > 0) setInterval(() => publish(`shop.${String(Math.floor(Math.random() * 20)).padStart(2, '0')}.item.${Math.floor(Math.random() * 20)}`, { price: Math.random() }), 20);
if (Number(options.burst) > 0) {
  setInterval(() => {
    for (let n = 0; n < Number(options.burst) / 20; n += 1) publish('load', { n, text: 'as fast as it goes', at: Date.now() });
  }, 50);
}

let forbidding = false;
const gapOf = (name) => {
  const topic = topicOf(name);
  totals.gaps += 1;
  totals.skipped += 12;
  for (const connection of connections) {
    if ([...connection.filters].some((filter) => covers(filter, name))) connection.tell({ type: 'gap', topic: name, epoch: topic.epoch, from: topic.offset + 1, to: topic.offset + 12, reason: 'slow' });
  }
  topic.offset += 12;
};
const says = {
  gap: () => gapOf('host.cpu'),
  restart() {
    for (const { ws, tell } of connections) {
      tell({ type: 'goodbye', code: 1012, reason: 'restart', reconnect_ms: 4000 });
      ws.close(1012);
    }
  },
  forbid() {
    for (const { ws, tell } of connections) {
      tell({ type: 'goodbye', code: 4403, reason: 'removed by an operator' });
      ws.close(4403);
    }
  },
  away() {
    forbidding = !forbidding;
    for (const { ws } of connections) ws.terminate();
  },
};
createInterface({ input: process.stdin }).on('line', (line) => says[line.trim()]?.());
server.listen(Number(options.port), '127.0.0.1', () => console.log(`http://127.0.0.1:${options.port}${options.prefix}`));
