// The dashboard with ten thousand topics: it stays quick, and it holds no more of them than are in sight.
//
//   node crowd.mjs
//
// Prints one line per check; exit status 0 or 1. The server is its own, of the command in FANFARE.

import { assert, check, finish, launch, until } from './browser.mjs';
import { isLive, rowOf, Watched } from './page.mjs';
import { publish, serve } from './server.mjs';

const TOPICS = 10_000;
/** Rows of all topics would take a second at a time, and more. It is the processor's time, which others that are busy do not lengthen. */
const TASK_MS_MAX = 100;

const server = await serve();
const { home } = server;
const nameOf = (n) => `shop.${String(n % 97).padStart(2, '0')}.item.${String(n).padStart(5, '0')}`;
for (let n = 0; n < TOPICS; n += 1000) {
  await publish(home, Array.from({ length: 1000 }, (_, at) => ({ topic: nameOf(n + at), data: n + at })));
}
/** Some of them have messages all the time. */
const busy = setInterval(() => publish(home, Array.from({ length: 50 }, (_, n) => ({ topic: nameOf(n * 199), data: n }))).catch(() => {}), 100);

const browser = await launch();
const watched = new Watched(browser, home);
const page = await watched.open('#/topics', { viewport: { width: 1280, height: 800 } });
await browser.startTracing(page, { categories: ['toplevel'] });
await page.reload({ waitUntil: 'load' });
const shown = () => page.locator('#topics-rows tr[data-topic]').count();
const scroller = page.locator('#topics .topics .scroll');
const names = Array.from({ length: TOPICS }, (_, n) => nameOf(n)).sort();

await check('all are counted, and few are in the document', async () => {
  await until('live', () => isLive(page));
  await until('all of them', async () => Number(await page.locator('#topics-rows').evaluate((body) => body.closest('table').getAttribute('aria-rowcount'))) > TOPICS, 20_000);
  const rows = await shown();
  assert(rows > 10 && rows < 80, `${rows} rows`);
  return `${rows} rows`;
});
await check('one can scroll through all of them', async () => {
  for (let step = 1; step <= 40; step += 1) {
    await scroller.evaluate((node, share) => (node.scrollTop = node.scrollHeight * share), step / 40);
    await page.evaluate(() => new Promise(requestAnimationFrame));
  }
  await until('the last one', () => rowOf(page, names.at(-1)).count());
  assert((await shown()) < 80, `${await shown()} rows`);
  await scroller.evaluate((node) => (node.scrollTop = 0));
  await until('the first one', () => rowOf(page, names[0]).count());
});
await check('the keyboard reaches the last one, and comes back', async () => {
  await page.locator('#topics-rows .name[tabindex="0"]').focus();
  const focused = () => page.evaluate(() => document.activeElement.textContent);
  await page.keyboard.press('End');
  assert((await focused()) === names.at(-1), await focused());
  await page.keyboard.press('ArrowUp');
  assert((await focused()) === names.at(-2), await focused());
  await page.keyboard.press('Home');
  assert(['$stats', names[0]].includes(await focused()), await focused());
  await page.evaluate(() => document.activeElement.blur());
});
await check('they are sorted by what goes on', async () => {
  await page.locator('[data-sort="rate"]').click();
  await until('a busy one first', async () => {
    await page.mouse.move(700, 700);
    return Number(await page.locator('#topics-rows tr[data-topic] .rate span').first().textContent()) > 0;
  }, 30_000);
  await page.locator('[data-sort="topic"]').click();
});
await check('a search finds one among them', async () => {
  const search = page.locator('#topics-search');
  await search.pressSequentially('item.0777', { delay: 30 });
  await until('ten', async () => (await shown()) === 10);
  await search.fill('shop.*.item.07770');
  await until('one', async () => (await shown()) === 1);
  await search.fill('');
  await until('all again', async () => (await shown()) > 10);
});
await check('the page is never busy for long', async () => {
  const { traceEvents: events } = JSON.parse(await browser.stopTracing());
  const mains = new Set(events.filter(({ name, args }) => name === 'thread_name' && args.name === 'CrRendererMain').map(({ pid, tid }) => `${pid} ${tid}`));
  const tasks = events.filter(({ name, pid, tid, tdur }) => tdur > 0 && name.endsWith('RunTask') && mains.has(`${pid} ${tid}`)).map(({ tdur }) => tdur / 1000);
  const longest = Math.max(...tasks);
  assert(tasks.length > 100 && longest < TASK_MS_MAX, `a task of ${longest} ms among ${tasks.length}`);
  return `the longest of ${tasks.length} tasks took ${Math.round(longest)} ms of the processor, ${tasks.filter((ms) => ms > 50).length} took more than 50`;
});
clearInterval(busy);
await watched.conclude();
await server.stop();
await finish(browser);
