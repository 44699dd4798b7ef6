/** What each tab runs. */

import { createClient } from 'fanfare-client';
import { withSharedWorker } from 'fanfare-client/shared';

const worker = () => new SharedWorker(new URL('./worker.js', import.meta.url), { type: 'module' });
export const client = createClient('/ws', withSharedWorker(worker));
