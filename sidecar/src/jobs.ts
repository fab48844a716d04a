/** The answers that are being made, and for a while those that have been; and who may read them. */
import { randomBytes } from 'node:crypto'
import { Job } from './job.ts'
import type { Seen } from './request-log.ts'
import type { SpoolFile } from './store.ts'
import type { Work } from './work.ts'

/**
 * How long a finished job can still be read: a while by who is about to be told an id, longer by who
 * was told one and has not come yet. Each holds a file open. Milliseconds.
 */
const GRACE = 3000
const LINGER = 60_000

/** One client's leave to read a job. */
export interface Reader {
  job: Job
  seen: Seen
  /** He did not ask for no-progress. */
  progress: boolean
  result: 'miss' | 'join'
}

export interface Jobs {
  /** An id by which one client reads the job. */
  admit(reader: Reader): string
  /** By the id that a reader was told, which is good once. */
  take(id: string): Reader | undefined
  /** Whether somebody was told an id and has not come for it yet. */
  areAwaited(): boolean
  /** `relay`: its source is upstream, whose errors are answers too. */
  open(work: Work, spool: SpoolFile, relay: boolean): Job
  /** Called when the work on it has ended. */
  close(job: Job): void
  /** Ends all of a repository at once; who reads one is cut off. Returns how many were on their way. */
  abort(repository: string): number
}

/** Who makes an answer says when it may be sent: to the client who asked first, and to others. */
export interface Commit {
  first(job: Job): void
  others(job: Job): void
  /** The others will not have this answer; it goes on for the first. */
  alone(reason: unknown): void
}

export function openJobs(): Jobs {
  const readers = new Map<string, Reader>()
  const jobs = new Map<Job, string>()

  function forget(job: Job): void {
    jobs.delete(job)
    for (const [id, reader] of readers) if (reader.job === job) readers.delete(id)
    job.retire()
  }

  function forgetWhenRead(job: Job, until: number): void {
    const awaited = [...readers.values()].some((reader) => reader.job === job)
    if (awaited && Date.now() < until) setTimeout(forgetWhenRead, GRACE, job, until).unref()
    else forget(job)
  }

  return {
    admit: (reader) => {
      const id = randomBytes(16).toString('hex')
      readers.set(id, reader)
      return id
    },
    take: (id) => {
      const reader = readers.get(id)
      readers.delete(id)
      return reader
    },
    areAwaited: () => readers.size > 0,
    open: (work, spool, relay) => {
      const job = new Job(work.request.family, spool, relay)
      jobs.set(job, work.name.repository)
      return job
    },
    close: (job) => {
      setTimeout(forgetWhenRead, GRACE, job, Date.now() + LINGER).unref()
    },
    abort: (repository) => {
      const all = [...jobs].filter(([, of]) => of === repository).map(([job]) => job)
      const running = all.filter((job) => job.isRunning).length
      for (const job of all) {
        job.abort()
        forget(job)
      }
      return running
    },
  }
}
