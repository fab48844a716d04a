/** Upstream over HTTP: probes and tags for requests that njs does not read, its own answers, and the connections. */
import { randomBytes } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import type { IncomingHttpHeaders } from 'node:http'
import { isIP } from 'node:net'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import { Agent, buildConnector, type Dispatcher, errors, Pool, ProxyAgent, request } from 'undici'
import type { Upstream as Asked } from '../../njs/src/git/authorize.ts'
import { isOfGit, SERVICE } from '../../njs/src/git/classify.ts'
import type { PktSource } from '../../njs/src/git/pkt-line.ts'
import { forwardedHeaders } from './credentials.ts'
import type { AnswerSource } from './job.ts'
import { Pass } from './protocol.ts'
import { readAtMost } from './read-at-most.ts'
import type { Upstream } from './upstreams.ts'

/** What waits in memory while the disk is written: many small chunks are one write then. Bytes. */
const READ_AHEAD = 256 * 1024
/** Each chunk is a write to disk, and wakes nginx and the client: Apache's 8 kB cost a third of a relay. Bytes. */
const GATHER_FROM = 1024 * 1024
/** So many bytes are a piece without waiting for more. */
const FULL_PIECE = 64 * 1024
/** Milliseconds. */
const GATHER_FOR = 4
const MAX_ANSWER = 4 * 1024 * 1024
const TIMEOUT = 30_000
/** A connection waits so long for the next request: Apache keeps them for 5 s, and each may hold a process. Milliseconds. */
const KEEP_IDLE = 4000
/** What upstream has closed just then fails in a round trip; what fails later may have been work. Milliseconds. */
const JUST_THEN = 1000
/** A proxy has so long to answer CONNECT. Milliseconds. */
const CONNECT_TIMEOUT = 10_000

interface Dispatchers {
  kept: Dispatcher
  /** A connection for each request. */
  fresh: Dispatcher
}

const dispatchers = new Map<string, Dispatchers & { made: string }>()

/** Certificates are renewed while we run: made anew where a file has changed, as each git reads it anew. */
function dispatchersOf(upstream: Upstream): Dispatchers {
  const files = [upstream.caFile, upstream.clientCert, upstream.clientKey]
  const made = files
    .map((file) => file && statSync(file, { throwIfNoEntry: false })?.mtimeMs)
    .join()
  const known = dispatchers.get(upstream.name)
  if (known?.made === made) {
    return known
  }
  const both = {
    kept: newDispatcher(upstream, { keepAliveTimeout: KEEP_IDLE, keepAliveMaxTimeout: KEEP_IDLE }),
    fresh: newDispatcher(upstream, { pipelining: 0 }),
  }
  dispatchers.set(upstream.name, { ...both, made })
  return both
}

/**
 * Asks on a connection that was kept, where there is one: a handshake is two round trips. Where upstream
 * has closed it just then, asks once more on a new one. Rejects as `ask` does.
 */
export async function askKept<T>(
  upstream: Upstream,
  ask: (dispatcher: Dispatcher) => Promise<T>
): Promise<T> {
  const { kept, fresh } = dispatchersOf(upstream)
  const begun = Date.now()
  return ask(kept).catch((error: unknown) => {
    const isClosed = CLOSED.has(String((error as { code?: unknown }).code))
    if (!isClosed || Date.now() - begun > JUST_THEN) throw error
    return ask(fresh)
  })
}

const CLOSED = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'])

function newDispatcher(upstream: Upstream, options: Agent.Options): Dispatcher {
  const { hostname } = new URL(upstream.url)
  const tls = {
    ...(upstream.caFile ? { ca: readFileSync(upstream.caFile) } : {}),
    ...(upstream.clientCert ? { cert: readFileSync(upstream.clientCert) } : {}),
    ...(upstream.clientKey ? { key: readFileSync(upstream.clientKey) } : {}),
  }
  return upstream.proxy
    ? new ProxyAgent({
        uri: upstream.proxy,
        requestTls: isIP(hostname) === 0 ? { ...tls, servername: hostname } : tls,
        clientFactory: proxyPool,
        ...options,
      })
    : new Agent({ connect: connector(tls), ...options })
}

/** undici asks a proxy that closes CONNECT again and again, by the error's code, and waits 5 minutes for one that is silent. */
function proxyPool(origin: URL, options: object): Dispatcher {
  const pool = new Pool(origin, { ...options, headersTimeout: CONNECT_TIMEOUT })
  const connect = pool.connect.bind(pool) as (to: Dispatcher.ConnectOptions) => Promise<unknown>
  const connectOnce = (to: Dispatcher.ConnectOptions) =>
    connect(to).catch((cause: Error) => {
      throw new Error(`proxy: ${cause.message}`, { cause })
    })
  return Object.assign(pool, { connect: connectOnce }) as Dispatcher
}

/** A certificate is for the host in the URL; undici would take the Host header, which is nginx's. */
function connector(tls: buildConnector.BuildOptions): buildConnector.connector {
  const connect = buildConnector(tls)
  return ({ servername: _, ...to }, done) => connect(to, done)
}

