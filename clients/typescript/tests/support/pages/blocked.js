/** A page that may have no WebSocket. */

import { withFallback } from './fallback.js';
import { createClient } from './index.js';
import { follow, given } from './seen.js';

follow(createClient(given('url'), withFallback({ delayMsMin: 20, delayMsMax: 100 })), 'a');
