/** Whether upstream's answer may serve others: its pack is undamaged and every want is in it. */
import { rm } from 'node:fs/promises'
import { isWhole } from '../../njs/src/git/fetch-request.ts'
import type { Job } from './job.ts'
import { temporaryName } from './layout.ts'
import { indexPack, initMirror, present } from './mirror.ts'
import { checkPack } from './pack-check.ts'
import { packData } from './pack-data.ts'
import type { Parts } from './parts.ts'
import type { Work } from './work.ts'

export interface Checked {
  /** The pack is undamaged and has every want. */
  sound: boolean
  /** Under tmp/: the repository that git indexed it in, if it did. */
  dir: string | null
}

/**
 * `shared`: whether it is for others at all. A pack for haves never is: it may be thin, and nobody
 * could tell whether it is whole. Throws Pass.
 */
export async function check(
  parts: Parts,
  work: Work,
  job: Job,
  shared: Promise<boolean>
): Promise<Checked> {
  const { request, name } = work
  if (!(await shared) || request.haves.length > 0) {
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
  const verdict = await checkPack(packData(job.spooled()), name.format, request.wants).catch(
    () => 'damaged'
  )
  return verdict === 'unsure'
    ? parts.checks(() => index(parts, work, job))
    : { sound: verdict === 'sound', dir: null }
}

async function index(parts: Parts, work: Work, job: Job): Promise<Checked> {
  const dir = temporaryName(parts.dirs, 'seed')
  try {
    return { sound: await isIndexed(parts, dir, work, job), dir }
  } catch (error) {
    await discard(dir)
    throw error
  }
}

async function isIndexed(parts: Parts, dir: string, work: Work, job: Job): Promise<boolean> {
  const { wants } = work.request
  if (!(await initMirror(work.name.format, dir))) {
    return false
  }
  const state = await indexPack(dir, packData(job.spooled()), {
    whole: isWhole(work.request),
    idle: !job.isAwaited,
  })
  // In v0 the advertisement alone gives a shallow upstream away: its history breaks off.
  if (state === 'broken') parts.mirrors.setShallow(work.name)
  return state === 'sound' && (await present(dir, wants)).length === wants.length
}

/** A repository under tmp/, if there is one. */
export async function discard(dir: string | null): Promise<void> {
  if (dir !== null) await rm(dir, { recursive: true, force: true })
}
