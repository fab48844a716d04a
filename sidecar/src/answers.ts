/**
 * From an authorised request to its answer: stored, being made, or made now. One job a key,
 * whoever asks: here it is said who leads, and what becomes of those who wait; `make-answer.ts` makes it.
 */
import type { IncomingHttpHeaders } from 'node:http'
import { protocolFamily } from '../../njs/src/git/classify.ts'
import type { Reason } from '../../njs/src/git/reasons.ts'
import { type FaultCode, ofRepository } from './faults.ts'
import type { Job } from './job.ts'
import type { Commit } from './jobs.ts'
import { endsWithin, makeAnswer, patience, willBeStored } from './make-answer.ts'
import { siteOf } from './mirror.ts'
import type { Parts } from './parts.ts'
import {
  type LeadOrder,
  Overloaded,
  Pass,
  type PrepareOrder,
  ProbeFirst,
  type State,
} from './protocol.ts'
import { withResolvers } from './resolvers.ts'
import { readLeadOrder, readOrder, type Work } from './work.ts'

export interface Answers {
  /** Takes the tags out of the order, which its giver holds as long as he waits. */
  prepare(order: PrepareOrder, headers: IncomingHttpHeaders): Promise<State>
  /** Upstream's own answer for a client who has not been probed, or `probe`. */
  lead(order: LeadOrder, headers: IncomingHttpHeaders): Promise<State>
}

interface InFlight {
  /** Upstream has said yes to who leads. */
  probed: boolean
  tagState: string | null
  first: Promise<Job>
  others: Promise<Job>
  /** How many have waited for it. */
  waiters: number
  /** When all is done, and stored where it may be; never rejects. */
  ended: Promise<void>
}

/**
 * So long others wait for the file before they follow the stream: nginx sends a file to a hundred
 * for the CPU that the sidecar needs for a few. Milliseconds.
 */
const PATIENCE = 1000
/** And so much longer where all of it has come and is only being checked. Milliseconds. */
const CHECKING = 4000
/** Who finds more than so many before him goes on waiting, until it is time for a sign of life (--commit-after). */
const CROWD = 16

/**
 * Reasons of a leader that say nothing about the next: another client's credentials may do, and
 * upstream is not waited for as long for one who was not probed (no-answer).
 */
const LEADERS_OWN = new Set<Reason>(['refused', 'fetch-failed', 'not-in-mirror', 'no-answer'])
/** That say something about upstream, a git of ours or the disk at that moment. */
const ONCE_MORE = new Set<Reason>(['broken-off', 'unreachable', 'not-ready', 'generate', 'store'])
/** After so many leaders who had upstream's yes it is no matter of their credentials. */
const MAX_REFUSALS = 2
/** 429 and 5xx may be one client's own, by his token or a header of his: the second is everyone's. */
const MAX_OVERLOADS = 2

/** Reasons that an operator can do something about. */
const FAULTS: Partial<Record<Reason, FaultCode>> = {
  generate: 'GITCACHE_GIT',
  unreachable: 'GITCACHE_UNREACHABLE',
  'broken-off': 'GITCACHE_BROKEN_OFF',
}

