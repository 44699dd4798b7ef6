// A page of the dashboard that is watched: what it complains of, whom it asks, what its policy stops.

import { assert, check } from './browser.mjs';

export class Watched {
  complaints = [];
  foreign = [];
  #violations = [];

  constructor(browser, home) {
    this.browser = browser;
    this.home = home;
  }

  /** Opens the dashboard. What belongs to a `context` of another page shares its storage. */
  async open(hash = '', { context, expected = () => false, ...options } = {}) {
    const owner = context ?? (await this.browser.newContext(options));
    const page = await owner.newPage();
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type()) && !expected(message.text())) this.complaints.push(message.text());
    });
    page.on('pageerror', (error) => this.complaints.push(String(error)));
    const stray = (address) => {
      const { protocol, host } = new URL(address);
      if (protocol !== 'data:' && host !== this.home.host) this.foreign.push(address);
    };
    page.on('request', (request) => stray(request.url()));
    page.on('websocket', (socket) => stray(socket.url()));
    // Chromium prints a violation as an error of the console; ask the page too.
    await page.exposeFunction('violated', (text) => this.#violations.push(text));
    await page.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', (event) => globalThis.violated(`${event.violatedDirective} ${event.blockedURI}`));
    });
    await page.goto(new URL(hash, this.home).href, { waitUntil: 'load' });
    return page;
  }

  /** The checks that come last. */
  async conclude() {
    await check('no error and no warning in the console', () => assert(this.complaints.length === 0, this.complaints.join('; ')));
    await check('no request to a foreign host', () => assert(this.foreign.length === 0, this.foreign.join('; ')));
    await check('nothing that the policy had to stop', () => assert(this.#violations.length === 0, this.#violations.join('; ')));
  }
}

export const isLive = (page) => page.locator('#status[data-state="connected"]').count();
export const number = (text) => Number(text.replace(/[^\d.]/g, ''));
export const rowOf = (page, topic) => page.locator(`#topics-rows tr[data-topic="${topic}"]`);
