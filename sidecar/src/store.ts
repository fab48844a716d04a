/**
 * Stored answers: `packs/ab/<key>`, whole or not there, and beside each an empty file
 * `<key>.<repository>` that says whose it is. The files are the truth.
 */
import { hash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import pLimit from 'p-limit'
import { canAccess } from './can-access.ts'
import { type Layout, temporaryName } from './layout.ts'

export interface Store {
  /** Called with each answer that is stored, its bytes, and whose it is (repositoryTag). */
  onStored: (key: string, bytes: number, tag: string) => void
  /** Called with each answer that is removed, whoever does. */
  onRemoved: (key: string) => void
  /** Called with whose answer is larger than that, and its bytes. */
  onTooLarge: (repository: string, bytes: number) => void
  /** Larger answers are not stored. Bytes; set by what keeps the cache to its size. */
  largest: number
  /** When the answers of an earlier start of the machine are where they belong: until then none is purged. */
  shown: Promise<unknown>
  has(key: string): Promise<boolean>
  /** Where it is, if it is there. */
  fileOf(key: string): string
  /** A new file under tmp/, to be written and then committed or dropped. */
  create(repository: string): Promise<SpoolFile>
  /** `tag`: whose it is. */
  remove(key: string, tag: string): Promise<void>
  /** Removes all answers of a repository, those on their way too. Returns how many there were. */
  purge(repository: string): Promise<number>
}

export interface SpoolFile {
  handle: FileHandle
  /** Synced and renamed to its key: a reader never sees a part. Dropped where it was purged meanwhile, or is too large. */
  commit(key: string): Promise<void>
  /** Unlinked; who reads from the handle goes on reading. */
  drop(): Promise<void>
  /** Nobody writes or reads it. */
  abandon(): Promise<void>
}

/** Each holds a thread of libuv's pool (sidecar/bin/nginx-git-cache), and a busy disk holds it for seconds. */
const SYNCS = 4

/** A repository's name in the names of its answers: those of its path on any upstream. */
export function repositoryTag(repository: string): string {
  return hash('sha256', repository).slice(0, 16)
}

export interface AnswerName {
  key: string
  tag: string
}

/** What a file under packs/ab/ is: an answer, whose tag is empty, or what says whose it is. */
export function readAnswerName(name: string): AnswerName | null {
  const match = /^([0-9a-f]{64})(?:\.([0-9a-f]{16}))?$/.exec(name)
  return match === null ? null : { key: match[1] ?? '', tag: match[2] ?? '' }
}

/** Answers are spread by the first two digits of their keys. */
export async function shardsOf(dir: string): Promise<string[]> {
  const names = await readdir(dir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  return names.filter((name) => /^[0-9a-f]{2}$/.test(name))
}

export function openStore(dirs: Layout): Store {
  const file = (key: string) => path.join(dirs.packs, key.slice(0, 2), key)
  /** How often each has been purged in this life, and what is being stored right now. */
  const purges = new Map<string, number>()
  const committing = new Set<Promise<void>>()
  const syncs = pLimit(SYNCS)

  async function commit(key: string, tag: string, size: number, name: string): Promise<void> {
    await mkdir(path.dirname(file(key)), { recursive: true, mode: 0o750 })
    await open(`${file(key)}.${tag}`, 'w', 0o640).then((marker) => marker.close())
    await rename(name, file(key))
    store.onStored(key, size, tag)
  }

  async function purge(repository: string): Promise<number> {
    const tag = repositoryTag(repository)
    purges.set(tag, (purges.get(tag) ?? 0) + 1)
    await store.shown
    await Promise.allSettled(committing)
    return (await purgeIn(dirs.packs, tag)) + (await purgeIn(dirs.unchecked, tag))
  }

  async function purgeIn(dir: string, tag: string): Promise<number> {
    let count = 0
    for (const shard of await shardsOf(dir)) {
      for (const name of await readdir(path.join(dir, shard))) {
        const answer = readAnswerName(name)
        if (answer?.tag !== tag) continue
        await removeFrom(dir, answer.key, tag)
        count += 1
      }
    }
    return count
  }

  async function removeFrom(dir: string, key: string, tag: string): Promise<void> {
    const name = path.join(dir, key.slice(0, 2), key)
    await rm(name, { force: true })
    await rm(`${name}.${tag}`, { force: true })
    if (dir === dirs.packs) store.onRemoved(key)
  }

  const store: Store = {
    onStored: () => {},
    onRemoved: () => {},
    onTooLarge: () => {},
    largest: Number.POSITIVE_INFINITY,
    shown: Promise.resolve(),
    fileOf: file,
    has: (key) => canAccess(file(key), constants.R_OK),
    create: async (repository) => {
      const tag = repositoryTag(repository)
      const purged = purges.get(tag)
      const name = temporaryName(dirs, 'spool')
      const handle = await open(name, 'wx+', 0o640)
      const drop = () => rm(name, { force: true })
      return {
        handle,
        drop,
        abandon: async () => {
          await handle.close().catch(() => {})
          await drop()
        },
        commit: async (key) => {
          const { size } = await handle.stat()
          if (size > store.largest) {
            store.onTooLarge(repository, size)
            return drop()
          }
          await syncs(() => handle.sync())
          if (purges.get(tag) !== purged) return drop()
          const done = commit(key, tag, size, name)
          committing.add(done)
          return done.finally(() => committing.delete(done))
        },
      }
    },
    remove: (key, tag) => removeFrom(dirs.packs, key, tag),
    purge,
  }
  return store
}
