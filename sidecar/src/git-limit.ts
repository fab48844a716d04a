/** At most so many git processes at once; who finds the queue full is passed. */
import pLimit from 'p-limit'
import { Pass } from './protocol.ts'

export type GitLimit = <T>(work: () => Promise<T>) => Promise<T>

export function gitLimit(processes: number, queueLength: number): GitLimit {
  const limit = pLimit(processes)
  return (work) =>
    limit.pendingCount >= queueLength ? Promise.reject(new Pass('busy')) : limit(work)
}
