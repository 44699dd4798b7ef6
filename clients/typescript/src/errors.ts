/**
 * What can go wrong, as one class with a code to match on.
 */

/** A code of the server's, for programs. */
export type ServerErrorCode =
  | 'bad_request'
  | 'bad_data'
  | 'bad_topic'
  | 'unknown_type'
  | 'unauthorized'
  | 'forbidden'
  | 'too_large'
  | 'too_many_subscriptions'
  | 'not_subscribed'
  | 'rate_limited'
  | 'overloaded'
  | 'backplane_unavailable'
  | 'internal';

/**
 * A code of the client's own.
 *
 * - `queue_full`: as many commands wait for an answer as `pendingMax` and `pendingBytesMax` allow
 * - `disconnected`: the connection was lost, or there is none, and the command must not be sent again
 * - `closed`: the client was closed, or the server said not to come back
 * - `token`: the token provider failed
 * - `garbage`: the server sent what is no event
 * - `unusable`: this runtime has no WebSocket and none was given, or it does not take the address
 * - `unsupported`: it takes a WebSocket, and there is an event stream only (`fanfare-client/fallback`)
 */
export type ClientErrorCode =
  | 'queue_full'
  | 'disconnected'
  | 'closed'
  | 'token'
  | 'garbage'
  | 'unusable'
  | 'unsupported';

/** A command that was refused, or a connection that failed. */
export class FanfareError extends Error {
  override readonly name = 'FanfareError';

  constructor(
    readonly code: ServerErrorCode | ClientErrorCode,
    message: string,
    /** What it is about, if it is about one topic. */
    readonly topic?: string,
    /** When to try again, if the server said so. */
    readonly retryAfterMs?: number,
  ) {
    super(message);
  }
}
