/**
 * Whether to return after a connection ended, and when. Decides only: no clock, no socket.
 */

/**
 * What a close code asks of a client.
 *
 * - `stay`: do not return
 * - `renew`: return with a new token
 * - `drop`: return without the commands that were under way, for one of them may have been the reason
 * - `later`: return, but not soon
 * - `return`: return
 */
export type Verdict = 'stay' | 'renew' | 'drop' | 'later' | 'return';

const verdicts: Readonly<Record<number, Verdict>> = {
  1000: 'stay',
  4400: 'stay',
  4403: 'stay',
  4409: 'stay',
  4401: 'renew',
  1002: 'drop',
  1003: 'drop',
  1007: 'drop',
  1009: 'drop',
  4429: 'later',
};

export const verdict = (code: number): Verdict => verdicts[code] ?? 'return';

/** Bounds of the delay before a return. */
export interface Backoff {
  readonly delayMsMin: number;
  readonly delayMsMax: number;
}

/**
 * The delay before a return: grows twofold and is random over the whole range, so that many clients
 * which lost the same server do not return together. What the server asked for (`hintMs`) is taken as it is
 * the first time, as the server spreads it itself; and is a lower bound after failures, so that a server
 * which sends everybody away at once is not asked again in a loop.
 */
export const delayMs = (
  attempt: number,
  { delayMsMin, delayMsMax }: Backoff,
  random: () => number,
  hintMs?: number,
): number => {
  if (hintMs !== undefined && attempt === 0) return hintMs;
  const spread = Math.min(delayMsMax, delayMsMin * 2 ** attempt);
  return Math.max(hintMs ?? 0, Math.min(delayMsMax, delayMsMin + random() * spread));
};
