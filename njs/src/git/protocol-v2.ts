/** Reads a protocol v2 request. Source: gitprotocol-v2(5); git's upload-pack.c `process_args`. */
import type { FetchRequest, Parsed } from './fetch-request.ts'
import { emptyRequest, finishRequest, own, pass, takeLine, takeRun } from './fetch-request.ts'
import { chomp, DELIM, FLUSH, type PktSource, readPkt } from './pkt-line.ts'
import type { Reason } from './reasons.ts'

/** Argument lines without a value, and the field that each sets; null: it changes nothing here. */
const FLAGS: { [line: string]: 'done' | 'ofsDelta' | 'thinPack' | 'includeTag' | 'noProgress' } = {
  done: 'done',
  'ofs-delta': 'ofsDelta',
  'thin-pack': 'thinPack',
  'include-tag': 'includeTag',
  'no-progress': 'noProgress',
}

/**
 * Parses up to the first flush and ignores what follows, as git does (dulwich sends `done` after it).
 */
export function parseFetchRequest(body: PktSource, maxLines: number): Parsed {
  const request = emptyRequest(2)
  const state = { command: '', args: false, waitForDone: false }
  let pos = 0
  for (let lines = 0; ; lines++) {
    if (lines > maxLines) {
      return pass('too-many-lines')
    }
    const read = readPkt(body, pos)
    if (read === null) {
      return pass('body')
    }
    pos = read.next
    if (read.pkt === FLUSH) {
      return lines === 0 ? pass('empty') : finish(request, state.command, state.waitForDone)
    }
    const reason =
      typeof read.pkt === 'string'
        ? takeV2Line(request, state, chomp(read.pkt))
        : enterArguments(state, read.pkt === DELIM)
    if (reason !== null) {
      return pass(reason)
    }
    const run = takeRun(request, body, pos)
    lines += run.lines
    pos = run.next
  }
}

interface V2State {
  command: string
  args: boolean
  waitForDone: boolean
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
  const flag = own(FLAGS, line)
  if (flag !== undefined) {
    request[flag] = true
    return null
  }
  if (line === 'wait-for-done') {
    state.waitForDone = true
    return null
  }
  return takeLine(request, line)
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

export function takeObjectFormat(request: FetchRequest, value: string): Reason | null {
  if (value !== 'sha1' && value !== 'sha256') {
    return 'object-format'
  }
  request.format = value
  return null
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
