/**
 * What was stored without git is given to git behind it: upstream copies packed objects without
 * looking at them, and a checksum over damaged ones is right. The answer goes where git refuses it.
 * A file says of each answer that git has not looked yet, so that the next life does where this one ends.
 */
import { createReadStream } from 'node:fs'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pLimit from 'p-limit'
import { z } from 'zod'
import type { ObjectFormat } from '../../njs/src/git/fetch-request.ts'
import { discard } from './cold-check.ts'
import type { Faults } from './faults.ts'
import { type Layout, temporaryName } from './layout.ts'
import { indexPack, initMirror } from './mirror.ts'
import { packData } from './pack-data.ts'
import { readAnswerName, repositoryTag, type Store } from './store.ts'

/** An answer that git has not looked at. */
export interface Unseen {
  key: string
  repository: string
  format: ObjectFormat
}

export interface Confirm {
  /** To be called before it is stored. Throws where the disk does not take the mark. */
  mark(answer: Unseen): Promise<void>
  /** It has been stored: git looks at it in a while. */
  later(answer: Unseen): void
  /** Those that the last life has left. */
  resume(): Promise<void>
}

const content = z.object({ repository: z.string(), format: z.enum(['sha1', 'sha256']) })

/** Milliseconds. */
const WAITS = {
  /** A hundred may be fetching it just now, and who has it works on the same bytes. */
  later: 10_000,
  /** Where git could not be started, for want of memory or room. */
  again: 60_000,
}

export function openConfirm(
  dirs: Layout,
  store: Store,
  faults: Faults,
  waits: typeof WAITS = WAITS
): Confirm {
  /** One at a time: nobody waits for it, and no mirror may wait behind it. */
  const turns = pLimit(1)
  /** How many looks are to come: what goes may be made again meanwhile, under the same mark. */
  const looks = new Map<string, number>()

  function look(answer: Unseen, wait: number): void {
    const { key } = answer
    looks.set(key, (looks.get(key) ?? 0) + 1)
    sleep(wait, undefined, { ref: false })
      .then(() => turns(() => hasBeenSeen(answer)))
      .catch(() => false)
      .then((seen) => {
        if (!seen) look(answer, waits.again)
        const left = (looks.get(key) ?? 0) - 1
        if (left > 0) {
          looks.set(key, left)
          return
        }
        looks.delete(key)
        return rm(fileOf(answer), { force: true })
      })
      .catch(() => {})
  }

  /** False where git could not say. */
  async function hasBeenSeen({ key, repository, format }: Unseen): Promise<boolean> {
    if (!(await store.has(key))) return true
    const dir = temporaryName(dirs, 'seed')
    try {
      if (!(await initMirror(format, dir))) return false
      const pack = packData(stored(store.fileOf(key)))
      const state = await indexPack(dir, pack, { whole: false, idle: true })
      if (!(await store.has(key)) || state === 'sound') return true
      if (state === 'unknown') return false
      faults('GITCACHE_UPSTREAM_DAMAGED', 'git index-pack', { repo: repository })
      await store.remove(key, repositoryTag(repository))
      return true
    } finally {
      await discard(dir)
    }
  }

  function fileOf({ key, repository }: Unseen): string {
    return path.join(dirs.unconfirmed, `${key}.${repositoryTag(repository)}`)
  }

  async function resume(): Promise<void> {
    for (const name of await readdir(dirs.unconfirmed)) {
      const file = path.join(dirs.unconfirmed, name)
      const answer = readAnswerName(name)
      const said = await contentOf(file)
      if (answer !== null && said !== null) {
        look({ key: answer.key, ...said }, 0)
      } else {
        // The disk was full, or it was cut off by a crash.
        if (answer !== null) await store.remove(answer.key, answer.tag)
        await rm(file, { force: true })
      }
    }
  }

  return {
    mark: async (answer) => {
      const { repository, format } = answer
      await writeFile(fileOf(answer), JSON.stringify({ repository, format }), { mode: 0o640 })
    },
    later: (answer) => look(answer, waits.later),
    resume,
  }
}

/** Null where it cannot be read. */
async function contentOf(file: string): Promise<z.infer<typeof content> | null> {
  try {
    return content.parse(JSON.parse(await readFile(file, 'utf8')))
  } catch {
    return null
  }
}

/** Opened by who reads it: where git was not started nobody does. */
async function* stored(file: string): AsyncGenerator<Buffer> {
  yield* createReadStream(file)
}
