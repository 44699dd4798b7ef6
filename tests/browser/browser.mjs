// Debian's Chromium, driven from here, and checks that print one line each.

import { chromium } from 'playwright-core';

export function launch(...more) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', ...more],
  });
}

let failed = 0;

/** Runs one check; it fails by throwing. What it returns is printed beside its name. */
export async function check(name, body) {
  try {
    const said = await body();
    console.log(`ok    ${name}${said === undefined ? '' : `: ${said}`}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL  ${name}: ${error.message.split('\n')[0]}`);
  }
}

/** Asks `probe` until it answers with something true. */
export async function until(what, probe, withinMs = 10_000) {
  const end = Date.now() + withinMs;
  for (;;) {
    const answer = await probe();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resume) => setTimeout(resume, 50));
  }
}

export function assert(truth, message) {
  if (!truth) throw new Error(message);
}

/** Ends the process: 0 if every check held, else 1. */
export async function finish(browser) {
  await browser.close();
  if (failed > 0) console.log(`${failed} failed`);
  process.exit(failed > 0 ? 1 : 0);
}
