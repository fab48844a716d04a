/**
 * What was stored without git is given to git behind it: upstream copies packed objects without
 * looking at them, and a checksum over damaged ones is right. The answer goes where git refuses it, or
 * where its objects are not what its key says (doubt.ts).
 * A file says of each answer that git has not looked yet, so that the next life does where this one ends.
 */
import { createReadStream } from 'node:fs'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pLimit from 'p-limit'
import { z } from 'zod'
import { splitAnswer } from '../../njs/src/git/answer.ts'
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import { parseBody } from '../../njs/src/git/classify.ts'
import type { FetchRequest } from '../../njs/src/git/fetch-request.ts'
import { doubtOf } from './doubt.ts'
import { type Faults, ofRepository } from './faults.ts'
import { discard, type Layout, temporaryName } from './layout.ts'
import { indexPack, initMirror, type MirrorName } from './mirror.ts'
import { packData } from './pack-data.ts'
import { readAnswerName, repositoryTag, type Store } from './store.ts'

/** An answer that git has not looked at. */
export interface Unseen {
  key: string
  name: MirrorName
  request: FetchRequest
  /** Lines of the tag state; none without include-tag. */
  tags: string[]
}

export interface Confirm {
  /**
   * To be called before it is stored; false where too many wait to be looked at. Throws where the disk
   * does not take the mark.
   */
  mark(answer: Unseen): Promise<boolean>
  /** What has a mark was stored, or could not be: git looks in a while. */
  later(answer: Pick<Unseen, 'key' | 'name'>): void
  /** Those that the last life has left. */
  resume(): Promise<void>
}

const content = z.object({
  upstream: z.string(),
  vhost: z.string(),
  repository: z.string(),
  family: z.union([z.literal(0), z.literal(2)]),
  /** Canonical. */
  request: z.string(),
  tags: z.array(z.string()),
})

/** Each has its tags in its mark on disk, up to half a megabyte. */
const MAX_UNSEEN = 1000

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
  /** Upstream's repository turns out to be shallow. */
  shallow: (name: MirrorName) => void,
  waits: typeof WAITS = WAITS
): Confirm {
  /** One at a time: nobody waits for it, and no mirror may wait behind it. */
  const turns = pLimit(1)
  /** For how many each mark is: what goes may be made again meanwhile, under the same. */
  const marks = new Map<string, number>()

  function take(key: string): void {
    marks.set(key, (marks.get(key) ?? 0) + 1)
  }

  async function release(key: string, tag: string): Promise<void> {
    const left = (marks.get(key) ?? 0) - 1
    if (left > 0) {
      marks.set(key, left)
      return
    }
    marks.delete(key)
    await rm(fileOf(key, tag), { force: true })
  }

  async function look(key: string, tag: string, first: number): Promise<void> {
    for (let wait = first; ; wait = waits.again) {
      await sleep(wait, undefined, { ref: false })
      if (await turns(() => examine(key, tag)).catch(() => false)) return release(key, tag)
    }
  }

  function lookBehind(key: string, tag: string, wait: number): void {
    look(key, tag, wait).catch(() => {})
  }

  /** Removes what is not sound. False where git could not say. */
  async function examine(key: string, tag: string): Promise<boolean> {
    if (!(await store.has(key))) return true
    const said = contentOf(await readMark(fileOf(key, tag)))
    if (said === null) {
      // The mark was cut off by a full disk, or by a crash.
      await store.remove(key, tag)
      return true
    }
    const { name, request, tags } = said
    const dir = temporaryName(dirs, 'seed')
    try {
      if (!(await initMirror(name.format, dir))) return false
      const pack = packData(stored(store.fileOf(key)))
      const state = await indexPack(dir, pack, { whole: false, idle: true })
      if (state === 'unknown') return false
      if (!(await store.has(key))) return true
      if (state === 'sound') {
        const shallows = await boundaryOf(store.fileOf(key), request)
        const doubt = await doubtOf(dir, request, tags, shallows, true)
        if (doubt === 'shallow') shallow(name)
        if (doubt === null || doubt === 'shallow') return true
        if (doubt === 'incomplete') damaged(name, 'git rev-list: objects are missing')
      } else {
        damaged(name, 'git index-pack')
      }
      await store.remove(key, tag)
      return true
    } finally {
      await discard(dir)
    }
  }

  function damaged(name: MirrorName, why: string): void {
    faults('GITCACHE_UPSTREAM_DAMAGED', why, ofRepository(name))
  }

  function fileOf(key: string, tag: string): string {
    return path.join(dirs.unconfirmed, `${key}.${tag}`)
  }

  async function mark({ key, name, request, tags }: Unseen): Promise<boolean> {
    if (marks.size >= MAX_UNSEEN) return false
    const tag = repositoryTag(name.repository)
    take(key)
    const { upstream, vhost, repository } = name
    const text = writeCanonicalRequest(request)
    const said: Said = { upstream, vhost, repository, family: request.family, request: text, tags }
    try {
      await writeFile(fileOf(key, tag), JSON.stringify(said), { mode: 0o640 })
    } catch (error) {
      await release(key, tag)
      throw error
    }
    return true
  }

  async function resume(): Promise<void> {
    for (const name of await readdir(dirs.unconfirmed)) {
      const answer = readAnswerName(name)
      if (answer === null) {
        await rm(path.join(dirs.unconfirmed, name), { force: true })
      } else {
        take(answer.key)
        lookBehind(answer.key, answer.tag, 0)
      }
    }
  }

  return {
    mark,
    later: ({ key, name }) => lookBehind(key, repositoryTag(name.repository), waits.later),
    resume,
  }
}

/** Empty where there is none. */
function readMark(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return ''
    throw error
  })
}

type Said = z.infer<typeof content>

/** Null where it says nothing. */
function contentOf(text: string): Omit<Unseen, 'key'> | null {
  try {
    const said = content.parse(JSON.parse(text))
    const protocol = said.family === 2 ? 'version=2' : ''
    const parsed = parseBody(said.request, protocol, Number.MAX_SAFE_INTEGER)
    if (parsed.kind === 'pass') return null
    const { upstream, vhost, repository, tags } = said
    const { request } = parsed
    return { name: { upstream, vhost, repository, format: request.format }, request, tags }
  } catch {
    return null
  }
}

/** What it says before its pack. */
async function boundaryOf(file: string, { family }: FetchRequest): Promise<string[]> {
  const { state, push } = splitAnswer(family)
  for await (const chunk of stored(file)) {
    push(chunk)
    if (state.started) break
  }
  return state.shallows
}

/** Opened by who reads it: where git was not started nobody does. */
async function* stored(file: string): AsyncGenerator<Buffer> {
  yield* createReadStream(file)
}
