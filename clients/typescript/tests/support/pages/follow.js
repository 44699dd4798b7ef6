/** A page with a connection of its own. */

import { createClient } from './index.js';
import { follow, given } from './seen.js';

follow(createClient(given('url'), { delayMsMin: 20, delayMsMax: 100 }), 'a');
