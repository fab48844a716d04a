/** An answer from a mirror: brought up to date, then `git upload-pack` on it. */
import { rm } from 'node:fs/promises'
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import { type FetchRequest, isStorable } from '../../njs/src/git/fetch-request.ts'
import { asPass, ofRepository } from './faults.ts'
import { turnOf } from './fetch-queue.ts'
import { type GitProcess, STARVED, spawnGit } from './git.ts'
import type { Job } from './job.ts'
import type { Commit } from './jobs.ts'
import { temporaryName } from './layout.ts'
import type { Parts } from './parts.ts'
import { makeView, tagOids } from './view.ts'
import type { LeadersWork } from './work.ts'

export async function answerFromMirror(
  parts: Parts,
  mirror: string,
  work: LeadersWork,
  commit: Commit
): Promise<void> {
  const { name, source, request, tags } = work
  await parts.mirrors.bringIn(name, source, request, tags === null ? [] : tagOids(tags))
  await parts.limit(turnOf(name), () => generate(parts, mirror, work, commit))
}

async function generate(
  parts: Parts,
  mirror: string,
  work: LeadersWork,
  commit: Commit
): Promise<void> {
  const { config, dirs, store, jobs, metrics, faults } = parts
  const begun = Date.now()
  const view = work.tags === null ? null : temporaryName(dirs, 'view')
  const spool = await store.create(work.name.repository).catch((error: unknown) => {
    throw asPass(faults, error, ofRepository(work.name))
  })
  const job = jobs.open(work, spool, false)
  try {
    if (view !== null) await makeView(view, mirror, work.tags ?? [], work.request.format)
    job.committed(config.commitAfter * 1000).then(
      () => sendToAll(job, commit),
      () => {}
    )
    await job.record(uploadPack(view ?? mirror, work.request))
    metrics.built('mirror', job.size, (Date.now() - begun) / 1000)
    await (isStorable(work.request) && !job.lost ? spool.commit(work.key) : spool.drop())
  } catch (error) {
    await spool.drop()
    const starved = job.starved || STARVED.test(String(error))
    if (job.answer.damaged && !starved) parts.mirrors.suspect(work.name)
    throw asPass(faults, job.blamed(error), ofRepository(work.name))
  } finally {
    if (job.lost) faults('GITCACHE_STORE', job.lost, ofRepository(work.name))
    jobs.close(job)
    // What stays goes with the next start.
    if (view !== null) await rm(view, { recursive: true, force: true }).catch(() => {})
  }
}

function sendToAll(job: Job, commit: Commit): void {
  commit.first(job)
  commit.others(job)
}

/** A shallow answer has few deltas to reuse; looking for new ones costs half the CPU and saves at most 4 %. */
function settingsFor(request: FetchRequest): string[] {
  return request.deepen === null && request.shallows.length === 0 ? [] : ['-c', 'pack.window=0']
}

/** With progress, which is said aside and not stored. */
function uploadPack(dir: string, request: FetchRequest): GitProcess {
  return spawnGit([...settingsFor(request), 'upload-pack', '--stateless-rpc', dir], {
    input: writeCanonicalRequest(request, true),
    env: request.family === 2 ? { GIT_PROTOCOL: 'version=2' } : {},
  })
}
