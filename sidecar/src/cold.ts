/**
 * An answer from upstream, of a repository that has no mirror, or one that lacks what a small question
 * wants: the canonical request is sent, what comes is streamed and spooled, and a whole clone becomes
 * the mirror without a second transfer.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { errors } from 'undici'
import { askTags } from '../../njs/src/git/authorize.ts'
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import { isOfGit } from '../../njs/src/git/classify.ts'
import { INFINITE_DEPTH, isStorable, isWhole } from '../../njs/src/git/fetch-request.ts'
import { type Checked, check } from './cold-check.ts'
import { asPass, ofRepository } from './faults.ts'
import type { Job } from './job.ts'
import type { Commit } from './jobs.ts'
import { discard } from './layout.ts'
import { siteOf } from './mirror.ts'
import type { Parts } from './parts.ts'
import { Overloaded, Pass, ProbeFirst } from './protocol.ts'
import type { SpoolFile } from './store.ts'
import { askUpstream, fetchFromUpstream, type UpstreamAnswer } from './upstream-http.ts'
import type { LeadersWork, Work } from './work.ts'

/** Before the one retry of a 429 or 5xx; where upstream wants to be left alone for longer there is none. Seconds. */
const RETRY_SECONDS = 1
const MAX_RETRY_SECONDS = 5
/** `git fetch --unshallow`. */
const INFINITE = `deepen ${INFINITE_DEPTH}`

/** Returns a repository under tmp/ that holds all that was sent, where it can become the mirror. */
export async function answerFromUpstream(
  parts: Parts,
  work: LeadersWork,
  commit: Commit
): Promise<string | null> {
  const { store, jobs, metrics, faults, leftAlone } = parts
  const begun = Date.now()
  // Before upstream is asked: what it says is older than a purge that comes meanwhile.
  const spool = await store.create(work.name.repository).catch((error: unknown) => {
    throw asPass(faults, error, ofRepository(work.name))
  })
  const answer = await askTwice(leftAlone, work).catch(async (error: unknown) => {
    await spool.abandon()
    if (work.probed && error instanceof Pass && error.reason === 'refused') {
      // nginx has just had a yes: it is not reached in the same way, as with a certificate that only nginx has.
      faults('GITCACHE_UNREACHABLE', error, ofRepository(work.name))
    }
    throw error
  })
  const job = jobs.open(work, spool, true)
  const checking = check(parts, work, job, say(parts, job, work, commit))
  // It may fail while the answer is still coming.
  checking.catch(() => {})
  try {
    await job.record(answer.source)
    metrics.built('upstream', job.size, (Date.now() - begun) / 1000)
    return await keep(parts, work, spool, await checking)
  } catch (error) {
    checking.then(({ dir }) => discard(dir)).catch(() => {})
    await spool.drop()
    throw asPass(faults, job.blamed(refusal(error)), ofRepository(work.name))
  } finally {
    if (job.lost) faults('GITCACHE_STORE', job.lost, ofRepository(work.name))
    jobs.close(job)
  }
}

/** `ERR` in a 200 is upstream's no as well. */
function refusal(error: unknown): unknown {
  const isNo = error instanceof Pass && error.reason === 'not-ready'
  return isNo ? new Pass('refused', error.message) : error
}

/**
 * 429, 5xx and silence are asked about once more, and then are everyone's answer. Of a client who was
 * not probed they are not: he is probed after all, or passed where it is silence.
 */
async function askTwice(leftAlone: Parts['leftAlone'], work: Work): Promise<UpstreamAnswer> {
  const first = await ask(work)
  if (!(first instanceof Overloaded)) {
    return first
  }
  const seconds = secondsOf(first.retryAfter)
  if (seconds > 0) {
    leftAlone.set(siteOf(work.name), true, { ttl: Math.min(seconds * 1000, leftAlone.ttl) })
  }
  if (!work.probed) {
    throw first.status === 504 ? new Pass('no-answer') : new ProbeFirst()
  }
  const wait = seconds || RETRY_SECONDS
  if (wait > MAX_RETRY_SECONDS || !work.retries) {
    throw first
  }
  await sleep(wait * 1000)
  const second = await ask(work)
  if (second instanceof Overloaded) {
    throw second
  }
  return second
}

