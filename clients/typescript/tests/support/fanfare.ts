/** The real server, and a network before it that can be cut. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { Transform } from 'node:stream';

/** The binary, as `FANFARE` names it. */
export const binary: string | undefined = process.env['FANFARE'];

export interface Fanfare {
  readonly url: string;
  readonly port: number;
  stop(signal?: NodeJS.Signals): Promise<void>;
}

export const serve = async (port = 0, ...more: string[]): Promise<Fanfare> => {
  if (binary === undefined) throw new Error('FANFARE names no binary');
  const child: ChildProcess = spawn(binary, ['serve', '--listen', `127.0.0.1:${port}`, ...more], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const exited = once(child, 'exit');
  const stop = async (signal: NodeJS.Signals = 'SIGKILL') => {
    child.kill(signal);
    await exited;
  };
  const said = await Promise.race([once(child.stdout as NodeJS.ReadableStream, 'data'), exited.then(() => undefined)]);
  if (said === undefined) throw new Error('the server ended before it listened');
  const url = new URL(String(said[0]).trim());
  return { url: `ws://${url.host}/ws`, port: Number(url.port), stop };
};

export interface Network {
  readonly url: string;
  /** Ends every connection without a word. */
  cut(): void;
  /** The same, but only the client learns of it. */
  strand(): void;
  close(): void;
}

/**
 * A middlebox that spoils what is compressed: it turns the last byte of each message from the server that has the
 * bit of RFC 7692. Everything else passes.
 */
export const spoiler = (): Transform => {
  let rest: Buffer = Buffer.alloc(0);
  let upgraded = false;
  return new Transform({
    transform(chunk: Buffer, _, done) {
      rest = Buffer.concat([rest, chunk]);
      if (!upgraded) {
        const end = rest.indexOf('\r\n\r\n');
        if (end < 0) return done();
        upgraded = true;
        this.push(rest.subarray(0, end + 4));
        rest = rest.subarray(end + 4);
      }
      while (rest.length >= 2) {
        const [first = 0, short = 0] = rest;
        const head = short === 126 ? 4 : short === 127 ? 10 : 2;
        if (rest.length < head) break;
        const length = short === 126 ? rest.readUInt16BE(2) : short === 127 ? Number(rest.readBigUInt64BE(2)) : short;
        if (rest.length < head + length) break;
        const frame = Buffer.from(rest.subarray(0, head + length));
        // A block of the third type, which there is none of.
        if (first & 0x40) frame[head] = 0xff;
        this.push(frame);
        rest = rest.subarray(head + length);
      }
      done();
    },
  });
};

export const network = async (to: number, through?: () => Transform): Promise<Network> => {
  const pairs = new Set<readonly [inner: Socket, outer: Socket]>();
  const server = createServer((inner) => {
    const outer = connect(to, '127.0.0.1');
    const pair = [inner, outer] as const;
    pairs.add(pair);
    inner.on('error', () => {});
    outer.on('error', () => {});
    inner.on('close', () => pairs.has(pair) && outer.destroy());
    outer.on('close', () => inner.destroy());
    inner.pipe(outer);
    if (through) outer.pipe(through()).pipe(inner);
    else outer.pipe(inner);
  });
  const stranded = new Set<Socket>();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = () => {
    for (const pair of pairs) for (const socket of pair) socket.destroy();
    pairs.clear();
  };
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/ws`,
    cut,
    strand() {
      for (const [inner, outer] of pairs) {
        inner.unpipe(outer);
        stranded.add(outer);
        inner.destroy();
      }
      pairs.clear();
    },
    close() {
      cut();
      for (const socket of stranded) socket.destroy();
      server.close();
    },
  };
};
