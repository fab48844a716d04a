/** What nginx calls, over a socket that only nginx can open. The routes are the table at the end. */
import { hash, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { SERVICE } from '../../njs/src/git/classify.ts'
import type { Answers } from './answers.ts'
import { SIDECAR_HOST } from './credentials.ts'
import type { Faults } from './faults.ts'
import type { Jobs } from './jobs.ts'
import type { LargeRequests } from './large-request.ts'
import { anyOrder, type Order, Overloaded, Pass, type State, WrongOrder } from './protocol.ts'
import { readAtMost } from './read-at-most.ts'
import type { RequestLog } from './request-log.ts'

/** The largest has a tag state of 512 KiB, in JSON. */
const MAX_ORDER = 4 * 1024 * 1024
/**
 * While an answer is awaited, a space goes to nginx every so many milliseconds: one that works is
 * told from one that hangs, which nginx waits for no longer than proxy_read_timeout.
 */
const SIGN_OF_LIFE = 2000

export interface ServerParts {
  answers: Answers
  jobs: Jobs
  large: LargeRequests
  /** Empty where there is none: on a unix socket file modes guard. */
  secret: string
  requests: RequestLog
  faults: Faults
  /** Whether what is not begun yet is to be passed: who was told an id may still come for it. */
  isDraining(): boolean
}

type Route = (message: IncomingMessage, response: ServerResponse, id: string) => Promise<void>

export function createSidecarServer(parts: ServerParts): Server {
  const { answers, jobs, large, secret, requests, faults, isDraining } = parts

  const prepare: Route = async (message, response) => {
    await answer(response, readOrder(message, secret), async ({ order }) => {
      if (isDraining()) return DRAINING
      if ('key' in order) return answers.prepare(order, message.headers)
      if ('lead' in order) return answers.lead(order, message.headers)
      return large.ticket(order)
    })
  }

  const read: Route = async (message, response, id) => {
    await answer(response, large.receive(id, message), async (received) => {
      if (!isDraining()) return large.answer(received)
      received.release()
      return DRAINING
    })
    message.resume()
  }

  const stream: Route = async (message, response, id) => {
    message.resume()
    const reader = jobs.take(id)
    if (reader === undefined || !reader.job.isReadable) {
      response.writeHead(404).end()
      return
    }
    const { job, seen, progress, result } = reader
    // Its head goes out with the first byte: what is cut before is a 502 of nginx, which passes it.
    response.setHeader('content-type', SERVICE.answerType)
    const bytes = await job.send(response, { progress, first: result === 'miss' })
    requests.sent(seen, result, bytes, response.writableEnded)
  }

  /**
   * Quickly and finally: ready, stream, or pass with a reason. Not a byte before the request is
   * read: nginx stops sending a body when the answer's head is there.
   */
  async function answer<T extends { order: Order }>(
    response: ServerResponse,
    received: Promise<T>,
    work: (request: T) => Promise<State>
  ): Promise<void> {
    const since = Date.now()
    const seen = await received.then(
      ({ order: { id, upstream, path } }) => ({ id, upstream, repo: path, since }),
      () => ({ id: '', upstream: '', repo: '', since })
    )
    response.writeHead(200, { 'content-type': 'application/json' })
    response.flushHeaders()
    const sign = setInterval(() => response.write(' '), SIGN_OF_LIFE)
    let detail = ''
    const state = await received.then(work).catch((error: unknown): State => {
      if (error instanceof Overloaded) {
        return { state: 'refused', status: error.status, retryAfter: error.retryAfter }
      }
      if (error instanceof Pass) {
        detail = error.detail
        return { state: 'pass', reason: error.reason }
      }
      // Its client has hung up before nginx had sent all.
      if (response.destroyed) return { state: 'pass', reason: 'error' }
      if (error instanceof WrongOrder) {
        faults('GITCACHE_ORDER', error)
        return { state: 'pass', reason: 'sidecar' }
      }
      faults('GITCACHE_INTERNAL', error)
      return { state: 'pass', reason: 'error' }
    })
    clearInterval(sign)
    requests.decided(seen, state, detail)
    response.end(JSON.stringify(state))
  }

  /** Source of the calls: the locations of nginx/gitcache-location.conf. */
  const routes: [method: string, path: RegExp, route: Route][] = [
    ['POST', /^\/prepare$/, prepare],
    ['POST', /^\/read\/([0-9a-f]{32})$/, read],
    ['GET', /^\/stream\/([0-9a-f]{32})$/, stream],
  ]

  const server = createServer({ maxHeaderSize: 128 * 1024 }, (message, response) => {
    // nginx from 1.29.7 on keeps connections by itself: what is being drained would be asked on.
    response.setHeader('connection', 'close')
    for (const [method, path, route] of routes) {
      const match = message.method === method ? path.exec(message.url ?? '') : null
      if (match !== null) {
        route(message, response, match[1] ?? '').catch((error: unknown) => {
          faults('GITCACHE_INTERNAL', error)
          if (response.headersSent) response.destroy()
          else response.writeHead(500).end()
        })
        return
      }
    }
    response.writeHead(404).end()
  })
  // nginx bounds its side; a client may be slow for as long as he likes.
  server.requestTimeout = 0
  return server
}

const DRAINING: State = { state: 'pass', reason: 'sidecar' }

/** What nginx asks for, checked. Throws Pass, or WrongOrder. */
async function readOrder(message: IncomingMessage, secret: string): Promise<{ order: Order }> {
  const given = parseJson(await readText(message))
  checkSecret(secret, given)
  const { data: order } = anyOrder.safeParse(given)
  if (order === undefined) {
    const names = Object.keys(given).filter((name) => name !== 'secret')
    throw new WrongOrder(`an order of ${names.join(', ')}`)
  }
  // A client may call himself so where Host is his: upstream would be asked under its own name.
  if (message.headers.host === SIDECAR_HOST && order.vhost.includes(SIDECAR_HOST)) {
    throw new Pass('unreachable', 'Host is the name of the sidecar')
  }
  return { order }
}

/** Throws WrongOrder, which does not show what it was. */
function parseJson(text: string): object {
  try {
    return Object(JSON.parse(text))
  } catch {
    throw new WrongOrder('an order that is no JSON')
  }
}

function checkSecret(secret: string, order: { secret?: unknown }): void {
  const given = order.secret
  const digest = (text: string) => hash('sha256', text, 'buffer')
  if (secret !== '' && !timingSafeEqual(digest(secret), digest(String(given)))) {
    throw new WrongOrder('wrong secret')
  }
}

async function readText(message: IncomingMessage): Promise<string> {
  const bytes = await readAtMost(message, MAX_ORDER)
  if (bytes === null) {
    throw new Pass('error', 'order too large')
  }
  return bytes.toString('utf8')
}