/** 0 where there is none, or a date: RFC 9110, 10.2.3, allows both, and forges send seconds. */
function secondsOf(retryAfter: string): number {
  return /^[0-9]{1,6}$/.test(retryAfter) ? Number(retryAfter) : 0
}

/** A hang is upstream's; anything else is between it and us, and a client may get through. */
function silence(error: unknown): Overloaded {
  if (error instanceof errors.HeadersTimeoutError) {
    return new Overloaded(504)
  }
  throw new Pass('unreachable', String(error))
}

async function ask(work: Work): Promise<UpstreamAnswer | Overloaded> {
  const { request, upstream, path, headers, progress } = work
  const body = writeCanonicalRequest(request, progress)
  const answer = await fetchFromUpstream(upstream, path, headers, {
    body,
    family: request.family,
    beginWithin: work.source.beginWithin,
    stallAfter: work.source.stallAfter,
  }).catch(silence)
  if (answer instanceof Overloaded) {
    return answer
  }
  const { status, source } = answer
  if (status === 429 || status >= 500) {
    source.kill()
    return new Overloaded(status, String(answer.headers['retry-after'] ?? ''))
  }
  // Its words are for the leader alone: nginx asks again for him, and the next who waits leads.
  const plain = answer.headers['content-encoding'] === undefined
  if (status !== 200 || !plain || !isOfGit(answer.headers['content-type'], false)) {
    source.kill()
    throw new Pass('refused', `upstream: ${status}`)
  }
  return answer
}

/** Tells who waits. Resolves to whether the answer is for everyone who asks the same. */
async function say(parts: Parts, job: Job, work: LeadersWork, commit: Commit): Promise<boolean> {
  job.begun().then(() => commit.first(job), commit.alone)
  try {
    // With tags upstream is asked once more when it has read its refs: its first payload byte says so.
    const { commitAfter } = parts.config
    await job.committed(work.tags === null ? commitAfter * 1000 : Number.POSITIVE_INFINITY)
    if (isUnaskedShallow(job, work)) {
      parts.mirrors.setShallow(work.name)
      throw new Pass('shallow-upstream')
    }
    await checkTags(parts, work)
    commit.others(job)
    return true
  } catch (error) {
    commit.alone(error)
    return false
  }
}

/** pack-objects has read the refs by now: were they then what the key says? */
async function checkTags(parts: Parts, work: LeadersWork): Promise<void> {
  if (work.tags === null) {
    return
  }
  const maxTags = work.tags.length
  const ask = () =>
    askTags(work.request, askUpstream(work.upstream, work.path, work.headers, maxTags))
  let now = await ask()
  if (now.kind === 'pass') {
    await sleep(RETRY_SECONDS * 1000)
    now = await ask()
  }
  if (now.kind === 'pass') {
    throw new Pass('tag-state', 'upstream does not say its tags')
  }
  if (now.text !== work.tagState) {
    parts.log.info({ repo: work.name.repository }, 'tags changed')
    throw new Pass('tag-state')
  }
}

/** All of history is wanted, and there is a boundary that is not the client's own. */
function isUnaskedShallow(job: Job, { request }: Work): boolean {
  const isAll = request.deepen === null || request.deepen === INFINITE
  return isAll && job.answer.shallows.length > 0
}

/** Stores the answer where it is sound. Returns the repository that can become the mirror. */
async function keep(
  parts: Parts,
  work: LeadersWork,
  spool: SpoolFile,
  checked: Checked
): Promise<string | null> {
  const { sound, dir } = checked
  const { key, name, request, tags } = work
  const unseen = { key, name, request, tags: tags ?? [] }
  const good = sound && isStorable(request)
  // What became no repository git has not looked at.
  const marked = good && dir === null && (await parts.confirm.mark(unseen))
  const stored = marked || (good && dir !== null)
  try {
    await (stored ? spool.commit(key) : spool.drop())
  } finally {
    if (marked) parts.confirm.later(unseen)
  }
  if (sound && isWhole(work.request)) {
    return dir
  }
  await discard(dir)
  return null
}
