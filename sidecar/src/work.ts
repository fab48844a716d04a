/** From an order of nginx to the work that it means, checked. */
import { hash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { parseBody } from '../../njs/src/git/classify.ts'
import { type FetchRequest, isOwnProbe } from '../../njs/src/git/fetch-request.ts'
import { keyOf } from '../../njs/src/git/key.ts'
import { repositoryId } from '../../njs/src/git/repository-path.ts'
import { readTagState } from '../../njs/src/git/tag-state.ts'
import { networkOf } from './client-network.ts'
import type { Config } from './config.ts'
import { forwardedHeaders, gitEnvironment } from './credentials.ts'
import type { FetchSource, MirrorName } from './mirror.ts'
import { type LeadOrder, Pass, type PrepareOrder } from './protocol.ts'
import { utf8Source } from './upstream-http.ts'
import type { Upstream } from './upstreams.ts'

/** So long a probe is waited for too: proxy_read_timeout in nginx/gitcache-location.conf. Seconds. */
const UNPROBED = 12

export interface Work {
  key: string
  /** nginx's $request_id, and when it asked us: milliseconds since the epoch. */
  id: string
  since: number
  /** Who counts as one client. */
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
  /** Where upstream has too much to do he asks once more: nobody has yet who wanted the same. */
  retries: boolean
  /** Upstream has said yes to this client; else he may have nothing but its own answer. */
  probed: boolean
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
  return hash('sha256', text)
}

/** Throws Pass: the key must be that of the request. */
export function readOrder(config: Config, order: PrepareOrder, headers: IncomingHttpHeaders): Work {
  const asked = { ...order, probed: true }
  const work = readRequest(config, asked, headers)
  if (work.key !== order.key) {
    throw new Pass('error', 'the key is not that of the request')
  }
  return work
}

/** Throws Pass. */
export function readLeadOrder(
  config: Config,
  order: LeadOrder,
  headers: IncomingHttpHeaders
): Work {
  const asked = { ...order, request: order.lead, tags: null, maxTags: 0, probed: false }
  const work = readRequest(config, asked, headers)
  if (!isOwnProbe(work.request)) {
    throw new Pass('error', 'not to be led without a probe')
  }
  return work
}

/**
 * How long upstream may be silent before it counts as silence. A cold answer is asked for twice, and both
 * must end before --max-wait passes all who wait at once; a client who was not probed waits no longer
 * than nginx does for a probe.
 */
function secondsToBegin({ stallAfter, maxWait }: Config, { probed }: Asked): number {
  return Math.min(stallAfter, maxWait * 0.4, probed ? Number.POSITIVE_INFINITY : UNPROBED)
}

type Asked = Omit<PrepareOrder, 'key'> & { probed: boolean }

function readRequest(config: Config, asked: Asked, headers: IncomingHttpHeaders): Work {
  const upstream = findUpstream(config, asked.upstream)
  const version = asked.family === 2 ? 'version=2' : ''
  const parsed = parseBody(asked.request, version, Number.MAX_SAFE_INTEGER)
  if (parsed.kind === 'pass') {
    throw new Pass(parsed.reason)
  }
  const request = parsed.request
  return {
    key: keyOf(sha256, request, asked.tags, asked),
    id: asked.id,
    since: Date.now(),
    client: networkOf(asked.client),
    request,
    tagState: request.includeTag ? asked.tags : null,
    maxTags: asked.maxTags,
    name: {
      upstream: upstream.name,
      vhost: asked.vhost,
      repository: repositoryId(asked.path),
      format: request.format,
    },
    source: {
      url: upstream.url + asked.path,
      env: gitEnvironment(forwardedHeaders(headers, upstream), upstream),
      beginWithin: secondsToBegin(config, asked) * 1000,
      stallAfter: config.stallAfter * 1000,
    },
    upstream,
    path: asked.path,
    headers,
    progress: asked.progress,
    retries: true,
    probed: asked.probed,
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
