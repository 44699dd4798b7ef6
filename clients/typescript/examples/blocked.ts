/** A client for networks where WebSockets may be blocked. */

import { type Client, createClient } from 'fanfare-client';
import { withFallback } from 'fanfare-client/fallback';

export const connect = (url: string): Client => {
  const client = createClient(url, withFallback());
  return client;
};
