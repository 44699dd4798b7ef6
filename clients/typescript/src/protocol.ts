/**
 * The events of version 1 as they come over the wire. Fields that a later version adds are passed over.
 */

import type { ServerErrorCode } from './errors.ts';

/** Where a topic stands: `offset` counts within one `epoch`. */
export interface Position {
  readonly epoch: string;
  readonly offset: number;
}

/** Somebody who joined a topic with `presence`. */
export interface Member {
  readonly connection: string;
  /** Whom the server knows it to be. */
  readonly subject?: string;
  /** What it says of itself. */
  readonly member?: unknown;
}

/** What was published. */
export interface Message<Data = unknown> {
  readonly type: 'message';
  readonly topic: string;
  readonly offset: number;
  readonly data: Data;
  /** Only with offset 1, where a numbering begins. */
  readonly epoch?: string;
  /** The server's clock in milliseconds, if the topic is set up to say it. */
  readonly at?: number;
  /** The publisher's proven subject, if the topic is set up to say it. */
  readonly from?: string;
}

export interface Welcome {
  readonly type: 'welcome';
  readonly connection: string;
  readonly resume: string;
  readonly heartbeat_ms: number;
  readonly max_message_bytes: number;
}

export interface Subscribed {
  readonly type: 'subscribed';
  readonly topic: string;
  readonly epoch?: string;
  readonly offset?: number;
  readonly recovered?: boolean;
  readonly reason?: 'expired' | 'epoch' | 'future';
}

export interface WirePublished extends Position {
  readonly type: 'published';
  readonly topic: string;
  readonly receivers?: number;
}

export interface WireGap {
  readonly type: 'gap';
  readonly topic: string;
  readonly epoch: string;
  readonly from: number;
  readonly to: number;
  readonly reason: 'slow' | 'latest' | 'backplane';
}

export interface PresenceSnapshot {
  readonly type: 'presence';
  readonly topic: string;
  readonly version: number;
  readonly members: readonly Member[];
}

export interface PresenceDiff {
  readonly type: 'presence_diff';
  readonly topic: string;
  readonly version: number;
  readonly joined: readonly Member[];
  readonly left: readonly { readonly connection: string }[];
}

export interface WireHistory extends Position {
  readonly type: 'history';
  readonly topic: string;
  readonly messages: readonly { readonly offset: number; readonly data: unknown }[];
  readonly more?: boolean;
  readonly recovered?: boolean;
  readonly reason?: 'expired' | 'epoch' | 'future';
}

export interface WireError {
  readonly type: 'error';
  readonly topic?: string;
  readonly code: ServerErrorCode;
  readonly message: string;
  readonly retry_after_ms?: number;
}

export interface Goodbye {
  readonly type: 'goodbye';
  readonly code: number;
  readonly reason: string;
  readonly reconnect_ms?: number;
}

/** The events that answer nothing, or name no command, carry no `id`. */
export type ServerEvent = { readonly id?: number | string } & (
  | Welcome
  | Subscribed
  | WirePublished
  | Message
  | WireGap
  | PresenceSnapshot
  | PresenceDiff
  | WireHistory
  | WireError
  | Goodbye
  | { readonly type: 'authenticated' | 'resumed' | 'expiring' | 'pong' | 'unsubscribed' }
);

export type Command = Readonly<Record<string, unknown>> & { readonly type: string };
