import { readFileSync } from 'node:fs';

import { expect, test } from 'vitest';

import { patternOf } from '../src/pattern.ts';

interface Vectors {
  texts: { text: string; name: boolean; pattern: boolean }[];
  matches: { pattern: string; name: string; matches: boolean }[];
}

const vectors: Vectors = JSON.parse(
  readFileSync(new URL('../../../tests/vectors/topics.json', import.meta.url), 'utf8'),
);

test('what is a pattern and no name is known as one', () => {
  const valid = vectors.texts.filter(({ pattern }) => pattern);
  expect(valid.length).toBeGreaterThan(10);
  for (const { text, name } of valid) expect(patternOf(text) === undefined, text).toBe(name);
});

test('patterns match what the server says they match', () => {
  expect(vectors.matches.length).toBeGreaterThan(10);
  for (const { pattern, name, matches } of vectors.matches) {
    const found = patternOf(pattern)?.test(name) ?? pattern === name;
    expect(found, `${pattern} and ${name}`).toBe(matches);
  }
});

test('what means something in expressions means nothing in names', () => {
  expect(patternOf('a+(b)[c]^.*')?.test('a+(b)[c]^.x')).toBe(true);
  expect(patternOf('a+(b)[c]^.*')?.test('aab.x')).toBe(false);
  expect(patternOf('a.>')?.test('axb')).toBe(false);
});
