/** Whether upstream's answer may serve others: its pack is undamaged and every want is in it. */
import { isWhole } from '../../njs/src/git/fetch-request.ts'
import { canTell, doubtOf, tagsOf } from './doubt.ts'
import type { Job } from './job.ts'
import { discard, temporaryName } from './layout.ts'
import { indexPack, initMirror } from './mirror.ts'
import { present } from './mirror-objects.ts'
import { checkPack } from './pack-check.ts'
import { packData } from './pack-data.ts'
import type { Parts } from './parts.ts'
import type { LeadersWork } from './work.ts'

export interface Checked {
  /** The pack is undamaged and has every want. */
  sound: boolean
  /** Under tmp/: the repository that git indexed it in, if it did. */
  dir: string | null
}

/**
 * `shared`: whether it is for others at all. A pack for who has something already never is: it may be
 * thin, or lack what lies at his boundary, and nobody could tell whether it is whole. Nor is one
 * without the commits by which its depth could be told. Throws Pass.
 */
export async function check(
  parts: Parts,
  work: LeadersWork,
  job: Job,
  shared: Promise<boolean>
): Promise<Checked> {
  const { request, name } = work
  const known = request.haves.length + request.shallows.length
  if (!(await shared) || known > 0 || !canTell(request)) {
    return { sound: false, dir: null }
  }
  // The client works on the same bytes, perhaps on the same cores: only who waits makes it urgent.
  await job.ended(!isWhole(request))
  if (job.lost || !(job.isRunning || job.isRecorded)) {
    return { sound: false, dir: null }
  }
  if (isWhole(request)) {
    return parts.seeds(() => index(parts, work, job))
  }
  const first = [...request.wants, ...tagsOf(request.wants, work.tags ?? [])]
  const verdict = await checkPack(packData(job.spooled()), name.format, first).catch(
    () => 'damaged'
  )
  return verdict === 'unsure'
    ? parts.checks(() => index(parts, work, job))
    : { sound: verdict === 'sound', dir: null }
}

async function index(parts: Parts, work: LeadersWork, job: Job): Promise<Checked> {
  const dir = temporaryName(parts.dirs, 'seed')
  try {
    return { sound: await isIndexed(parts, dir, work, job), dir }
  } catch (error) {
    await discard(dir)
    throw error
  }
}

async function isIndexed(parts: Parts, dir: string, work: LeadersWork, job: Job): Promise<boolean> {
  const { request, name, tags } = work
  if (!(await initMirror(name.format, dir))) {
    return false
  }
  const whole = isWhole(request)
  // Where it becomes the mirror it is long work, for which nobody waits: who joined follows the stream.
  const idle = whole || !job.isAwaited
  const state = await indexPack(dir, packData(job.spooled()), { whole, idle })
  // In v0 the advertisement alone gives a shallow upstream away: its history breaks off.
  if (state === 'broken') parts.mirrors.setShallow(name)
  const { wants } = request
  if (state !== 'sound' || (await present(dir, wants)).length < wants.length) {
    return false
  }
  const doubt = await doubtOf(dir, request, tags ?? [], job.answer.shallows, idle)
  if (doubt === 'shallow') parts.mirrors.setShallow(name)
  return doubt === null
}
