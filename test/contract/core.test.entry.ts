/**
 * Checks the pure core from inside an engine: njs, QuickJS, Node, Deno. Prints a line for each case
 * and, at the end, a digest of decisions over mutated requests, which is to be the same everywhere.
 * Written in the njs dialect; bundle.ts puts the recorded requests in.
 */
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import { parseBody } from '../../njs/src/git/classify.ts'
import { crc32, gunzip, gzipStored } from '../../njs/src/git/gzip.ts'
import { keyText } from '../../njs/src/git/key.ts'
import { readProbeAnswer, writeProbe } from '../../njs/src/git/probe.ts'
import { parseRepositoryPath } from '../../njs/src/git/repository-path.ts'
import { isTagName, readAdvertisedTags, readLsRefsTags } from '../../njs/src/git/tag-state.ts'
import { CASES, GOLDEN, GOLDEN_SCOPE } from '../support/cases.ts'
import { decision, fetchOf, oid, pkts, V2, v2 } from '../support/wire.ts'

/** Rows `<protocol> <hex>`, joined by commas; written by bundle.ts. */
const RECORDED = '@recorded@'
/** `<keyText's crc32>` of GOLDEN, joined by commas; written by bundle.ts from Node's own. */
const GOLDEN_CRCS = '@golden@'
const MUTATIONS = 12

const failed: string[] = []
const state = { count: 0, seed: 1 }

function check(name: string, good: boolean): void {
  state.count++
  if (!good) {
    failed.push(name)
  }
  console.log(`${good ? 'ok' : 'not ok'} ${state.count} ${name.replace(/\n/g, ' ')}`)
}

/** The bytes of a text whose characters are bytes. */
function bytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length)
  for (let i = 0; i < text.length; i++) {
    bytes[i] = text.charCodeAt(i)
  }
  return bytes
}

function crcOf(text: string): string {
  return crc32(bytesOf(text)).toString(16)
}

function textOf(bytes: Uint8Array): string {
  const parts: string[] = []
  for (let i = 0; i < bytes.length; i++) {
    parts.push(String.fromCharCode(bytes[i] as number))
  }
  return parts.join('')
}

function unhex(hex: string): string {
  const parts: string[] = []
  for (let i = 0; i < hex.length; i += 2) {
    parts.push(String.fromCharCode(parseInt(hex.substring(i, i + 2), 16)))
  }
  return parts.join('')
}

/** xorshift32: the same numbers in every engine. */
function random(limit: number): number {
  let x = state.seed
  x ^= x << 13
  x ^= x >>> 17
  x ^= x << 5
  state.seed = x
  return (x >>> 0) % limit
}

function mutated(body: string): string {
  const at = random(body.length)
  const kind = random(4)
  const byte = String.fromCharCode(random(256))
  if (kind === 0) {
    return body.substring(0, at)
  }
  if (kind === 1) {
    return body.substring(0, at) + byte + body.substring(at)
  }
  return body.substring(0, at) + (kind === 2 ? byte : '') + body.substring(at + 1)
}

/** All that the core says of these bytes, as one line. */
function decide(body: string, protocol: string): string {
  const parsed = parseBody(body, protocol, 50)
  const limits = { format: 'sha1', maxTags: 5 } as const
  const said: string[] = [
    JSON.stringify(readLsRefsTags(body, limits)),
    JSON.stringify(readAdvertisedTags(body, limits)),
  ]
  if (parsed.kind === 'pass') {
    said.push(parsed.reason)
  } else {
    said.push(writeCanonicalRequest(parsed.request))
    said.push(keyText(parsed.request, GOLDEN_SCOPE))
    said.push(writeProbe(parsed.request, oid(15)))
    said.push(JSON.stringify(readProbeAnswer(parsed.request, body)))
  }
  return said.join('|')
}

function checkCases(): void {
  CASES.forEach((row) => {
    check(row.name, decision(row.body, row.protocol) === row.expected)
  })
}

function checkGolden(): void {
  const crcs = GOLDEN_CRCS.split(',')
  GOLDEN.forEach((row, i) => {
    const text = keyText(fetchOf(row.body, row.protocol), GOLDEN_SCOPE)
    check(`key of ${row.name}`, crcOf(text) === crcs[i])
  })
}

function checkGzip(): void {
  const plain = bytesOf(unhex((RECORDED.split(',')[0] as string).split(' ')[1] as string))
  const stored = gzipStored(plain)
  const read = gunzip(stored, plain.length)
  check('gzip', read !== null && textOf(read) === textOf(plain))
  check('gzip beyond the limit', gunzip(stored, plain.length - 1) === null)
}

function checkNames(): void {
  check('path', parseRepositoryPath('/g/x.git/git-upload-pack') === '/g/x.git')
  check('path with dots', parseRepositoryPath('/g/../x.git/git-upload-pack') === null)
  check('tag name', isTagName('refs/tags/größe'))
  check('hostile tag name', !isTagName('refs/tags/../x'))
}

function checkProbe(): void {
  const request = fetchOf(v2([`want ${oid(1)}`, `have ${oid(2)}`]), V2)
  const yes = readProbeAnswer(request, `${pkts(['acknowledgments', `ACK ${oid(2)}`])}0000`)
  check('probe', yes.kind === 'yes' && yes.acknowledged[0] === oid(2))
}

function digest(): string {
  const lines: string[] = []
  RECORDED.split(',').forEach((row) => {
    const protocol = row.split(' ')[0] as string
    const body = unhex(row.split(' ')[1] as string)
    lines.push(decide(body, protocol))
    for (let i = 0; i < MUTATIONS; i++) {
      lines.push(decide(mutated(body), protocol))
    }
  })
  return `digest ${lines.length} ${crcOf(lines.join('\n').replace(/[^\x00-\x7f]/g, '?'))}`
}

checkCases()
checkGolden()
checkGzip()
checkNames()
checkProbe()
console.log(digest())
console.log(failed.length === 0 ? `all ${state.count} ok` : `failed: ${failed.join('; ')}`)
