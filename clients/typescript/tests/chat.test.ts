/**
 * `examples/chat` in Chromium: `CHAT=target/debug/examples/chat`. Its pictures go where `SCREENSHOTS` says.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

import type { Browser, Page } from 'playwright-core';
import { afterEach, expect, test } from 'vitest';

import { launch, screenshots } from './support/chromium.ts';

const binary = process.env['CHAT'];
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const started = async (address = '127.0.0.1:0'): Promise<{ url: string; stop(): Promise<void> }> => {
  const child: ChildProcess = spawn(binary as string, [address], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const stop = async () => {
    child.kill('SIGINT');
    await exited;
  };
  cleanups.push(stop);
  const [said] = await once(child.stdout as NodeJS.ReadableStream, 'data');
  return { url: /http:\S+/.exec(String(said))?.[0] as string, stop };
};

/** Somebody in a browser of their own. */
const enter = async (
  browser: Browser,
  url: string,
  name: string,
  options = {},
): Promise<Page & { failures: string[] }> => {
  const page = await (await browser.newContext(options)).newPage();
  const failures: string[] = [];
  page.on('pageerror', (error) => failures.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && failures.push(message.text()));
  await page.goto(`${url}#kitchen`);
  await page.getByLabel('Your name').fill(name);
  await page.getByRole('button', { name: 'Enter the chat' }).click();
  await page.getByText('live', { exact: true }).waitFor();
  return Object.assign(page, { failures });
};

const say = async (page: Page, text: string): Promise<void> => {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
};

test.skipIf(binary === undefined)(
  'people talk, see each other, and miss nothing while the server restarts',
  async () => {
    const { url, stop } = await started();
    const browser = await launch();
    cleanups.push(() => browser.close());
    const ana = await enter(browser, url, 'Ana', { viewport: { width: 1100, height: 700 } });
    await say(ana, 'Is anybody in the kitchen?');
    const ben = await enter(browser, url, 'Ben', { viewport: { width: 400, height: 760 }, colorScheme: 'dark' });
    // What was said before he came.
    await ben.getByText('Is anybody in the kitchen?').waitFor();
    await ana.getByText('Ben joined').waitFor();
    await say(ben, 'I am, and there is coffee.');
    await ana.getByText('there is coffee').waitFor();
    await ben.getByLabel('Message', { exact: true }).pressSequentially('With milk');
    await ana.getByText('Ben is typing…').waitFor();
    expect(await ana.locator('#people li').allTextContents()).toEqual(['AAna (you)', 'BBen']);
    await say(ana, '<b>Two cups</b>, please');
    await ben.getByText('<b>Two cups</b>, please').waitFor();
    await ana.screenshot({ path: screenshots('chat.png') });
    await ben.screenshot({ path: screenshots('chat-dark-phone.png') });
    expect(await ben.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(400);

    // Nothing is lost that is said while nobody is there to take it.
    await stop();
    await ana.getByText('reconnecting').or(ana.getByText('back in')).first().waitFor();
    await say(ana, 'Are you still there?');
    await started(new URL(url).host);
    await ben.getByText('Are you still there?').waitFor({ timeout: 20_000 });
    expect(await ben.getByText('Are you still there?').count()).toBe(1);
    await ben.context().close();
    await ana.getByText('Ben left').waitFor({ timeout: 20_000 });
    expect(ana.failures.filter((each) => !each.startsWith('WebSocket connection to'))).toEqual([]);
  },
  90_000,
);
