/** The SharedWorker that holds the connection of all tabs. */

import { createClient } from 'fanfare-client';
import { shareClient } from 'fanfare-client/worker';

shareClient(createClient('/ws'));
