import { readdirSync, readFileSync } from 'node:fs';

import { expect, test } from 'vitest';
import { WebSocket } from 'ws';

import { prices } from '../examples/prices.ts';
import { room } from '../examples/room.ts';
import type { SocketConstructor } from '../src/index.ts';
import { binary, serve } from './support/fanfare.ts';

const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');

test('what the README shows is in the examples', () => {
  const shown = [...read('README.md').matchAll(/<!-- (examples\/\S+) -->\n```tsx?\n(.*?)```/gs)];
  expect(shown.length).toBeGreaterThan(4);
  for (const [, file = '', code = ''] of shown) expect(read(file)).toContain(code);
});

test('each option of the client is in the README, and so is each code', () => {
  const readme = read('README.md');
  const names = (file: string, from: string, pattern: RegExp): string[] => {
    const text = read(file).split(from)[1]?.split('\n}')[0] ?? '';
    return [...text.matchAll(pattern)].map(([, name = '']) => name);
  };
  const options = names('src/client.ts', 'interface ClientOptions {', /readonly (\w+)\??:/g);
  expect(options.length).toBeGreaterThan(10);
  const more = names('src/subscription.ts', 'interface SubscribeOptions {', /^ {2}(?:readonly )?(\w+)\?/gm);
  expect(more.length).toBeGreaterThan(7);
  const publish = names('src/client.ts', 'interface PublishOptions {', /readonly (\w+)\??:/g);
  expect(publish).toHaveLength(5);
  const codes = [...(read('src/errors.ts').match(/ClientErrorCode =.*?;/s)?.[0] ?? '').matchAll(/'(\w+)'/g)].map(
    ([, code = '']) => code,
  );
  expect(codes).toHaveLength(7);
  const others = [
    ...names('src/fallback.ts', 'interface FallbackOptions extends ClientOptions {', /readonly (\w+)\??:/g).filter(
      (name) => name !== 'fetch',
    ),
    ...names('src/worker.ts', 'interface ShareOptions {', /readonly (\w+)\??:/g),
  ];
  expect(others).toHaveLength(5);
  for (const name of [...options, ...more, ...codes, ...others]) expect(readme, name).toContain(`\`${name}\``);
  for (const name of publish) expect(readme, name).toMatch(new RegExp(`\`${name}[:\`]`));
});

test('no exported type is `any`', () => {
  const files = readdirSync(new URL('../dist/types', import.meta.url)).filter((name) => name.endsWith('.d.ts'));
  expect(files.length).toBeGreaterThan(6);
  for (const file of files) {
    const code = read(`dist/types/${file}`).replace(/\/\*.*?\*\/|\/\/[^\n]*/gs, '');
    expect(code.match(/.*\bany\b.*/g), file).toBeNull();
  }
});

test.skipIf(binary === undefined)('the examples do what they say', async () => {
  const server = await serve();
  const lines: string[] = [];
  try {
    await prices(server.url, WebSocket as unknown as SocketConstructor, (line) => lines.push(line));
    expect(lines.toSorted()).toEqual(
      [
        'connecting',
        'connected',
        'prices.btc 1 1.5',
        'prices.eth 1 0.5',
        'published as 1',
        'the loop has 1.5',
        'closed',
      ].toSorted(),
    );
    lines.length = 0;
    await room(server.url, WebSocket as unknown as SocketConstructor, (line) => lines.push(line));
    expect(lines[0]).toBe('a token to connect');
    expect(lines).toContain('1 here');
    expect(lines).toContain('no such topic');
  } finally {
    await server.stop();
  }
});
