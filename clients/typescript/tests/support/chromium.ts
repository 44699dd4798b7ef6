/** Chromium, and a site that serves it the built package and the pages of the tests. */

import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

import { type Browser, chromium } from 'playwright-core';

export const launch = (): Promise<Browser> =>
  chromium.launch({
    executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
  });

export interface Site {
  readonly url: string;
  close(): void;
}

/** The script `/NAME.js` is one of these pages or of the package. A page `/?script=NAME` runs one, and nothing else. */
export const site = async (connect = '*'): Promise<Site> => {
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://site');
    const script = pathname.endsWith('.js');
    response.setHeader('Content-Type', script ? 'text/javascript' : 'text/html');
    response.setHeader('Content-Security-Policy', `default-src 'self'; connect-src ${connect}`);
    if (!script)
      return response.end(`<!doctype html><script type="module" src="${searchParams.get('script')}.js"></script>`);
    const files = ['pages', '../../dist'].map((folder) => new URL(`${folder}${pathname}`, import.meta.url));
    const file = files.find((each) => existsSync(each));
    if (file) response.end(readFileSync(file));
    else response.writeHead(404).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, close: () => server.close() };
};

/** What a page keeps of what it sees: `globalThis.seen`. */
export interface Seen {
  heard: { epoch: string; offset: number; data: unknown }[];
  gaps: { epoch?: string; from?: number; to?: number; reason: string }[];
  errors: string[];
  /** Each state as it came. */
  states: string[];
  connection: string;
}
