/** What the server's dashboard uses of this client is what the build makes of it. */

import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const here = (path: string): URL => new URL(path, import.meta.url);
const read = (path: string): string => readFileSync(here(path), 'utf8');

test('the dashboard has the client as it is built', () => {
  const built = readdirSync(here('../page')).sort();
  // What else they import would have to be served as well.
  expect(built).toEqual(['client.js', 'fallback.js']);
  for (const name of built) {
    const same = read(`../page/${name}`) === read(`../../../assets/${name}`);
    expect(same, `assets/${name} is another: \`npm run vendor\` in clients/typescript makes it`).toBe(true);
  }
});
