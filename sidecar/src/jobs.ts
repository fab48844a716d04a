/** The answers that are being made, and for a while those that have been. */
import { Job } from './job.ts'
import type { SpoolFile } from './store.ts'
import type { Work } from './work.ts'

/** How long a finished job can still be read by who was told its id. Milliseconds. */
const LINGER = 60_000

export interface Jobs {
  /** By the id that a reader was told. */
  find(id: string): Job | undefined
  /** `relay`: its source is upstream, whose errors are answers too. */
  open(work: Work, spool: SpoolFile, relay: boolean): Job
  /** Called when the work on it has ended. */
  close(job: Job): void
}

/** Who makes an answer says when it may be sent: to the client who asked first, and to others. */
export interface Commit {
  first(job: Job): void
  others(job: Job): void
  /** The others will not have this answer; it goes on for the first. */
  alone(reason: unknown): void
}

export function openJobs(): Jobs {
  const jobs = new Map<string, Job>()

  function close(job: Job): void {
    const timer = setTimeout(() => {
      jobs.delete(job.quietId)
      jobs.delete(job.progressId)
      job.retire()
    }, LINGER)
    timer.unref()
  }

  return {
    find: (id) => jobs.get(id),
    open: (work, spool, relay) => {
      const job = new Job(work.request.family, spool, relay)
      jobs.set(job.quietId, job)
      jobs.set(job.progressId, job)
      return job
    },
    close,
  }
}
