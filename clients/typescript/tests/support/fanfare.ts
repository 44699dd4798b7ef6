/** The real server, and a network before it that can be cut. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

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
  close(): void;
}

export const network = async (to: number): Promise<Network> => {
  const sockets = new Set<Socket>();
  const server = createServer((inner) => {
    const outer = connect(to, '127.0.0.1');
    for (const [socket, other] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    inner.pipe(outer);
    outer.pipe(inner);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/ws`,
    cut,
    close() {
      cut();
      server.close();
    },
  };
};
