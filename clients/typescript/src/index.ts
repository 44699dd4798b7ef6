/**
 * The client of the fanfare pub/sub broker.
 */

export type {
  Client,
  ClientEvents,
  ClientOptions,
  History,
  HistoryOptions,
  Published,
  PublishOptions,
  Subscription,
} from './client.ts';
export { createClient } from './client.ts';
export type { Encoding } from './encoding.ts';
export type { ClientErrorCode, ServerErrorCode } from './errors.ts';
export { FanfareError } from './errors.ts';
export type { After, ConnectionState, SocketConstructor, SocketLike, TokenReason } from './link.ts';
export type { Presence } from './presence.ts';
export type { Command, Member, Message, Position } from './protocol.ts';
export type { Gap, SubscribeOptions } from './subscription.ts';
