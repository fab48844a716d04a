/** Requests too large for njs (24,000 wants are 1.2 MB): read, parsed and probed here, by the same code. */
import { randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { LRUCache } from 'lru-cache'
import { authorize, MAX_YES_AGE, type Verdict } from '../../njs/src/git/authorize.ts'
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import { isGzip, parseBody } from '../../njs/src/git/classify.ts'
import type { FetchRequest } from '../../njs/src/git/fetch-request.ts'
import { keyOf } from '../../njs/src/git/key.ts'
import type { Answers } from './answers.ts'
import { networkOf } from './client-network.ts'
import type { Config } from './config.ts'
import { Pass, type PrepareOrder, type State, type TicketOrder } from './protocol.ts'
import { readAtMost } from './read-at-most.ts'
import { withResolvers } from './resolvers.ts'
import { openTurns } from './turns.ts'
import { askUpstream } from './upstream-http.ts'
import { findUpstream, sha256 } from './work.ts'

const inflate = promisify(gunzip)
/** No line of git's that counts is shorter: a have or want is 50 bytes. */
const LINE = 40
/** 200,000 wants are 40 MB of memory until upstream has said yes: so many requests at once, and of one client. */
const AT_ONCE = 8
const OF_ONE_CLIENT = 4

export interface LargeRequests {
  ticket(order: TicketOrder): State
  /** Reads and parses the body that a ticket is for, when it is its turn. Throws Pass. */
  receive(ticket: string, request: IncomingMessage): Promise<Received>
  /** Asks upstream, and then as any request. */
  answer(received: Received): Promise<State>
}

export interface Received {
  order: TicketOrder
  request: FetchRequest
  headers: IncomingHttpHeaders
  /** To be called when upstream has decided: the next one's turn. */
  release(): void
}

export function openLargeRequests(config: Config, answers: Answers): LargeRequests {
  const { queueLength } = config
  const turns = openTurns({ atOnce: AT_ONCE, perTurn: OF_ONE_CLIENT, queueLength })
  /** A ticket is good once and for a minute: it stands for the secret in a request line. */
  const tickets = new LRUCache<string, TicketOrder>({ max: 1000, ttl: 60_000 })

  function ticket(order: TicketOrder): State {
    findUpstream(config, order.upstream)
    const job = randomBytes(16).toString('hex')
    tickets.set(job, order)
    return { state: 'ticket', job }
  }

  async function receive(id: string, message: IncomingMessage): Promise<Received> {
    const order = tickets.get(id)
    tickets.delete(id)
    if (order === undefined) {
      throw new Pass('sidecar', 'unknown ticket')
    }
    const received = withResolvers<Received>()
    const decided = withResolvers<void>()
    turns
      .limited(networkOf(order.client), async () => {
        const request = await readRequest(message, config.maxBody)
        const { headers } = message
        received.resolve({ order, request, headers, release: decided.resolve })
        await decided.promise
      })
      .catch(received.reject)
    return received.promise
  }

  async function answer({ order, request, headers, release }: Received): Promise<State> {
    const asked = Date.now()
    /** Null where upstream's answer to the probe is that to this round. */
    const ask = async () => {
      const upstream = findUpstream(config, order.upstream)
      const source = askUpstream(upstream, order.path, headers, order.maxTags)
      const verdict = await authorize(request, source)
      if (verdict.kind === 'yes') return writeOrder(order, verdict)
      if (verdict.kind === 'nak') return null
      throw new Pass(verdict.reason)
    }
    const yes = await ask().finally(release)
    if (yes === null) {
      return { state: 'nak' }
    }
    const state = await answers.prepare(yes, headers)
    if (Date.now() - asked > MAX_YES_AGE && (await ask())?.key !== yes.key) {
      throw new Pass('stale')
    }
    return state
  }

  return { ticket, receive, answer }
}

type Yes = Extract<Verdict, { kind: 'yes' }>

/** As njs orders what it has read itself. */
function writeOrder(order: TicketOrder, { request, tags }: Yes): PrepareOrder {
  const { secret, upstream, vhost, path, id, client } = order
  return {
    secret,
    upstream,
    vhost,
    path,
    id,
    client,
    key: keyOf(sha256, request, tags, order),
    family: request.family,
    request: writeCanonicalRequest(request),
    tags,
    maxTags: order.maxTags,
    progress: !request.noProgress,
  }
}

async function readRequest(message: IncomingMessage, maxBody: number): Promise<FetchRequest> {
  const body = await readBody(message, maxBody)
  const protocol = String(message.headers['git-protocol'] ?? '')
  const parsed = parseBody(body.toString('latin1'), protocol, Math.floor(maxBody / LINE))
  if (parsed.kind === 'pass') {
    throw new Pass(parsed.reason)
  }
  return parsed.request
}

async function readBody(message: IncomingMessage, limit: number): Promise<Buffer> {
  const raw = await readAtMost(message, limit)
  if (raw === null) {
    throw new Pass('body-size')
  }
  if (!isGzip(String(message.headers['content-encoding'] ?? ''))) {
    return raw
  }
  return inflate(raw, { maxOutputLength: limit }).catch(() => {
    throw new Pass('gzip')
  })
}
