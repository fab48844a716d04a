/** Reads an upload request of protocol v0 or v1. Source: gitprotocol-pack(5), gitprotocol-capabilities(5). */
import type { FetchRequest, Parsed } from './fetch-request.ts'
import {
  emptyRequest,
  finishRequest,
  pass,
  takeLine,
  takeObjectFormat,
  takeOption,
} from './fetch-request.ts'
import { chomp, FLUSH, type Pkt, type PktSource, readPkts } from './pkt-line.ts'
import type { Reason } from './reasons.ts'

interface V0State {
  sideBand: boolean
  filter: boolean
  flushed: boolean
}

export function parseUploadRequest(body: PktSource, maxLines: number): Parsed {
  const pkts = readPkts(body, maxLines, 'body')
  if (pkts === null) {
    return pass('body')
  }
  const request = emptyRequest(0)
  const state: V0State = { sideBand: false, filter: false, flushed: false }
  const last = Math.min(pkts.length, maxLines)
  for (let i = 0; i < last; i++) {
    // git reads no further.
    const reason = request.done ? 'body' : takePkt(request, state, pkts[i] as Pkt)
    if (reason !== null) {
      return pass(reason)
    }
  }
  return pkts.length > maxLines ? pass('too-many-lines') : finish(request, state)
}

function takePkt(request: FetchRequest, state: V0State, pkt: Pkt): Reason | null {
  if (pkt === FLUSH) {
    if (request.wants.length === 0) {
      return 'empty'
    }
    // A second one ends the round: git answers NAK and reads no further.
    const again = state.flushed
    state.flushed = true
    return again ? 'v0-no-done' : null
  }
  if (typeof pkt !== 'string') {
    return 'body'
  }
  const line = chomp(pkt)
  if (state.flushed) {
    if (line !== 'done') {
      return line.indexOf('have ') === 0 ? 'v0-haves' : 'argument'
    }
    request.done = true
    return null
  }
  return request.wants.length === 0 ? takeFirstWant(request, state, line) : takeNeed(request, line)
}

/** `want <oid> <capability>...`: libgit2 puts one space or none before the capabilities. */
function takeFirstWant(request: FetchRequest, state: V0State, line: string): Reason | null {
  // git ends them at a NUL, and parts them at any white space.
  if (!/^[ -~]*$(?!\n)/.test(line)) {
    return 'capability'
  }
  const words = line.split(' ')
  for (let i = 2; i < words.length; i++) {
    const word = words[i] as string
    const reason = takeCapability(request, state, word)
    if (reason !== null) {
      return reason
    }
  }
  if (words[0] !== 'want') {
    return 'body'
  }
  const oid = words[1] || ''
  // Clients of v0 and v1 do not name the format: the server takes its own.
  if (oid.length === 64 && request.format === 'sha1') {
    request.format = 'sha256'
  }
  return takeLine(request, 'want ' + oid)
}

function takeCapability(request: FetchRequest, state: V0State, word: string): Reason | null {
  if (takeOption(request, word)) {
    return null
  }
  switch (word) {
    case 'side-band-64k':
      state.sideBand = true
      return null
    case 'filter':
      state.filter = true
      return null
    case 'deepen-relative':
      return 'deepen-relative'
    // What changes no byte of an answer that we keep (no haves, done): upload-pack then says a plain
    // NAK under every multi_ack mode.
    case '':
    case 'multi_ack':
    case 'multi_ack_detailed':
    case 'no-done':
    case 'side-band':
    case 'shallow':
    case 'deepen-since':
    case 'deepen-not':
    case 'allow-tip-sha1-in-want':
    case 'allow-reachable-sha1-in-want':
      return null
    default:
      return takeNamedCapability(request, word)
  }
}

/** `name=value`. */
function takeNamedCapability(request: FetchRequest, word: string): Reason | null {
  if (word.indexOf('object-format=') === 0) {
    return takeObjectFormat(request, word.substring(14))
  }
  const ignored = word.indexOf('agent=') === 0 || word.indexOf('session-id=') === 0
  return ignored ? null : 'capability'
}

function takeNeed(request: FetchRequest, line: string): Reason | null {
  return line.indexOf('have ') === 0 ? 'v0-haves' : takeLine(request, line)
}

function finish(request: FetchRequest, state: V0State): Parsed {
  if (request.wants.length === 0) {
    return pass('empty')
  }
  if (!state.flushed) {
    return pass('body')
  }
  if (!request.done) {
    return pass('v0-no-done')
  }
  if (!state.sideBand) {
    return pass('v0-side-band')
  }
  if (request.filter !== null && !state.filter) {
    return pass('filter')
  }
  return finishRequest(request)
}
