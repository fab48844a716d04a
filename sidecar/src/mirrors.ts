/**
 * All mirrors of this data directory: who makes them, who brings them up to date, who waits.
 * One fetch at a time a repository, shared by all who came before it began.
 */
import { createHash } from 'node:crypto'
import { mkdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import type { FetchRequest } from '../../njs/src/git/fetch-request.ts'
import type { GitLimit } from './git-limit.ts'
import {
  exists,
  type FetchOutcome,
  type FetchSource,
  fetchByOid,
  fetchRefs,
  lacking,
  type MirrorName,
  makeMirror,
  present,
} from './mirror.ts'
import { Pass } from './protocol.ts'
import { type Layout, temporaryName } from './store.ts'

interface Entry {
  name: MirrorName
  dir: string
  /** Made in the background after the first request. */
  making: Promise<FetchOutcome> | null
  /** The fetch that runs, and the one that all who came since will share. */
  fetching: Promise<FetchOutcome> | null
  queued: Promise<FetchOutcome> | null
  /** Milliseconds since the epoch before which a failed making is not tried again. */
  notBefore: number
  shallow: boolean
}

export interface Mirrors {
  /**
   * The directory of a mirror that holds all that the request names. Throws Pass: `cold` while the
   * mirror is being made.
   */
  bringIn(name: MirrorName, source: FetchSource, request: FetchRequest): Promise<string>
  /** Fetches refs once more, as for a tag object that is missing. */
  refresh(name: MirrorName, source: FetchSource): Promise<void>
  /** Takes a damaged mirror out of use; the next request makes a new one. */
  setAside(name: MirrorName): Promise<void>
}

const RETRY_AFTER = 5000
/** More objects than this by id at once: pass. A ref is kept for each. */
const MAX_BY_OID = 64

export function openMirrors(dirs: Layout, limit: GitLimit): Mirrors {
  const entries = new Map<string, Entry>()

  function entryOf(name: MirrorName): Entry {
    const id = createHash('sha256')
      .update([name.upstream, name.repository, name.format].join('\n'))
      .digest('hex')
    const dir = path.join(dirs.mirrors, id.slice(0, 2), `${id}.git`)
    const fresh: Entry = {
      name,
      dir,
      making: null,
      fetching: null,
      queued: null,
      notBefore: 0,
      shallow: false,
    }
    const entry = entries.get(id) ?? fresh
    entries.set(id, entry)
    return entry
  }

  async function ready(entry: Entry, source: FetchSource): Promise<void> {
    if (entry.shallow) {
      throw new Pass('shallow-upstream')
    }
    if (await exists(entry.dir)) {
      return
    }
    if (entry.making === null && Date.now() >= entry.notBefore) {
      entry.making = make(entry, source)
    }
    throw new Pass('cold')
  }

  async function make(entry: Entry, source: FetchSource): Promise<FetchOutcome> {
    try {
      await mkdir(path.dirname(entry.dir), { recursive: true })
      const tmp = temporaryName(dirs, 'mirror')
      const outcome = await limit(() => makeMirror(entry.name, source, tmp, entry.dir))
      entry.shallow = outcome === 'shallow'
      entry.notBefore = outcome === 'ok' ? 0 : Date.now() + RETRY_AFTER
      return outcome
    } catch {
      // The queue was full, or the disk: the next request tries again.
      entry.notBefore = Date.now() + RETRY_AFTER
      return 'failed'
    } finally {
      entry.making = null
    }
  }

  /** The fetch that begins after this call, shared with all who wait for the same. */
  function fetchShared(entry: Entry, source: FetchSource): Promise<FetchOutcome> {
    if (entry.fetching === null) {
      return startFetch(entry, source)
    }
    entry.queued ??= entry.fetching.then(() => {
      entry.queued = null
      return startFetch(entry, source)
    })
    return entry.queued
  }

  function startFetch(entry: Entry, source: FetchSource): Promise<FetchOutcome> {
    const run = limit(() => fetchRefs(entry.dir, source)).finally(() => {
      entry.fetching = null
    })
    entry.fetching = run.catch(() => 'failed' as const)
    return run
  }

  /** By refs first, then by id what no ref gave. Each with this client's own credentials at least once. */
  async function bringIn(
    name: MirrorName,
    source: FetchSource,
    request: FetchRequest
  ): Promise<string> {
    const entry = entryOf(name)
    await ready(entry, source)
    let lacks = await lacking(entry.dir, request)
    if (lacks.oids.length > 0 || lacks.contents) {
      const outcome = await fetchShared(entry, source)
      if (outcome === 'shallow') entry.shallow = true
      lacks = await lacking(entry.dir, request)
    }
    if (lacks.contents || lacks.oids.length > MAX_BY_OID || entry.shallow) {
      throw new Pass(entry.shallow ? 'shallow-upstream' : 'not-in-mirror')
    }
    if (lacks.oids.length > 0) {
      await bringInByOid(entry, source, request, lacks.oids)
    }
    await bringInHave(entry, source, request.haves)
    return entry.dir
  }

  async function bringInByOid(
    entry: Entry,
    source: FetchSource,
    request: FetchRequest,
    oids: string[]
  ): Promise<void> {
    const outcome = await limit(() => fetchByOid(entry.dir, source, oids))
    const lacks = await lacking(entry.dir, request)
    if (lacks.oids.length > 0 || lacks.contents) {
      throw new Pass(outcome === 'failed' ? 'fetch-failed' : 'not-in-mirror')
    }
  }

  /** Without a common have, a client that has most of a history would be sent all of it. */
  async function bringInHave(entry: Entry, source: FetchSource, haves: string[]): Promise<void> {
    if (haves.length === 0 || (await present(entry.dir, haves)).length > 0) {
      return
    }
    const first = haves.slice(0, 1)
    await limit(() => fetchByOid(entry.dir, source, first))
    if ((await present(entry.dir, first)).length === 0) {
      throw new Pass('not-in-mirror')
    }
  }

  return {
    bringIn,
    refresh: async (name, source) => {
      await fetchShared(entryOf(name), source)
    },
    setAside: async (name) => {
      const aside = temporaryName(dirs, 'damaged')
      await rename(entryOf(name).dir, aside)
      await rm(aside, { recursive: true, force: true })
    },
  }
}
