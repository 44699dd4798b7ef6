/** Chromium, and a site that serves it the built package and the pages of the tests. */

import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

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

/** Where a picture goes: to `SCREENSHOTS`, or to where nobody looks. */
export const screenshots = (name: string): string => join(process.env['SCREENSHOTS'] ?? tmpdir(), name);

const types: Readonly<Record<string, string>> = { js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml' };

/** Serves what `find` finds, and nothing else. */
export const serveFiles = async (
  find: (path: string, query: URLSearchParams) => Buffer | string | undefined,
  policy = "default-src 'self'; img-src data:; style-src 'self' 'unsafe-inline'; connect-src *",
): Promise<Site> => {
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://site');
    const found = find(pathname, searchParams);
    response.setHeader('Content-Type', types[pathname.split('.')[1] ?? ''] ?? 'text/html; charset=utf-8');
    response.setHeader('Content-Security-Policy', policy);
    response.writeHead(found === undefined ? 404 : 200).end(found);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, close: () => server.close() };
};

/** The script `/NAME.js` is one of these pages or of the package. A page `/?script=NAME` runs one, and nothing else. */
export const site = (connect = '*'): Promise<Site> =>
  serveFiles((path, query) => {
    if (path === '/') return `<!doctype html><script type="module" src="${query.get('script')}.js"></script>`;
    const files = ['pages', '../../dist'].map((folder) => new URL(`${folder}${path}`, import.meta.url));
    const file = files.find((each) => existsSync(each));
    return file && readFileSync(file);
  }, `default-src 'self'; connect-src ${connect}`);

/** What a page keeps of what it sees: `globalThis.seen`. */
export interface Seen {
  heard: { epoch: string; offset: number; data: unknown }[];
  gaps: { epoch?: string; from?: number; to?: number; reason: string }[];
  errors: string[];
  /** Each state as it came. */
  states: string[];
  connection: string;
}
