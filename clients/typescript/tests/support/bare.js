// Follows a topic and publishes to it, with the globals `url` and `way`, and says what came.

import { withFallback } from 'fanfare-client/fallback.js';
import { createClient } from 'fanfare-client/index.js';

const client = createClient(url, withFallback({ eventsOnly: way === 'events' }));
client.on('error', ({ code, message }) => console.log(`${code}: ${message}`));
const heard = [];
let done;
const all = new Promise((resolve) => (done = resolve));
const { ready } = client.subscribe('a', ({ data }) => {
  if (heard.push(data) === 3) done();
});
// What is published over HTTP does not wait for the stream of events.
await ready;
for (const data of [1, 'zwei', { three: [3] }]) await client.publish('a', data);
await all;
console.log(JSON.stringify({ heard, connection: client.state.connection, has: [typeof process, typeof Buffer] }));
client.close();
