/**
 * At most so many git processes at once. First come first served within a repository, and the
 * repositories take turns, so that a hundred requests for one do not starve the others.
 */
import { Pass } from './protocol.ts'

/** Rejects with Pass `busy` where the queue is full. `turn`: who shares a place in the round. */
type Limited = <T>(turn: string, work: () => Promise<T>) => Promise<T>

export interface GitLimit extends Limited {
  /** A short question to a mirror: as many more at once, so that none waits for somebody's pack. */
  look: Limited
  /** What waits for upstream, which may be slow: as many more, so that no pack waits for it. */
  fetch: Limited
  running(): number
  waiting(): number
}

interface Turn {
  queue: (() => void)[]
  running: number
}

interface Bounds {
  /** At once, and of one turn. */
  processes: number
  perTurn: number
  queueLength: number
}

export function gitLimit(processes: number, queueLength: number): GitLimit {
  const packs = openQueue({ processes, perTurn: processes, queueLength })
  const fetches = openQueue({ processes, perTurn: processes, queueLength })
  // One mirror on a slow disk must not hold up the questions to all others.
  const perTurn = Math.max(1, processes - 1)
  const looks = openQueue({ processes, perTurn, queueLength: Number.POSITIVE_INFINITY })
  return Object.assign(packs.limited, {
    look: looks.limited,
    fetch: fetches.limited,
    running: () => packs.running() + fetches.running(),
    waiting: () => packs.waiting() + fetches.waiting(),
  })
}

export function openQueue({ processes, perTurn, queueLength }: Bounds) {
  /** Insertion order is the round; who has been served goes to its end. */
  const turns = new Map<string, Turn>()
  let running = 0
  let waiting = 0

  function startNext(): void {
    if (running >= processes) {
      return
    }
    for (const [name, turn] of turns) {
      const start = turn.running < perTurn ? turn.queue.shift() : undefined
      if (start === undefined) continue
      turns.delete(name)
      turns.set(name, turn)
      turn.running += 1
      running += 1
      waiting -= 1
      start()
      return
    }
  }

  function admitted(name: string): Promise<Turn> {
    const mustWait = running >= processes || (turns.get(name)?.running ?? 0) >= perTurn
    if (mustWait && waiting >= queueLength) {
      return Promise.reject(new Pass('busy'))
    }
    return new Promise((resolve) => {
      const turn = turns.get(name) ?? { queue: [], running: 0 }
      turns.set(name, turn)
      turn.queue.push(() => resolve(turn))
      waiting += 1
      startNext()
    })
  }

  function left(name: string, turn: Turn): void {
    turn.running -= 1
    running -= 1
    if (turn.running === 0 && turn.queue.length === 0) turns.delete(name)
    startNext()
  }

  async function limited<T>(name: string, work: () => Promise<T>): Promise<T> {
    const turn = await admitted(name)
    try {
      return await work()
    } finally {
      left(name, turn)
    }
  }

  return { limited, running: () => running, waiting: () => waiting }
}
