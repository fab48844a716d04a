/**
 * At most so many git processes at once. First come first served within a repository, and the
 * repositories take turns, so that a hundred requests for one do not starve the others.
 */
import { type Limited, openTurns } from './turns.ts'

export interface GitLimit extends Limited {
  /** A short question to a mirror: as many more at once, so that none waits for somebody's pack. */
  look: Limited
  /** What waits for upstream, which may be slow: as many more for each, at most twice as many, so that no pack waits for it. */
  fetch: <T>(upstream: string, turn: string, work: () => Promise<T>) => Promise<T>
  running(): number
  waiting(): number
}

export function gitLimit(processes: number, queueLength: number): GitLimit {
  const packs = openTurns({ atOnce: processes, perTurn: processes, queueLength })
  const fetches = openFetchTurns(processes, queueLength)
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

/** First a place among those for its upstream, then among all: one that hangs leaves room for the others. */
function openFetchTurns(processes: number, queueLength: number) {
  const all = openTurns({
    atOnce: 2 * processes,
    perTurn: processes,
    queueLength: Number.POSITIVE_INFINITY,
  })
  const ofUpstreams = new Map<string, ReturnType<typeof openTurns>>()

  function ofUpstream(upstream: string) {
    const turns =
      ofUpstreams.get(upstream) ?? openTurns({ atOnce: processes, perTurn: processes, queueLength })
    ofUpstreams.set(upstream, turns)
    return turns
  }

  return {
    limited: <T>(upstream: string, turn: string, work: () => Promise<T>): Promise<T> =>
      ofUpstream(upstream).limited(turn, () => all.limited(upstream, work)),
    running: all.running,
    waiting: () =>
      [...ofUpstreams.values()].reduce((sum, one) => sum + one.waiting(), all.waiting()),
  }
}
