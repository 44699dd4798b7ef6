/** One of several tabs. */

import { createClient } from './index.js';
import { follow, given } from './seen.js';
import { withSharedWorker } from './shared.js';

const url = given('url');
const worker = () => new SharedWorker(`./shared-worker.js?url=${encodeURIComponent(url)}`, { type: 'module' });
follow(createClient(url, withSharedWorker(worker)), 'a');
