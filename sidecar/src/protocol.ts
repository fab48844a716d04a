/** What nginx (njs/src/nginx/sidecar.ts) and the sidecar say to each other. */
import { z } from 'zod'
import type { Reason } from '../../njs/src/git/reasons.ts'

const head = {
  secret: z.string().default(''),
  upstream: z.string(),
  /** $gitcache_vhost */
  vhost: z.string().max(4096).default(''),
  /** The repository's path on upstream, as the client spelt it. */
  path: z.string().regex(/^(\/[A-Za-z0-9._~+@,:=-]+)+$/),
  /** nginx's $request_id: by it a line of its log and one of ours are found to be of one request. */
  id: z.string().max(64).default(''),
  /** nginx's $remote_addr, of which one may only have so many answers in the making. Never logged. */
  client: z.string().max(64).default(''),
}

/** An authorised request: upstream has just said yes to this client for exactly this. */
export const prepareOrder = z.object({
  ...head,
  key: z.string().regex(/^[0-9a-f]{64}$/),
  family: z.union([z.literal(0), z.literal(2)]),
  /** Canonical, ASCII. */
  request: z.string(),
  /** The text of the tag state as upstream has said it, or null without include-tag. */
  tags: z.string().nullable(),
  /** $gitcache_max_tags */
  maxTags: z.number().int().nonnegative(),
  /** The client did not ask for no-progress. */
  progress: z.boolean(),
})

/**
 * A request that upstream has not been asked about: its own answer to this client is all that he may
 * have. (Shaped so that no sidecar could take it for an authorised one.)
 */
export const leadOrder = z.strictObject({
  ...head,
  /** Canonical, ASCII. */
  lead: z.string(),
  family: z.union([z.literal(0), z.literal(2)]),
  progress: z.boolean(),
})

/** Leave to post a body that njs does not read; nothing is authorised yet. */
const ticketOrder = z.strictObject({
  ...head,
  /** $gitcache_max_tags */
  maxTags: z.number().int().nonnegative(),
})

/** Which of them it is shows by what it has. */
export const anyOrder = z.union([prepareOrder, leadOrder, ticketOrder])

export type Order = z.infer<typeof anyOrder>
export type LeadOrder = z.infer<typeof leadOrder>
export type PrepareOrder = z.infer<typeof prepareOrder>
export type TicketOrder = z.infer<typeof ticketOrder>

export type State =
  /** The answer is stored: packs/ab/<key>. */
  | { state: 'ready'; key: string }
  /** GET /stream/<job> gives the answer from byte 0 while it is made. */
  | { state: 'stream'; job: string; result: 'miss' | 'join' }
  /** Not from upstream alone: probe, and order again. */
  | { state: 'probe' }
  /** The answer is that nothing is common. */
  | { state: 'nak' }
  | { state: 'ticket'; job: string }
  | { state: 'pass'; reason: Reason }
  /** What upstream has just said to another client who asked the same: 429 or 5xx. */
  | { state: 'refused'; status: number; retryAfter: string }

/** Thrown wherever the way to an answer ends: nginx passes the request with this reason. */
export class Pass extends Error {
  readonly reason: Reason
  /** For the log. MUST NOT be given anything with credentials in it. */
  readonly detail: string

  constructor(reason: Reason, detail = '') {
    super(detail === '' ? reason : `${reason}: ${detail}`)
    this.reason = reason
    this.detail = detail
  }
}

/** Thrown where nginx and this sidecar are not of one version, or not of one secret. */
export class WrongOrder extends Error {}

/** Thrown where a client who has not been probed would get anything but upstream's own answer to him. */
export class ProbeFirst extends Error {}

/** Upstream said 429, 5xx or nothing: a word for all who wait, not for the leader alone. */
export class Overloaded extends Error {
  readonly status: number
  readonly retryAfter: string

  constructor(status: number, retryAfter = '') {
    super(`upstream: ${status}`)
    this.status = status
    this.retryAfter = retryAfter
  }
}
