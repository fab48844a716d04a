/**
 * At most so many git processes at once. First come first served within a repository, and the
 * repositories take turns, so that a hundred requests for one do not starve the others.
 */
import pLimit from 'p-limit'
import { Pass } from './protocol.ts'

/** Rejects with Pass `busy` where the queue is full. `turn`: who shares a place in the round. */
export interface GitLimit {
  <T>(turn: string, work: () => Promise<T>): Promise<T>
  /** A short question to a mirror: as many more at once, so that none waits for somebody's pack. */
  look<T>(work: () => Promise<T>): Promise<T>
  running(): number
  waiting(): number
}

export function gitLimit(processes: number, queueLength: number): GitLimit {
  /** Insertion order is the round; who has been served goes to its end. */
  const queues = new Map<string, (() => void)[]>()
  let running = 0
  let waiting = 0

  function startNext(): void {
    const [first] = queues
    if (first === undefined || running >= processes) {
      return
    }
    const [turn, queue] = first
    const start = queue.shift()
    queues.delete(turn)
    if (queue.length > 0) queues.set(turn, queue)
    running += 1
    waiting -= 1
    start?.()
  }

  function admitted(turn: string): Promise<void> {
    if (waiting >= queueLength && running >= processes) {
      return Promise.reject(new Pass('busy'))
    }
    return new Promise((resolve) => {
      const queue = queues.get(turn) ?? []
      queue.push(resolve)
      queues.set(turn, queue)
      waiting += 1
      startNext()
    })
  }

  async function limited<T>(turn: string, work: () => Promise<T>): Promise<T> {
    await admitted(turn)
    try {
      return await work()
    } finally {
      running -= 1
      startNext()
    }
  }

  return Object.assign(limited, {
    look: pLimit(processes),
    running: () => running,
    waiting: () => waiting,
  })
}
