// How the report of `fanfare bench --html` looks, light and dark, wide and narrow, and whether everybody can read
// it, by the rules that a program can check.
//
//   node report.mjs REPORT OUT_DIR
//
// Prints one line per check and leaves screenshots in OUT_DIR; exit status 0 or 1.

import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

import { assert, check, finish, launch } from './browser.mjs';

const CHARTS = 7;
/** CSS pixels; smaller letters are none. */
const LETTERS_MIN = 9;

const [report, out] = process.argv.slice(2);
if (report === undefined || out === undefined) {
  console.error('usage: node report.mjs REPORT OUT_DIR');
  process.exit(2);
}
await mkdir(out, { recursive: true });
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const browser = await launch();

for (const colorScheme of ['light', 'dark']) {
  for (const [name, width] of [
    ['wide', 1280],
    ['phone', 390],
  ]) {
    await check(`the report, ${colorScheme}, ${name}`, async () => {
      const page = await browser.newPage({ colorScheme, viewport: { width, height: 900 } });
      const said = [];
      page.on('console', (message) => said.push(message.text()));
      page.on('request', (request) => said.push(request.url()));
      const url = pathToFileURL(resolve(report)).href;
      await page.goto(url);
      assert(said.length === 1 && said[0] === url, `it asks for more, or complains: ${said.join(', ')}`);
      await page.screenshot({ path: join(out, `report-${colorScheme}-${name}.png`), fullPage: true });
      const { beyond, lines, letters } = await page.evaluate(() => ({
        beyond: document.documentElement.scrollWidth - innerWidth,
        lines: [...document.querySelectorAll('svg')].filter((svg) => svg.querySelector('.line')?.getBBox().width > 0).length,
        letters: Math.min(...[...document.querySelectorAll('svg text')].map((text) => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a)),
      }));
      assert(beyond <= 0, `${beyond} pixels beyond the edge`);
      assert(lines === CHARTS, `lines in ${lines} charts of ${CHARTS}`);
      assert(letters >= LETTERS_MIN, `letters of ${letters.toFixed(1)} pixels`);
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(({ target }) => target.join(' ')).join(', ')}`);
      assert(found.length === 0, found.join('; '));
      await page.close();
    });
  }
}
await finish(browser);
