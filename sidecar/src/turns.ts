/**
 * At most so many at once. First come first served within a turn, and the turns go round, so that a
 * hundred of one do not starve the others.
 */
import { Pass } from './protocol.ts'

/** Rejects with Pass `busy` where the queue is full. `turn`: who shares a place in the round. */
export type Limited = <T>(turn: string, work: () => Promise<T>) => Promise<T>

export interface Bounds {
  atOnce: number
  /** Of one turn. */
  perTurn: number
  queueLength: number
}

interface Turn {
  queue: (() => void)[]
  running: number
}

export function openTurns({ atOnce, perTurn, queueLength }: Bounds) {
  /** Insertion order is the round; who has been served goes to its end. */
  const turns = new Map<string, Turn>()
  let running = 0
  let waiting = 0

  function startNext(): void {
    if (running >= atOnce) {
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
    const turn = turns.get(name) ?? { queue: [], running: 0 }
    const mustWait = running >= atOnce || turn.running >= perTurn
    // Who has filled the queue is somebody else: the first of each turn may wait all the same.
    const isFull = waiting >= queueLength * (turn.queue.length === 0 ? 2 : 1)
    if (mustWait && isFull) {
      return Promise.reject(new Pass('busy'))
    }
    return new Promise((resolve) => {
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
