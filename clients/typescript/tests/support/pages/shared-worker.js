/** What the tabs share. */

import { createClient } from './index.js';
import { shareClient } from './worker.js';

const url = new URLSearchParams(location.search).get('url');
shareClient(createClient(url, { delayMsMin: 20, delayMsMax: 100 }), { beatMs: 300 });
