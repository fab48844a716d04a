/**
 * Requests as clients write them. In the njs dialect (no spread, no classes), since the contract
 * tests run it in njs too.
 */
import { parseBody } from '../../njs/src/git/classify.ts'
import type { FetchRequest, Parsed } from '../../njs/src/git/fetch-request.ts'
import { pktLine } from '../../njs/src/git/pkt-line.ts'

export const V2 = 'version=2'
export const V0 = ''
export const FLUSH = '0000'
export const DELIM = '0001'

/** An object id that is easy to tell from others: `oid(10)` is 40 times `a`. */
export function oid(digit: number): string {
  return repeat(digit.toString(16), 40)
}

export function oid256(digit: number): string {
  return repeat(digit.toString(16), 64)
}

export function repeat(text: string, times: number): string {
  return text.repeat(times)
}

export function pkts(lines: string[]): string {
  return lines.map((line) => pktLine(`${line}\n`)).join('')
}

/** A v2 fetch with these argument lines. */
export function v2(args: string[]): string {
  return v2With(['command=fetch'], args)
}

export function v2With(capabilities: string[], args: string[]): string {
  return pkts(capabilities) + DELIM + pkts(args) + FLUSH
}

/** A v0 request: needs (capabilities ride on the first), flush, done. */
export function v0(needs: string[]): string {
  return pkts(needs) + FLUSH + pkts(['done'])
}

/** The first want of v0 as git sends it, with capabilities. */
export function want0(capabilities: string): string {
  return `want ${oid(1)} ${capabilities}`
}

export function parse(body: string, protocol: string): Parsed {
  return parseBody(body, protocol, 100)
}

/** `fetch`, or the reason to pass. */
export function decision(body: string, protocol: string): string {
  const parsed = parse(body, protocol)
  return parsed.kind === 'fetch' ? 'fetch' : parsed.reason
}

/** The request in a body that must be one. */
export function fetchOf(body: string, protocol: string): FetchRequest {
  const parsed = parse(body, protocol)
  if (parsed.kind !== 'fetch') {
    throw new Error(`passed: ${parsed.reason}`)
  }
  return parsed.request
}
