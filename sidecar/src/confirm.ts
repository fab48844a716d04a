/**
 * What was stored without git is given to git behind it: upstream copies packed objects without
 * looking at them, and a checksum over damaged ones is right. The answer goes where git refuses it,
 * and where a life ends before git has looked: a file says so as long as it has not.
 */
import { createReadStream } from 'node:fs'
import { readdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pLimit from 'p-limit'
import { discard } from './cold-check.ts'
import { type Layout, temporaryName } from './layout.ts'
import { indexPack, initMirror } from './mirror.ts'
import { packData } from './pack-data.ts'
import type { Parts } from './parts.ts'
import { readAnswerName, repositoryTag, type Store } from './store.ts'
import type { Work } from './work.ts'

/** A hundred may be fetching it just now, and who has it works on the same bytes. Milliseconds. */
const LATER = 10_000
/** One at a time: nobody waits for it, and no mirror may wait behind it. */
const confirming = pLimit(1)

/** To be called before the answer is stored. Throws where the disk does not take it. */
export async function markUnconfirmed(dirs: Layout, work: Work): Promise<void> {
  await writeFile(marker(dirs, work), '', { mode: 0o640 })
}

export function confirm(parts: Parts, work: Work): void {
  sleep(LATER, undefined, { ref: false })
    .then(() => confirming(() => gitTakes(parts, work)))
    .catch(() => {})
}

/** Removes what the last life had not confirmed; it is made again when somebody asks. */
export async function dropUnconfirmed(dirs: Layout, store: Store): Promise<void> {
  for (const name of await readdir(dirs.unconfirmed)) {
    const answer = readAnswerName(name)
    if (answer !== null) await store.remove(answer.key, answer.tag)
    await rm(path.join(dirs.unconfirmed, name), { force: true })
  }
}

async function gitTakes(parts: Parts, work: Work): Promise<void> {
  const { dirs, store, faults } = parts
  const { key, name } = work
  const dir = temporaryName(dirs, 'seed')
  try {
    if (!(await initMirror(name, dir))) return
    const pack = packData(stored(store.fileOf(key)))
    const state = await indexPack(dir, pack, { whole: false, idle: true })
    const isThere = await store.has(key)
    if (state === 'unknown' && isThere) return
    if (state !== 'sound' && isThere) {
      faults('GITCACHE_UPSTREAM_DAMAGED', 'git index-pack', { repo: name.repository })
      await store.remove(key, repositoryTag(name.repository))
    }
    await rm(marker(dirs, work), { force: true })
  } finally {
    await discard(dir)
  }
}

/** Opened by who reads it: where git was not started nobody does. */
async function* stored(file: string): AsyncGenerator<Buffer> {
  yield* createReadStream(file)
}

function marker(dirs: Layout, { key, name }: Work): string {
  return path.join(dirs.unconfirmed, `${key}.${repositoryTag(name.repository)}`)
}
