// Walks through the dashboard of a server that was started with --demo, as a visitor would.
//
//   node dashboard.mjs BASE_URL
//
// Prints one line per check; exit status 0 or 1.

import { request } from 'node:http';

import { assert, check, finish, launch, until } from './browser.mjs';
import { isLive, number, rowOf, Watched } from './page.mjs';
import { publish } from './server.mjs';

const [base] = process.argv.slice(2);
if (base === undefined) {
  console.error('usage: node dashboard.mjs BASE_URL');
  process.exit(2);
}
const home = new URL(base.endsWith('/') ? base : `${base}/`);
const browser = await launch();
const watched = new Watched(browser, home);
const page = await watched.open('', { viewport: { width: 1280, height: 800 }, colorScheme: 'light' });
const figure = (name) => page.locator(`[data-figure="${name}"] output`).textContent();
const lines = page.locator('#tail-rows > li.message');
const go = (hash) => page.evaluate((to) => (location.hash = to), hash);
const follow = async (filter) => {
  await page.locator('#topic-filter').fill(filter);
  await page.locator('#topic-filter').press('Enter');
};

await check('the page has a policy that allows nothing inline', async () => {
  const { headers } = await fetch(home);
  const policy = headers.get('content-security-policy') ?? '';
  assert(/default-src 'none'/.test(policy) && !/unsafe/.test(policy), `policy: ${policy}`);
});
await check('it goes live', () => until('live', () => isLive(page)).then(() => undefined));

// The overview.
await check('figures arrive', async () => {
  await until('a rate', async () => number(await figure('publishes')) > 0);
  const seen = await Promise.all(['connections', 'subscriptions', 'topics', 'memory'].map(figure));
  assert(seen.every((text) => number(text) > 0), seen.join(' '));
  return seen.join(' ');
});
await check('figures move', async () => {
  const read = () => page.locator('#figures').textContent();
  const before = await read();
  await until('another text', async () => (await read()) !== before, 5000);
});
await check('lines are drawn, and a point of them is read', async () => {
  const line = page.locator('[data-figure="publishes"] .line');
  await until('a line', async () => ((await line.getAttribute('d')) ?? '').includes('L'));
  await page.locator('[data-figure="publishes"]').hover({ position: { x: 60, y: 60 } });
  await until('the time of a point', async () => / ago$/.test(await page.locator('[data-figure="publishes"] .detail').textContent()));
  await page.mouse.move(0, 0);
});
await check('a longer time is chosen', async () => {
  await page.locator('[data-span="3600000"]').click();
  assert((await page.locator('[data-span][aria-pressed="true"]').textContent()) === '1 h', 'not shown as chosen');
  assert((await page.locator('#causes-lately').textContent()) === 'In 1 h', 'the column does not say so');
  await page.locator('[data-span="120000"]').click();
});
await check('a refusal is seen under its cause', async () => {
  const total = page.locator('[data-cause="refused_origins"] .total');
  await until('a figure', async () => /\d/.test(await total.textContent()));
  const before = number(await total.textContent());
  const status = await new Promise((resolve, reject) => {
    request(home, { headers: { host: 'elsewhere.example' } }, (answer) => resolve(answer.resume().statusCode)).on('error', reject).end();
  });
  assert(status === 403, `status ${status}`);
  await until('one more', async () => number(await total.textContent()) === before + 1);
  const row = page.locator('[data-cause="refused_origins"]');
  assert((await row.getAttribute('class')).includes('alarm'), 'it does not stand out');
});
await check('figures of before a reload are still there after it', async () => {
  await page.reload({ waitUntil: 'load' });
  await until('a line of more than the newest points', async () => ((await page.locator('[data-figure="publishes"] .line').getAttribute('d')) ?? '').split('L').length > 4, 3000);
});
await check('the busiest topics lead to themselves', async () => {
  await until('host.cpu', async () => (await page.locator('#busiest a').first().textContent()) === 'host.cpu', 15_000);
  await page.locator('#busiest a').first().click();
  await until('its messages', async () => (await lines.count()) > 0);
  assert((await page.title()) === 'Topics – fanfare', await page.title());
});

