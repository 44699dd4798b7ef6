/** The built package, against the real server, where there is nothing of Node's: `FANFARE=target/debug/fanfare`. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { expect, test } from 'vitest';

import { binary, serve } from './support/fanfare.ts';

const here = (path: string): string => new URL(path, import.meta.url).href;

test.skipIf(binary === undefined).each(['socket', 'events'])(
  '%s: it takes a runtime of the standards only',
  async (way) => {
    const server = await serve();
    try {
      // Node 20 has the standard's WebSocket and hides it.
      const flags = ['--experimental-websocket', '--experimental-vm-modules', '--no-warnings'];
      const { stdout } = await promisify(execFile)(
        process.execPath,
        [...flags, fileURLToPath(here('./support/standards.js')), here('../dist'), server.url, way],
        { timeout: 15_000 },
      );
      const said = JSON.parse(stdout);
      expect(said).toMatchObject({ heard: [1, 'zwei', { three: [3] }], has: ['undefined', 'undefined'] });
      expect(said.connection === 'events').toBe(way === 'events');
    } finally {
      await server.stop();
    }
  },
);