export function askUpstream(
  upstream: Upstream,
  path: string,
  headers: IncomingHttpHeaders,
  maxTags: number
): Asked {
  const protocol = headers['git-protocol']
  const common = Object.fromEntries(forwardedHeaders(headers, upstream))
  if (typeof protocol === 'string') common['git-protocol'] = protocol

  /** The whole body of a 200 of git's, or null; the status of any other answer, 504 of none. Redirects are not followed. */
  async function ask(
    method: 'GET' | 'POST',
    service: string,
    body?: string
  ): Promise<Buffer | number | null> {
    try {
      const signal = AbortSignal.timeout(TIMEOUT)
      const answer = await askKept(upstream, (dispatcher) =>
        request(upstream.url + path + service, {
          method,
          dispatcher,
          headers: body === undefined ? common : { ...common, 'content-type': SERVICE.contentType },
          body: body ?? null,
          signal,
        })
      )
      const bytes = await readAtMost(answer.body, MAX_ANSWER)
      // undici has the connection ready for the next question a turn of the event loop later.
      await setImmediate()
      if (answer.statusCode !== 200) return answer.statusCode
      const isYes = isOfGit(answer.headers['content-type'], method === 'GET')
      return bytes === null || !isYes ? null : decode(bytes, answer.headers['content-encoding'])
    } catch {
      return 504
    }
  }

  return {
    probe: async (body) => {
      const said = await ask('POST', '/git-upload-pack', body)
      return Buffer.isBuffer(said) ? said.toString('latin1') : said
    },
    lsRefs: async (body) => {
      const said = await ask('POST', '/git-upload-pack', body)
      return Buffer.isBuffer(said) ? said.toString() : null
    },
    advertisement: async () => {
      const said = await ask('GET', '/info/refs?service=git-upload-pack')
      return Buffer.isBuffer(said) ? utf8Source(said) : null
    },
    unknownOid: (digits) => randomBytes(digits / 2).toString('hex'),
    maxTags: () => maxTags,
  }
}

export interface UpstreamAnswer {
  status: number
  headers: IncomingHttpHeaders
  source: AnswerSource
}

/**
 * POSTs a fetch request with the client's headers and asks for no encoding: what is stored must be
 * upstream's answer itself. Redirects are not followed. Rejects where no answer comes.
 */
export async function fetchFromUpstream(
  upstream: Upstream,
  path: string,
  headers: IncomingHttpHeaders,
  fetch: { body: string; family: 0 | 2; beginWithin: number; stallAfter: number }
): Promise<UpstreamAnswer> {
  const sent = Object.fromEntries(forwardedHeaders(headers, upstream))
  sent['content-type'] = SERVICE.contentType
  if (fetch.family === 2) sent['git-protocol'] = 'version=2'
  const until = Date.now() + fetch.beginWithin
  const left = () => Math.max(1, until - Date.now())
  const answer = await askKept(upstream, (dispatcher) =>
    request(`${upstream.url}${path}/git-upload-pack`, {
      method: 'POST',
      dispatcher,
      headers: sent,
      body: fetch.body,
      headersTimeout: left(),
      bodyTimeout: fetch.stallAfter,
      highWaterMark: READ_AHEAD,
    })
  )
  const { body } = answer
  // Whoever reads it learns of an error; who kills it need not.
  body.on('error', () => {})
  const chunks = body[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  // A head alone is no word.
  const late = setTimeout(() => body.destroy(new errors.HeadersTimeoutError()), left())
  const first = await chunks.next().finally(() => clearTimeout(late))
  const source = {
    stdout: gathered(first, chunks),
    done: Promise.resolve({ code: 0, stderr: '' }),
    kill: () => void body.destroy(),
  }
  return { status: answer.statusCode, headers: answer.headers, source }
}

/** In its own chunks up to GATHER_FROM, so that what is short is not late; then what GATHER_FOR brings is one. */
async function* gathered(
  first: IteratorResult<Buffer>,
  chunks: AsyncIterator<Buffer>
): AsyncIterable<Buffer> {
  let size = 0
  try {
    for (let next = first; !next.done; next = await chunks.next()) {
      yield next.value
      size += next.value.length
      if (size > GATHER_FROM && next.value.length < FULL_PIECE) await sleep(GATHER_FOR)
    }
  } catch (error) {
    throw new Pass('broken-off', String(error))
  }
}

function decode(bytes: Buffer, encoding: string | string[] | undefined): Buffer | null {
  if (encoding === undefined) {
    return bytes
  }
  return encoding === 'gzip' ? gunzipSync(bytes, { maxOutputLength: MAX_ANSWER }) : null
}

/** Names of refs are UTF-8; lengths of packets count bytes. */
export function utf8Source(bytes: Buffer): PktSource {
  return { length: bytes.length, substring: (start, end) => bytes.toString('utf8', start, end) }
}
