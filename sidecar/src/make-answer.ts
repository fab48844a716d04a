/** From where an answer is made: from the mirror, from upstream, or from upstream so that it becomes the mirror. */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type FetchRequest, isStorable, isWhole } from '../../njs/src/git/fetch-request.ts'
import { answerFromUpstream } from './cold.ts'
import type { Config } from './config.ts'
import type { Commit } from './jobs.ts'
import { discard } from './layout.ts'
import { siteOf } from './mirror.ts'
import type { Parts } from './parts.ts'
import { Overloaded, Pass, ProbeFirst } from './protocol.ts'
import { withResolvers } from './resolvers.ts'
import { answerFromMirror } from './warm.ts'
import { type LeadersWork, leadersWork, type Work } from './work.ts'

/** Resolves when all is done, and stored where it may be. `isAwaited`: others have asked the same. Throws what `answers.ts` makes of it for those who wait. */
export async function makeAnswer(
  parts: Parts,
  asked: Work,
  commit: Commit,
  isAwaited: () => boolean
): Promise<void> {
  const { config, mirrors } = parts
  const work = leadersWork(asked)
  const end = Date.now() + config.maxWait * 1000
  for (;;) {
    const mirror = await mirrors.find(work.name).catch((error: unknown) => {
      // What we know of the repository is not for who has not been probed.
      throw work.probed ? error : new ProbeFirst()
    })
    if (mirror !== null) {
      return mirrors.using(work.name, () => update(parts, mirror, work, commit, isAwaited))
    }
    if (!isWhole(work.request)) {
      await answerFromUpstream(parts, work, commit)
      // What is not stored is missed anew by each who asks the same.
      const miss = willBeStored(work.request) ? work.key : randomUUID()
      mirrors.missed(work.name, work.source, miss)
      return
    }
    const seed = mirrors.adopt(work.name, work.source)
    if (seed !== null) {
      return answerFromUpstream(parts, work, commit).then(seed, (error) => {
        seed(null)
        throw error
      })
    }
    if (!work.probed) {
      throw new ProbeFirst()
    }
    // A clone on its way will be the mirror: never two transfers of the same history at once, unless
    // it takes so long that all who wait would be passed, a transfer each.
    if (!(await endsWithin(mirrors.making(work.name), patience(config)))) {
      return answerOnce(parts, work, commit)
    }
    // Who waits for this has been passed by now.
    if (Date.now() > end) throw new Pass('slow')
  }
}

/** Upstream's, which becomes no mirror. */
async function answerOnce(parts: Parts, work: LeadersWork, commit: Commit): Promise<void> {
  await discard(await answerFromUpstream(parts, work, commit))
}

/** From the mirror; from upstream where that is quicker, and the mirror is brought up to date behind it. */
async function update(
  parts: Parts,
  mirror: string,
  work: LeadersWork,
  commit: Commit,
  isAwaited: () => boolean
): Promise<void> {
  const { mirrors } = parts
  const ask = () => answerFromUpstream(parts, work, commit)
  if (await mirrors.straight(work.name, work.source, work.request, ask)) {
    return
  }
  if (!work.probed) {
    throw new ProbeFirst()
  }
  try {
    await answerFromMirror(parts, mirror, work, commit)
  } catch (error) {
    if (error instanceof Overloaded) return askAllTheSame(parts, work, commit, error)
    if (!(error instanceof Pass)) throw error
    // What the mirror cannot give, upstream makes once, and not for each of those who wait.
    if (error.reason === 'not-in-mirror') return answerOnce(parts, work, commit)
    if (error.reason !== 'busy') throw error
    const isOnce = !isAwaited() && !parts.turnedAway.has(work.key)
    parts.turnedAway.set(work.key, true)
    if (isOnce) throw error
    return answerOnce(parts, work, commit)
  }
}

/**
 * Upstream would not do our fetch, as where listing all refs takes it too long; whether it answers
 * clients all the same one of them finds out, and the others wait for its first word. Throws what it says, or `error`.
 */
async function askAllTheSame(
  parts: Parts,
  work: LeadersWork,
  commit: Commit,
  error: Overloaded
): Promise<void> {
  const site = siteOf(work.name)
  const known = parts.answering.get(site)
  if (known !== undefined && !(await known)) {
    throw error
  }
  const { promise, resolve } = withResolvers<boolean>()
  if (known === undefined) {
    // As long as it takes, and then a while.
    parts.answering.set(site, promise, { ttl: 0 })
    promise.then(() => parts.answering.set(site, promise))
  }
  // By its first word it is known that upstream answers.
  const heard: Commit = {
    ...commit,
    first: (job) => {
      resolve(true)
      commit.first(job)
    },
  }
  try {
    // Our fetch was the first try.
    await answerOnce(parts, { ...work, retries: false }, heard)
  } catch (refused) {
    resolve(!(refused instanceof Overloaded))
    throw refused
  }
}

/** Unless something goes wrong, and whoever makes it: upstream's answers to haves are not. */
export function willBeStored(request: FetchRequest): boolean {
  return isStorable(request) && request.haves.length === 0
}

/** So long a crowd waits in silence. Milliseconds. */
export function patience(config: Config): number {
  return Math.min(config.commitAfter, config.maxWait / 2) * 1000
}

/** Whether it has ended by then, in whatever way but by a rejection. */
export function endsWithin(work: Promise<unknown> | null, milliseconds: number): Promise<boolean> {
  const ended = Promise.resolve(work).then(() => true)
  return Promise.race([ended, sleep(milliseconds, false, { ref: false })])
}
