/**
 * Who is in a topic, kept current from diffs. Every change makes a new value, so that it can be compared by
 * reference.
 */

import type { Member, PresenceDiff, PresenceSnapshot } from './protocol.ts';

export interface Presence {
  readonly version: number;
  readonly members: readonly Member[];
}

export const fromSnapshot = ({ version, members }: PresenceSnapshot): Presence => ({ version, members });

/** What follows from a diff that is the next one. */
export const applyDiff = ({ members }: Presence, { version, joined, left }: PresenceDiff): Presence => ({
  version,
  members: members.filter(({ connection }) => !left.some((each) => each.connection === connection)).concat(joined),
});
