/** A client and its server, on a clock that the test winds. */

import { afterEach, beforeEach, vi } from 'vitest';

import {
  type Client,
  type ClientOptions,
  createClient,
  type FanfareError,
  type Gap,
  type Message,
} from '../../src/index.ts';
import { Server } from './server.ts';

export const onFakeTime = (): void => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());
};

export const pass = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

export interface Pair {
  server: Server;
  client: Client;
  errors: FanfareError[];
  gaps: Gap[];
  states: string[];
}

export const pair = (options: ClientOptions = {}): Pair => {
  const server = new Server();
  const client = createClient('ws://fanfare.test/ws', { WebSocket: server.WebSocket, random: () => 0.5, ...options });
  const made: Pair = { server, client, errors: [], gaps: [], states: [] };
  client.on('error', (error) => made.errors.push(error));
  client.on('gap', (gap) => made.gaps.push(gap));
  client.on('state', ({ status }) => made.states.push(status));
  return made;
};

/** What a subscription heard, message by message: `topic:offset=data`, and gaps as `gap topic from-to reason`. */
export const show = (event: Message | Gap): string =>
  event.type === 'gap'
    ? `gap ${event.topic} ${event.from ?? '?'}-${event.to ?? '?'} ${event.reason}`
    : `${event.topic}:${event.offset}=${JSON.stringify(event.data)}`;

export const hear = (
  client: Client,
  topic: string,
  options = {},
): { heard: string[]; stop(): void; ready: Promise<unknown> } => {
  const heard: string[] = [];
  const { unsubscribe, ready } = client.subscribe(topic, (message) => heard.push(show(message)), {
    onGap: (gap) => heard.push(show(gap)),
    ...options,
  });
  return { heard, stop: unsubscribe, ready };
};