export function openAnswers(parts: Parts): Answers {
  const { config, store, jobs, faults, metrics } = parts
  const inFlight = new Map<string, InFlight>()
  /** How many of them are made for which client. */
  const shares = new Map<string, number>()

  async function prepare(order: PrepareOrder, headers: IncomingHttpHeaders): Promise<State> {
    const work = readOrder(config, order, headers)
    // Half a megabyte, of which waiting clients of one key share one: `find`.
    order.tags = null
    return inTime(find(work), config.maxWait * 1000)
  }

  async function lead(order: LeadOrder, headers: IncomingHttpHeaders): Promise<State> {
    const work = readLeadOrder(config, order, headers)
    // The operator's nginx speaks another version to upstream: its probe shows what that answers.
    const spoken = protocolFamily(String(headers['git-protocol'] ?? ''))
    if (spoken !== work.request.family) return { state: 'probe' }
    return inTime(leadUnprobed(work), config.maxWait * 1000)
  }

  /** His request is his probe: what is stored, or made for others, is not for him. */
  async function leadUnprobed(work: Work): Promise<State> {
    // He is probed: of two questions the second would be one too many.
    if (parts.leftAlone.has(siteOf(work.name))) {
      return { state: 'probe' }
    }
    const led = inFlight.has(work.key)
    if (led || (await store.has(work.key)) || inFlight.has(work.key)) {
      return { state: 'probe' }
    }
    try {
      return stream(await begin(work).first, work, 'miss')
    } catch (error) {
      if (error instanceof ProbeFirst) return { state: 'probe' }
      throw error
    }
  }

  /** Waits for whoever leads; leads where nobody does, at most once. */
  async function find(work: Work): Promise<State> {
    const begun = Date.now()
    const end = begun + config.maxWait * 1000
    let isLast = false
    let refusals = 0
    let overloads = 0
    let failed: InFlight | null = null
    for (;;) {
      const led = inFlight.get(work.key)
      // Whoever has ended has stored before: looking in this order, nothing is made twice.
      if (await store.has(work.key)) {
        return { state: 'ready', key: work.key }
      }
      if (led === undefined) {
        if (inFlight.has(work.key)) continue
        // Who was passed meanwhile leads nobody.
        if (Date.now() > end) throw new Pass('slow')
        return stream(await begin(work).first, work, 'miss')
      }
      // The same text, which may have half a megabyte.
      work.tagState = led.tagState
      const found = await join(led, work, isLast ? 0 : begun + patience(config))
      if (found === null) continue
      if (!(found instanceof Error)) return found
      if (led === failed) throw found
      // He has nothing of it yet: he leads, or joins who does, when this one is done.
      await endsWithin(led.ended, CHECKING)
      if (found instanceof ProbeFirst) continue
      failed = led
      if (found instanceof Overloaded) {
        overloads += 1
        work.retries = false
        // Silence took too long for a second time: all would be passed in the middle of it.
        if (overloads === MAX_OVERLOADS || Date.now() > (begun + end) / 2) throw found
        continue
      }
      if (LEADERS_OWN.has(found.reason)) {
        refusals += led.probed ? 1 : 0
        if (refusals === MAX_REFUSALS) throw found
      } else {
        // It broke off, or upstream did: once more, without patience, and no third time.
        if (isLast) throw found
        isLast = true
      }
    }
  }

  /** Null where the answer is stored; what became of it where he gets none. Throws what is everyone's. */
  async function join(
    led: InFlight,
    work: Work,
    until: number
  ): Promise<State | Pass | Overloaded | ProbeFirst | null> {
    led.waiters += 1
    const joined = await led.others.catch(whatItSays)
    if (joined instanceof Error) return joined
    await waitForFile(led, joined, work, until)
    if (await store.has(work.key)) return null
    if (joined.isRunning || joined.isRecorded) return stream(joined, work, 'join')
    return new Pass(joined.brokenOff)
  }

  /** `until`: how long at most where there is a crowd, milliseconds since the epoch. */
  async function waitForFile(led: InFlight, job: Job, work: Work, until: number): Promise<void> {
    metrics.followed()
    const isCrowd = job.hurry() > CROWD && willBeStored(work.request)
    do await endsWithin(led.ended, PATIENCE)
    while (isCrowd && job.isRunning && !job.lost && Date.now() < until)
    if (job.isRecorded) await endsWithin(led.ended, CHECKING)
  }

  function stream(job: Job, work: Work, result: 'miss' | 'join'): State {
    if (!job.isReadable) {
      throw new Pass('store', 'the disk did not take all of it')
    }
    const { id, name, path: repo, since, progress } = work
    const seen = { id, upstream: name.upstream, repo, since }
    return { state: 'stream', job: jobs.admit({ job, seen, progress, result }), result }
  }

  /** Throws Pass where the client has his share. Returns what gives it back. */
  function takeShare(client: string): () => void {
    const share = shares.get(client) ?? 0
    if (client !== '' && share >= config.perClient) {
      throw new Pass('client-limit')
    }
    shares.set(client, share + 1)
    return () => {
      const left = (shares.get(client) ?? 0) - 1
      if (left > 0) shares.set(client, left)
      else shares.delete(client)
    }
  }

  /** Makes the answer; its promises settle when it may be sent, the work goes on behind them. */
  function begin(work: Work): InFlight {
    const release = takeShare(work.client)
    const first = withResolvers<Job>()
    const others = withResolvers<Job>()
    for (const { promise } of [first, others]) promise.catch(() => {})
    const commit: Commit = { first: first.resolve, others: others.resolve, alone: others.reject }
    const ended = makeAnswer(parts, work, commit, () => led.waiters > 0)
      .catch((error: unknown) => {
        const fault = error instanceof Pass ? FAULTS[error.reason] : undefined
        if (fault) faults(fault, error, ofRepository(work.name))
        first.reject(error)
        others.reject(error)
      })
      .finally(() => {
        inFlight.delete(work.key)
        release()
      })
    const { probed, tagState } = work
    const led: InFlight = {
      probed,
      tagState,
      first: first.promise,
      others: others.promise,
      waiters: 0,
      ended,
    }
    inFlight.set(work.key, led)
    return led
  }

  return { prepare, lead }
}

/** What a leader's failure is to those who wait for him; throws what is everyone's. */
function whatItSays(error: unknown): Pass | Overloaded | ProbeFirst {
  if (error instanceof ProbeFirst || error instanceof Overloaded) {
    return error
  }
  if (error instanceof Pass && (LEADERS_OWN.has(error.reason) || ONCE_MORE.has(error.reason))) {
    return error
  }
  throw error
}

function inTime<T>(work: Promise<T>, milliseconds: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Pass('slow')), milliseconds)
  })
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}
