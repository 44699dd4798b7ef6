/**
 * Prices that wander: sixty times a second twenty of the thousand change, each change a message of its own.
 *
 *   node feed.js http://127.0.0.1:7070
 */

import { symbols } from './symbols.js';

const server = process.argv[2] ?? 'http://127.0.0.1:7070';
const TICKS_PER_SECOND = 60;
const CHANGES_PER_TICK = 20;

const open = symbols.map(() => Math.exp(Math.random() * 5 + 1));
const prices = [...open];

const cents = (price) => Math.round(price * 100) / 100;

const change = (at) => {
  const last = prices[at];
  prices[at] = Math.max(0.01, last * (1 + (Math.random() - 0.5) / 250));
  const data = { price: cents(prices[at]), last: cents(last), open: cents(open[at]) };
  return { topic: `prices.${symbols[at]}`, data };
};

const publish = async (messages) => {
  const response = await fetch(`${server}/v1/publish`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ messages }),
  });
  if (!response.ok) throw new Error(await response.text());
  await response.arrayBuffer();
};

// Everybody has a price, before some change.
for (let at = 0; at < symbols.length; at += 250) await publish(symbols.slice(at, at + 250).map((_, more) => change(at + more)));

const began = performance.now();
for (let tick = 1; ; tick++) {
  const some = new Set();
  while (some.size < CHANGES_PER_TICK) some.add(Math.floor(Math.random() * symbols.length));
  // A server that is restarted is there again soon.
  await publish([...some].map(change)).catch(() => new Promise((resolve) => setTimeout(resolve, 500)));
  const ahead = began + (tick * 1000) / TICKS_PER_SECOND - performance.now();
  if (ahead > 0) await new Promise((resolve) => setTimeout(resolve, ahead));
  else if (ahead < -1000) tick -= Math.floor((ahead / 1000) * TICKS_PER_SECOND);
}
