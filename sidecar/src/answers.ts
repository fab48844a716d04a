/**
 * From an authorised request to its answer: stored, being made, or made now. One job a key,
 * whoever asks; git and the mirrors do the work.
 */
import { createHash } from 'node:crypto'
import { rm } from 'node:fs/promises'
import type { IncomingHttpHeaders } from 'node:http'
import type { Logger } from 'pino'
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import { parseBody } from '../../njs/src/git/classify.ts'
import { type FetchRequest, isStorable } from '../../njs/src/git/fetch-request.ts'
import { keyText } from '../../njs/src/git/key.ts'
import { asciiSource } from '../../njs/src/git/pkt-line.ts'
import { repositoryId } from '../../njs/src/git/repository-path.ts'
import type { Config, Upstream } from './config.ts'
import { forwardedHeaders, gitEnvironment } from './credentials.ts'
import { type GitProcess, spawnGit } from './git.ts'
import type { GitLimit } from './git-limit.ts'
import { Job } from './job.ts'
import { type FetchSource, type MirrorName, present } from './mirror.ts'
import type { Mirrors } from './mirrors.ts'
import { Pass, type PrepareOrder, type State } from './protocol.ts'
import { type Layout, type SpoolFile, type Store, temporaryName } from './store.ts'
import { makeView, tagOids } from './view.ts'

/** How long a finished job can still be read by who was told its id. Milliseconds. */
const LINGER = 60_000

export interface Answers {
  prepare(order: PrepareOrder, headers: IncomingHttpHeaders): Promise<State>
  job(id: string): Job | undefined
}

export interface Parts {
  config: Config
  dirs: Layout
  store: Store
  mirrors: Mirrors
  limit: GitLimit
  log: Logger
}

/** What an order means, checked: the key must be that of the request. */
interface Work {
  key: string
  request: FetchRequest
  tags: string[] | null
  name: MirrorName
  source: FetchSource
}

export function findUpstream(config: Config, name: string): Upstream {
  const upstream = config.upstreams.find((one) => one.name === name)
  if (upstream === undefined) {
    throw new Pass('no-upstream', name)
  }
  return upstream
}

