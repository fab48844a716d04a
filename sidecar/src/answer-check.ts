/**
 * Stored answers after a crash. A file may be short or wrong then, and nginx serves what it finds:
 * after a new start of the machine no answer is where nginx looks before its two ends have been
 * looked at. In each life all are read once, slowly, and their packs' checksums compared.
 */
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import pLimit from 'p-limit'
import { type Faults, isForNow } from './faults.ts'
import type { Layout } from './layout.ts'
import { checksum } from './pack-check.ts'
import { packData } from './pack-data.ts'
import { type AnswerName, readAnswerName, type Store, shardsOf } from './store.ts'

/** Changes with each start of the machine. Source: proc_sys_kernel(5). */
const BOOT_ID = '/proc/sys/kernel/random/boot_id'
const FLUSH = '0000'
/** Between two answers that are read, so that clients have the disk: milliseconds, and times what it took. */
const PAUSE = 20
const SHARE = 3

/** Answers that are looked at, at once. */
const MAX_OPEN = 16

/** Takes all answers away from nginx where the machine was started anew. */
export async function hideAfterBoot(dirs: Layout, faults: Faults): Promise<void> {
  const file = path.join(dirs.sidecar, 'boot')
  const now = await readFile(BOOT_ID, 'utf8').catch(() => '')
  const before = await readFile(file, 'utf8').catch(() => null)
  if (before !== null && before !== now) {
    for (const shard of await shardsOf(dirs.packs)) {
      await hide(dirs, shard).catch(async (error: unknown) => {
        // The disk is full, or broken: what cannot be hidden goes.
        faults('GITCACHE_STORE', error)
        await rm(path.join(dirs.packs, shard), { recursive: true, force: true })
      })
    }
  }
  await writeFile(file, now).catch((error: unknown) => faults('GITCACHE_STORE', error))
}

async function hide(dirs: Layout, shard: string): Promise<void> {
  const hidden = path.join(dirs.unchecked, shard)
  await mkdir(hidden, { recursive: true })
  for (const name of await readdir(path.join(dirs.packs, shard))) {
    await rename(path.join(dirs.packs, shard, name), path.join(hidden, name))
  }
}

/** Gives back what was hidden and looks whole. */
export async function showChecked(dirs: Layout, faults: Faults): Promise<void> {
  for (const shard of await shardsOf(dirs.unchecked)) {
    const from = path.join(dirs.unchecked, shard)
    const to = path.join(dirs.packs, shard)
    await mkdir(to, { recursive: true })
    const names = await readdir(from)
    // What says whose an answer is comes first, as when it was stored.
    const tags = names.filter((name) => readAnswerName(name)?.tag)
    await Promise.all(tags.map((name) => rename(path.join(from, name), path.join(to, name))))
    const answers = names.filter((name) => readAnswerName(name)?.tag === '')
    await pLimit(MAX_OPEN).map(answers, async (name) => {
      if (await looksWhole(path.join(from, name)).catch(() => false)) {
        await rename(path.join(from, name), path.join(to, name))
      } else {
        faults('GITCACHE_PACK_DAMAGED', 'its ends', { key: name })
      }
    })
    await rm(from, { recursive: true, force: true })
  }
}

/** Reads all answers, one at a time; resolves to how many. */
export async function checkAll(dirs: Layout, store: Store, faults: Faults): Promise<number> {
  let count = 0
  for (const shard of await shardsOf(dirs.packs)) {
    for (const name of await readdir(path.join(dirs.packs, shard))) {
      const answer = readAnswerName(name)
      if (answer === null || answer.tag === '') continue
      const begun = Date.now()
      await removeUnlessIntact(store, faults, answer)
      count += 1
      await sleep(PAUSE + SHARE * (Date.now() - begun), undefined, { ref: false })
    }
  }
  return count
}

async function removeUnlessIntact(
  store: Store,
  faults: Faults,
  { key, tag }: AnswerName
): Promise<void> {
  if (!(await isIntact(store.fileOf(key)))) {
    faults('GITCACHE_PACK_DAMAGED', 'its checksum', { key })
    await store.remove(key, tag)
  }
}

/** That wait: anyone on this machine can send reports. */
const MAX_SUSPECTS = 100

/**
 * For answers of which nginx did not send all: mostly the client has hung up, but where the disk
 * cannot be read, every client would be cut off there. One at a time, each once a minute.
 */
export function openSuspects(dirs: Layout, store: Store, faults: Faults): (key: string) => void {
  const seen = new LRUCache<string, true>({ max: 1000, ttl: 60_000 })
  const turns = pLimit(1)

  async function check(key: string): Promise<void> {
    const names = await readdir(path.join(dirs.packs, key.slice(0, 2)))
    const answers = names.map(readAnswerName)
    const answer = answers.find((one) => one?.key === key && one.tag !== '')
    if (answer) await removeUnlessIntact(store, faults, answer)
  }

  return (key) => {
    if (seen.has(key) || turns.pendingCount > MAX_SUSPECTS) return
    seen.set(key, true)
    turns(() => check(key)).catch((error) => faults('GITCACHE_EVICT', error))
  }
}

/** It begins with a pkt-line and ends with a flush. Throws where it cannot be read. */
async function looksWhole(file: string): Promise<boolean> {
  const handle = await open(file)
  try {
    const { size } = await handle.stat()
    const { buffer } = await handle.read(Buffer.alloc(4), 0, 4, 0)
    const { buffer: last } = await handle.read(Buffer.alloc(4), 0, 4, Math.max(0, size - 4))
    return /^[0-9a-f]{4}$/.test(buffer.toString()) && last.toString() === FLUSH
  } finally {
    await handle.close()
  }
}

/** What its pack says of itself is true. */
export async function isIntact(file: string): Promise<boolean> {
  try {
    if (!(await looksWhole(file))) return false
    const sums = [checksum('sha1'), checksum('sha256')]
    for await (const piece of packData(createReadStream(file))) {
      for (const sum of sums) sum.push(piece)
    }
    return sums.some((sum) => sum.isRight())
  } catch (error) {
    // It is gone meanwhile, or cannot be looked at now.
    return (error as NodeJS.ErrnoException).code === 'ENOENT' || isForNow(error)
  }
}
