/** The one client of the page, made outside of components. */

import { createClient } from 'fanfare-client';

export interface Quote {
  readonly price: number;
  /** What it was before. */
  readonly last: number;
  /** What it began the day with. */
  readonly open: number;
}

export interface Topics {
  [price: `prices.${string}`]: Quote;
}

const server = new URLSearchParams(location.search).get('server') ?? 'ws://127.0.0.1:7070/ws';

export const client = createClient<Topics>(server);
