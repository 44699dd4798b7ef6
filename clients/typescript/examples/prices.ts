/** What the README shows first, against a server at `url`. */

import { createClient, type SocketConstructor } from 'fanfare-client';

interface Topics {
  'prices.btc': { bid: number };
  [pattern: `prices.${string}`]: { bid: number };
}

export const prices = async (url: string, WebSocket: SocketConstructor, log: (line: string) => void): Promise<void> => {
  const client = createClient<Topics>(url, { WebSocket });
  client.on('state', ({ status }) => log(status));
  client.on('gap', ({ topic, from, to, reason }) => log(`${topic} ${from}-${to} left out: ${reason}`));
  client.on('error', ({ code, message }) => log(`${code}: ${message}`));

  const subscription = client.subscribe('prices.*', ({ topic, offset, data }) => log(`${topic} ${offset} ${data.bid}`));
  await subscription.ready;
  const { offset } = await client.publish('prices.btc', { bid: 1.5 });
  log(`published as ${offset}`);
  await client.publish('prices.eth', { bid: 0.5 });

  // The newest messages and what comes after them, as a loop that ends the subscription when it is left.
  for await (const event of client.subscribe('prices.btc', { last: 10 })) {
    if (event.type === 'gap') continue;
    log(`the loop has ${event.data.bid}`);
    break;
  }
  client.close();
};
