/** From an order of nginx to the work that it means, checked. */
import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { parseBody } from '../../njs/src/git/classify.ts'
import type { FetchRequest } from '../../njs/src/git/fetch-request.ts'
import { keyOf } from '../../njs/src/git/key.ts'
import { asciiSource } from '../../njs/src/git/pkt-line.ts'
import { repositoryId } from '../../njs/src/git/repository-path.ts'
import { readTagState } from '../../njs/src/git/tag-state.ts'
import type { Config, Upstream } from './config.ts'
import { forwardedHeaders, gitEnvironment } from './credentials.ts'
import type { FetchSource, MirrorName } from './mirror.ts'
import { Pass, type PrepareOrder } from './protocol.ts'
import { utf8Source } from './upstream-http.ts'

export interface Work {
  key: string
  /** nginx's $request_id, and when it asked us: milliseconds since the epoch. */
  id: string
  since: number
  /** The client's address. */
  client: string
  request: FetchRequest
  /** The text of the tag state as it is in the key, or null where the request does not ask for tags. */
  tagState: string | null
  maxTags: number
  name: MirrorName
  /** How git reaches upstream for this client. */
  source: FetchSource
  /** How we reach it ourselves. */
  upstream: Upstream
  path: string
  headers: IncomingHttpHeaders
  progress: boolean
}

/** Of who makes the answer: others need not know more of the tags than the key. */
export interface LeadersWork extends Work {
  /** The lines of the tag state, or null where the request does not ask for tags. */
  tags: string[] | null
}

export function findUpstream(config: Config, name: string): Upstream {
  const upstream = config.upstreams.find((one) => one.name === name)
  if (upstream === undefined) {
    throw new Pass('no-upstream', name)
  }
  return upstream
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

/** Throws Pass: the key must be that of the request. */
export function readOrder(config: Config, order: PrepareOrder, headers: IncomingHttpHeaders): Work {
  const upstream = findUpstream(config, order.upstream)
  const version = order.family === 2 ? 'version=2' : ''
  const parsed = parseBody(asciiSource(order.request), version, Number.MAX_SAFE_INTEGER)
  if (parsed.kind === 'pass') {
    throw new Pass(parsed.reason)
  }
  const request = parsed.request
  if (keyOf(sha256, request, order.tags, upstream.name, order.path) !== order.key) {
    throw new Pass('error', 'the key is not that of the request')
  }
  return {
    key: order.key,
    id: order.id,
    since: Date.now(),
    client: order.client,
    request,
    tagState: request.includeTag ? order.tags : null,
    maxTags: order.maxTags,
    name: {
      upstream: upstream.name,
      repository: repositoryId(order.path),
      format: request.format,
    },
    source: {
      url: upstream.url + order.path,
      env: gitEnvironment(forwardedHeaders(headers, upstream), upstream),
      // Cold it is asked twice: both end before --max-wait passes all who wait at once.
      beginWithin: Math.min(config.stallAfter, config.maxWait * 0.4) * 1000,
      stallAfter: config.stallAfter * 1000,
    },
    upstream,
    path: order.path,
    headers,
    progress: order.progress,
  }
}

/** Here, and not in nginx, where a thousand lines would keep all other requests waiting. Throws Pass. */
export function leadersWork(work: Work): LeadersWork {
  const { request, tagState, maxTags } = work
  if (tagState === null) {
    return { ...work, tags: null }
  }
  const bytes = utf8Source(Buffer.from(tagState))
  const answer = readTagState(bytes, request.family, { format: request.format, maxTags })
  if (answer.kind === 'pass') {
    throw new Pass(answer.reason)
  }
  return { ...work, tags: answer.lines }
}
