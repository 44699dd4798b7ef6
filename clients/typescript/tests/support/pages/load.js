/** A page into which as much is sent as it can take: it counts, and looks at each message. */

import { withFallback } from './fallback.js';
import { createClient } from './index.js';
import { given } from './seen.js';

const load = { count: 0, next: 1, wrong: 0, gaps: 0, sum: 0 };
const options = given('over') === 'events' ? withFallback({ eventsOnly: true }) : {};
const client = createClient(given('url'), options);
const { ready } = client.subscribe(
  'load',
  ({ offset, data }) => {
    if (offset !== load.next) load.wrong++;
    load.next = offset + 1;
    load.count++;
    load.sum += data.bid;
  },
  { onGap: () => load.gaps++ },
);
await ready;
globalThis.load = load;
