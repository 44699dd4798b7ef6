/** What the page of the Chromium test runs: it follows a topic, and keeps what it sees. */

import { createClient } from './index.js';

const seen = { heard: [], gaps: [], status: '' };
const client = createClient(new URLSearchParams(location.search).get('url'), { delayMsMin: 20, delayMsMax: 100 });
client.on('state', ({ status }) => {
  seen.status = status;
});
const subscription = client.subscribe(
  'a',
  ({ offset, data }) => seen.heard.push({ epoch: subscription.position.epoch, offset, data }),
  { onGap: (gap) => seen.gaps.push(gap) },
);
await subscription.ready;
globalThis.seen = seen;
