/** Reads a protocol v2 request. Source: gitprotocol-v2(5); git's upload-pack.c `process_args`. */
import type { FetchRequest, Parsed } from './fetch-request.ts'
import {
  emptyRequest,
  finishRequest,
  pass,
  takeLine,
  takeObjectFormat,
  takeOption,
} from './fetch-request.ts'
import { chomp, DELIM, FLUSH, type PktSource, readPkts } from './pkt-line.ts'
import type { Reason } from './reasons.ts'

interface V2State {
  command: string
  args: boolean
  waitForDone: boolean
}

/**
 * Parses up to the first flush and ignores what follows, as git does (dulwich sends `done` after it).
 */
export function parseFetchRequest(body: PktSource, maxLines: number): Parsed {
  const pkts = readPkts(body, maxLines, 'flush')
  if (pkts === null) {
    return pass('body')
  }
  const request = emptyRequest(2)
  const state = { command: '', args: false, waitForDone: false }
  const tooMany = pkts.length > maxLines
  const last = tooMany ? maxLines : pkts.length - 1
  for (let i = 0; i < last; i++) {
    const pkt = pkts[i]
    const reason =
      typeof pkt === 'string'
        ? takeV2Line(request, state, chomp(pkt))
        : enterArguments(state, pkt === DELIM)
    if (reason !== null) {
      return pass(reason)
    }
  }
  // What passes for another reason is passed for that: ls-refs has a line for each prefix.
  if (tooMany) {
    return pass('too-many-lines')
  }
  if (pkts[last] !== FLUSH) {
    return pass('body')
  }
  return last === 0 ? pass('empty') : finish(request, state.command, state.waitForDone)
}

function enterArguments(state: V2State, delim: boolean): Reason | null {
  if (!delim || state.args) {
    return 'body'
  }
  state.args = true
  return null
}

function takeV2Line(request: FetchRequest, state: V2State, line: string): Reason | null {
  // isomorphic-git sends arguments without the delimiter; upstream takes that as it likes.
  if (!state.args) {
    return takeCapability(request, state, line)
  }
  if (line === 'done') {
    request.done = true
    return null
  }
  if (line === 'wait-for-done') {
    state.waitForDone = true
    return null
  }
  return takeOption(request, line) ? null : takeLine(request, line)
}

function takeCapability(request: FetchRequest, state: V2State, line: string): Reason | null {
  const equals = line.indexOf('=')
  const name = equals < 0 ? line : line.substring(0, equals)
  const value = line.substring(equals + 1)
  switch (name) {
    case 'command':
      if (state.command !== '') {
        return 'body'
      }
      state.command = value
      return value === 'fetch' ? null : value === 'ls-refs' ? 'ls-refs' : 'command'
    case 'agent':
    case 'session-id':
      return null
    case 'object-format':
      return takeObjectFormat(request, value)
    case 'server-option':
      return 'server-option'
    default:
      return 'capability'
  }
}

function finish(request: FetchRequest, command: string, waitForDone: boolean): Parsed {
  if (command !== 'fetch') {
    return pass('command')
  }
  if (request.wants.length === 0) {
    return pass('no-wants')
  }
  // With `done` the server takes no notice of it.
  if (waitForDone && !request.done) {
    return pass('wait-for-done')
  }
  return finishRequest(request)
}
