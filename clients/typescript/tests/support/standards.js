// Runs bare.js with the package in a realm that has what is of the language and of the Web's standards, and nothing of
// Node's: as Deno is, and workers are.

import { readFileSync } from 'node:fs';
import { createContext, SourceTextModule } from 'node:vm';

const [dist, url, way] = process.argv.slice(-3);
const standard = [
  'AbortController',
  'ReadableStream',
  'TextDecoder',
  'TextDecoderStream',
  'TextEncoder',
  'URL',
  'URLSearchParams',
  'WebSocket',
  'clearTimeout',
  'console',
  'fetch',
  'queueMicrotask',
  'setTimeout',
];
const scope = createContext({ url, way, ...Object.fromEntries(standard.map((name) => [name, globalThis[name]])) });

const modules = new Map();
const find = (specifier, { identifier }) => {
  const file = new URL(specifier.replace('fanfare-client', dist), identifier).href;
  const found =
    modules.get(file) ??
    new SourceTextModule(readFileSync(new URL(file), 'utf8'), { context: scope, identifier: file });
  modules.set(file, found);
  return found;
};
const bare = find('./bare.js', { identifier: import.meta.url });
await bare.link(find);
await bare.evaluate();
