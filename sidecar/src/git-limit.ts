/**
 * At most so many git processes at once. First come first served within a repository, and the
 * repositories take turns, so that a hundred requests for one do not starve the others.
 */
import { type Limited, openTurns } from './turns.ts'

export interface GitLimit extends Limited {
  /** A short question to a mirror: as many more at once, so that none waits for somebody's pack. */
  look: Limited
  /** What waits for upstream, which may be slow: as many more, so that no pack waits for it. */
  fetch: Limited
  running(): number
  waiting(): number
}

export function gitLimit(processes: number, queueLength: number): GitLimit {
  const packs = openTurns({ atOnce: processes, perTurn: processes, queueLength })
  const fetches = openTurns({ atOnce: processes, perTurn: processes, queueLength })
  // One mirror on a slow disk must not hold up the questions to all others.
  const perTurn = Math.max(1, processes - 1)
  const looks = openTurns({ atOnce: processes, perTurn, queueLength: Number.POSITIVE_INFINITY })
  return Object.assign(packs.limited, {
    look: looks.limited,
    fetch: fetches.limited,
    running: () => packs.running() + fetches.running(),
    waiting: () => packs.waiting() + fetches.waiting(),
  })
}