export function keyOf(
  request: FetchRequest,
  tags: string[] | null,
  upstream: string,
  path: string
): string {
  const tagState = tags === null ? '' : sha256(tags.join('\n'))
  return sha256(keyText(request, { upstream, repository: repositoryId(path), tagState }))
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

function readOrder(config: Config, order: PrepareOrder, headers: IncomingHttpHeaders): Work {
  const upstream = findUpstream(config, order.upstream)
  const version = order.family === 2 ? 'version=2' : ''
  const parsed = parseBody(asciiSource(order.request), version, Number.MAX_SAFE_INTEGER)
  if (parsed.kind === 'pass') {
    throw new Pass(parsed.reason)
  }
  const request = parsed.request
  if (keyOf(request, order.tags, upstream.name, order.path) !== order.key) {
    throw new Pass('error', 'the key is not that of the request')
  }
  return {
    key: order.key,
    request,
    tags: request.includeTag ? order.tags : null,
    name: {
      upstream: upstream.name,
      repository: repositoryId(order.path),
      format: request.format,
    },
    source: {
      url: upstream.url + order.path,
      env: gitEnvironment(forwardedHeaders(headers, upstream), upstream),
    },
  }
}

export function openAnswers(parts: Parts): Answers {
  const { config, dirs, store, mirrors, limit, log } = parts
  const jobs = new Map<string, Job>()
  const making = new Map<string, Promise<Job>>()

  async function prepare(order: PrepareOrder, headers: IncomingHttpHeaders): Promise<State> {
    const work = readOrder(config, order, headers)
    if (await store.has(work.key)) {
      return { state: 'ready', key: work.key }
    }
    const led = making.get(work.key)
    if (led === undefined) {
      return stream(await inTime(lead(work)), 'miss')
    }
    // What the leader's credentials could not bring, this client's may.
    const joined = await inTime(led.catch(() => null))
    return joined === null ? stream(await inTime(lead(work)), 'miss') : stream(joined, 'join')
  }

  function stream(job: Job, result: 'miss' | 'join'): State {
    return { state: 'stream', job: job.id, result }
  }

  function inTime<T>(work: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Pass('slow')), config.maxWait * 1000)
    })
    return Promise.race([work, late]).finally(() => clearTimeout(timer))
  }

  /** Makes the answer; the promise settles when it may be sent, the work goes on behind it. */
  function lead(work: Work): Promise<Job> {
    const already = making.get(work.key)
    if (already !== undefined) {
      return already
    }
    const { promise, resolve, reject } = withResolvers<Job>()
    making.set(work.key, promise)
    promise.catch(() => {})
    make(work, resolve)
      .catch(reject)
      .finally(() => making.delete(work.key))
    return promise
  }

  async function make(work: Work, committed: (job: Job) => void): Promise<void> {
    const mirror = await mirrors.bringIn(work.name, work.source, work.request)
    if (work.tags !== null) await bringInTags(mirror, work, work.tags)
    await limit(() => generate(mirror, work, committed))
  }

  async function bringInTags(mirror: string, work: Work, tags: string[]): Promise<void> {
    const oids = tagOids(tags)
    if ((await present(mirror, oids)).length === oids.length) {
      return
    }
    await mirrors.refresh(work.name, work.source)
    if ((await present(mirror, oids)).length !== oids.length) {
      throw new Pass('not-in-mirror', 'a tag')
    }
  }

  async function generate(
    mirror: string,
    work: Work,
    committed: (job: Job) => void
  ): Promise<void> {
    const view = work.tags === null ? null : temporaryName(dirs, 'view')
    const spool = await store.create()
    const job = new Job(work.key, work.request.family, spool)
    jobs.set(job.id, job)
    try {
      if (view !== null) await makeView(view, mirror, work.tags ?? [], work.request.format)
      const git = uploadPack(view ?? mirror, work.request)
      job.committed(config.commitAfter * 1000).then(
        () => committed(job),
        () => {}
      )
      await job.record(git)
      await keep(job, work, spool)
    } catch (error) {
      await spool.drop()
      if (job.answer.damaged) await setAside(work)
      throw error instanceof Pass ? error : new Pass('store', String(error))
    } finally {
      if (view !== null) await rm(view, { recursive: true, force: true })
      setTimeout(() => retire(job), LINGER).unref()
    }
  }

  async function keep(job: Job, work: Work, spool: SpoolFile): Promise<void> {
    log.info({ repo: work.name.repository, bytes: job.size, key: work.key }, 'generated')
    await (isStorable(work.request) ? spool.commit(work.key) : spool.drop())
  }

  async function setAside(work: Work): Promise<void> {
    log.error({ code: 'GITCACHE_MIRROR_DAMAGED', repo: work.name.repository }, 'mirror set aside')
    await mirrors.setAside(work.name)
  }

  function retire(job: Job): void {
    jobs.delete(job.id)
    job.retire()
  }

  return { prepare, job: (id) => jobs.get(id) }
}

function uploadPack(dir: string, request: FetchRequest): GitProcess {
  return spawnGit(['upload-pack', '--stateless-rpc', dir], {
    input: writeCanonicalRequest(request),
    env: request.family === 2 ? { GIT_PROTOCOL: 'version=2' } : {},
  })
}

interface Resolvers<T> {
  promise: Promise<T>
  resolve: (value: T) => void
  reject: (reason: unknown) => void
}

/** Promise.withResolvers, which Node 20 does not have. */
function withResolvers<T>(): Resolvers<T> {
  let resolve!: (value: T) => void
  let reject!: (reason: unknown) => void
  const promise = new Promise<T>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}
