/**
 * An upstream that says 429 or 503 with Retry-After is not asked by us until then. Both parts see it
 * by a file among the stored answers, whose modification time is when it ends.
 */

/** No upstream stops the cache for longer than this. Seconds. */
export const LONGEST_HOLD = 60

/**
 * Seconds for which upstream wants to be left alone; 0 where it does not say so. A date is not read:
 * RFC 9110, 10.2.3, allows both, and forges send seconds.
 */
export function secondsToHold(status: number, retryAfter: string): number {
  const asked = status === 429 || status === 503
  return asked && /^[0-9]{1,9}$(?!\n)/.test(retryAfter)
    ? Math.min(Number(retryAfter), LONGEST_HOLD)
    : 0
}

/** `upstream`: as $gitcache_upstream names it. */
export function holdName(upstream: string): string {
  return 'hold-' + encodeURIComponent(upstream)
}