// Topics.
await check('topics of the demonstration are listed', () =>
  until('host.*', async () => {
    const names = (await page.locator('#topics-rows tr[data-topic]').evaluateAll((nodes) => nodes.map((node) => node.dataset.topic))).filter((name) => name.startsWith('host.'));
    return names.length >= 3 && names.join(' ');
  }));
await check('a topic has a rate', async () => {
  const text = () => rowOf(page, 'host.cpu').locator('td.rate').textContent();
  await until('a rate above zero', async () => number(await text()) > 0);
  return `${await text()} a second`;
});
await check('clicking a topic follows it', async () => {
  await rowOf(page, 'host.memory').click();
  await until('messages', async () => (await page.locator('#topic-filter').inputValue()) === 'host.memory' && (await lines.count()) >= 3);
  const offsets = await page.locator('#tail-rows .at').evaluateAll((nodes) => nodes.map((node) => Number(node.textContent.slice(1))));
  assert(offsets.every((offset, at) => at === 0 || offset === offsets[at - 1] - 1), `not newest first and whole: ${offsets}`);
});
await check('a message opens', async () => {
  // Paused, or the row would move away from under the pointer.
  await page.locator('#tail-pause').click();
  await lines.first().locator('summary').click();
  JSON.parse(await lines.first().locator('pre').textContent());
  const before = await lines.count();
  await until('what waits', async () => /Resume \(\d+\)/.test(await page.locator('#tail-pause').textContent()));
  assert((await lines.count()) === before, 'paused, and still it moves');
  await page.locator('#tail-pause').click();
  await until('more rows', async () => (await lines.count()) > before);
});
await check('clear empties the tail', async () => {
  const before = await lines.count();
  await page.locator('#tail-clear').click();
  await until('fewer rows', async () => (await lines.count()) < before);
});
await check('a pattern is followed, and the back button leads to the topic before', async () => {
  await follow('host.>');
  await until('two topics', async () => new Set(await page.locator('#tail-rows .topic').allTextContents()).size >= 2);
  assert(await page.locator('#tab-history').isDisabled(), 'a pattern has no history');
  await page.goBack();
  await until('host.memory', async () => (await page.locator('#topic-filter').inputValue()) === 'host.memory');
});
await check('publishing works, and arrives', async () => {
  await follow('news');
  await until('the empty tail', async () => /Waiting for news/.test(await page.locator('#tail-blank').textContent()));
  assert((await page.locator('#publish-topic').inputValue()) === 'news', 'the form does not suggest it');
  await page.locator('#publish-data').fill('{"hello": "<b>browser</b>", "big": 18446744073709551615}');
  await page.locator('#publish-send').click();
  await until('a result', async () => /Published to news as #\d+/.test(await page.locator('#publish-result').textContent()));
  await until('the message', async () => (await lines.count()) > 0);
  const text = await lines.first().locator('.value').textContent();
  assert(text.includes('<b>browser</b>') && text.includes('18446744073709551615'), text);
  return text;
});
await check('the tail is filtered by text', async () => {
  await page.locator('#tail-find').fill('NEEDLE');
  await until('no row', async () => (await lines.count()) === 0);
  await publish(home, ['hay', { a: 'needle' }, 18446744073709551615n.toString()].map((data) => ({ topic: 'news', data })));
  await until('the one', async () => (await lines.count()) === 1 && /1 of 3 received/.test(await page.locator('#tail-count').textContent()));
  await page.locator('#tail-find').fill('');
});
await check('a refused publish shows the code', async () => {
  await page.locator('#publish-topic').fill('$stats');
  await page.locator('#publish-data').press('Control+Enter');
  await until('the code', async () => /forbidden/.test(await page.locator('#publish-result').textContent()));
});
await check('a bad pattern shows the code', async () => {
  await follow('a..b');
  await until('the code', async () => /bad_topic/.test(await page.locator('#tail-error').textContent()));
});
await check('a search finds any part of a name, and patterns', async () => {
  const shown = () => page.locator('#topics-rows tr[data-topic]').evaluateAll((nodes) => nodes.map((node) => node.dataset.topic).join(' '));
  await page.locator('#topics-search').fill('MEM');
  await until('one row', async () => (await shown()) === 'host.memory');
  await page.locator('#topics-search').fill('*.cpu');
  await until('another row', async () => (await shown()) === 'host.cpu');
  await page.locator('#topics-search').fill('no-such-topic');
  await until('no row', async () => /No match/.test(await page.locator('#topics-blank').textContent()));
  await page.locator('#topics-search').fill('');
  await until('all rows', async () => (await shown()).split(' ').length >= 4);
});
await check('the table sorts', async () => {
  await page.locator('[data-sort="topic"]').click();
  const names = await page.locator('#topics-rows tr[data-topic]').evaluateAll((nodes) => nodes.map((node) => node.dataset.topic));
  assert(names.join() === [...names].sort().reverse().join(), names.join());
  assert((await page.locator('#topics th[aria-sort="descending"]').textContent()) === 'Topic', 'the head does not say so');
  await page.locator('[data-sort="topic"]').click();
});
await check('rows and tabs are gone through with arrows', async () => {
  await page.locator('#topics-rows .name[tabindex="0"]').focus();
  const focused = () => page.evaluate(() => document.activeElement.textContent);
  await page.keyboard.press('Home');
  const first = await focused();
  await page.keyboard.press('ArrowDown');
  const second = await focused();
  assert(first !== second && second.startsWith('host.'), `${first}, ${second}`);
  await page.keyboard.press('Enter');
  await until('it is followed', async () => (await page.locator('#topic-filter').inputValue()) === second);
  await page.locator('#tab-tail').focus();
  await page.keyboard.press('ArrowRight');
  await until('the history', () => page.locator('#panel-history:not([hidden])').count());
});

// History and members.
await check('a history is read, back to its beginning', async () => {
  await publish(home, Array.from({ length: 150 }, (_, n) => ({ topic: 'past', data: n })));
  await go('#/topics/past/history');
  const rows = page.locator('#history-rows > li');
  await until('a hundred', async () => (await rows.count()) === 100);
  assert((await rows.first().locator('.at').textContent()) === '#150', await rows.first().textContent());
  await page.locator('#history-older').click();
  await until('all of them', async () => (await rows.count()) === 150);
  assert((await rows.last().textContent()) === '#10', await rows.last().textContent());
  assert(await page.locator('#history-older').isHidden(), 'there is nothing older');
});

/** Connects as somebody else, from a page that is not the dashboard; members of a room unless told otherwise. */
const other = await (await browser.newContext()).newPage();
await other.goto(new URL('healthz', home).href);
const join = (member) =>
  other.evaluate(
    ([address, member]) =>
      new Promise((resolve) => {
        const socket = new WebSocket(address, 'fanfare.v1.json');
        const kept = { socket, closed: undefined };
        socket.onmessage = ({ data }) => {
          const event = JSON.parse(data);
          if (event.type === 'welcome') {
            globalThis.kept = { ...globalThis.kept, [event.connection]: kept };
            socket.send(JSON.stringify({ type: 'subscribe', id: 1, topic: 'room', presence: true, member }));
            kept.connection = event.connection;
          }
          if (event.type === 'presence') resolve(kept.connection);
        };
        socket.onclose = ({ code }) => (kept.closed = code);
      }),
    [new URL('ws', home).href.replace('http', 'ws'), member],
  );
const ana = await join({ name: 'Ana' });
await check('members are seen, and seeing them is not being one', async () => {
  await go('#/topics/room/members');
  await until('Ana', async () => /Ana/.test(await page.locator('#members-rows').textContent()));
  assert((await page.locator('#members-count').textContent()) === '1 member', await page.locator('#members-count').textContent());
});
await check('a member sees others come and go at once', async () => {
  await page.locator('#members-live').check();
  await until('the page itself', async () => /dashboard/.test(await page.locator('#members-rows').textContent()));
  const ben = await join({ name: 'Ben' });
  await until('Ben', async () => /Ben/.test(await page.locator('#members-rows').textContent()), 3000);
  await other.evaluate((name) => globalThis.kept[name].socket.close(), ben);
  await until('Ben has left', async () => !/Ben/.test(await page.locator('#members-rows').textContent()), 3000);
  await page.locator('#members-live').uncheck();
  await until('the page has left', async () => (await page.locator('#members-count').textContent()) === '1 member');
});

// Connections.
await check('connections are listed, this page among them', async () => {
  await page.locator('#to-connections').click();
  await until('both', async () => (await page.locator('#connections-rows tr[data-connection]').count()) >= 2);
  assert((await page.locator('#connections-rows .tag:not([hidden])').count()) === 1, 'this page is not marked');
  const row = page.locator(`#connections-rows tr[data-connection="${ana}"]`);
  assert((await row.locator('.address').textContent()).startsWith('127.0.0.1'), await row.textContent());
  assert((await row.locator('.subscriptions').textContent()) === '1', await row.textContent());
});
await check('one is sent away, once that is confirmed', async () => {
  const row = page.locator(`#connections-rows tr[data-connection="${ana}"]`);
  const closed = () => other.evaluate((name) => globalThis.kept[name].closed, ana);
  await row.locator('button').click();
  await page.locator('#confirm button[value="no"]').click();
  await row.locator('button').click();
  await page.locator('#confirm').getByText(ana).waitFor();
  assert((await closed()) === undefined, 'closed before it was confirmed');
  await page.locator('#confirm button[value="yes"]').click();
  await until('4403', async () => (await closed()) === 4403);
  await until('what became of it', async () => /Disconnected/.test(await page.locator('#connections-result').textContent()));
  await until('it leaves the list', async () => (await row.count()) === 0);
});

// All of it.
await check('the theme can be switched, and stays', async () => {
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const before = await ground();
  await page.locator('#theme').click();
  assert((await ground()) !== before, 'the same ground');
  await page.reload({ waitUntil: 'load' });
  assert((await ground()) !== before, 'the same ground after a reload');
});
await check('nothing is wider than a phone, and all of it can be tabbed to', async () => {
  const narrow = await watched.open('#/topics/host.%3E', { viewport: { width: 320, height: 700 } });
  await until('rows', () => narrow.locator('#tail-rows > li').count());
  for (const view of ['#/', '#/topics/host.%3E', '#/connections']) {
    await narrow.evaluate((to) => (location.hash = to), view);
    await narrow.waitForFunction(() => document.querySelector('#main > [id]:not([hidden])'));
    const width = await narrow.evaluate(() => document.documentElement.scrollWidth);
    assert(width <= 320, `${view} is ${width} wide`);
  }
  await narrow.evaluate(() => (location.hash = '#/topics/host.%3E'));
  await until('live', () => isLive(narrow));
  await until('rows of topics', () => narrow.locator('#topics-rows tr[data-topic]').count());
  // Paused, or the rows that are tabbed through move on.
  await narrow.locator('#tail-pause').click();
  await narrow.evaluate(() => document.activeElement.blur());
  const met = new Set();
  for (let press = 0; press < 60; press += 1) {
    await narrow.keyboard.press('Tab');
    met.add(await narrow.evaluate(() => document.activeElement?.id));
  }
  const ids = ['to-overview', 'to-topics', 'to-connections', 'theme', 'topics-search', 'topic-filter', 'tab-tail', 'tail-find', 'tail-pause', 'tail-clear'];
  for (const id of ids) assert(met.has(id), `${id} was not met`);
  await narrow.context().close();
});
await watched.conclude();
await finish(browser);
