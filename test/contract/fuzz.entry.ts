/**
 * Decides on any bytes from inside an engine, read as nginx's module reads them, and prints a line for
 * each: what was decided, and a checksum of all that follows from it. Written in the njs dialect;
 * fuzzed.ts puts the bytes in.
 */
import { bufferSource } from '../../njs/src/bytes.ts'
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import { parseBody } from '../../njs/src/git/classify.ts'
import { crc32, gunzip } from '../../njs/src/git/gzip.ts'
import { keyText } from '../../njs/src/git/key.ts'
import { readProbeAnswer, writeProbe } from '../../njs/src/git/probe.ts'
import { parseRepositoryPath } from '../../njs/src/git/repository-path.ts'
import { readAdvertisedTags, readLsRefsTags } from '../../njs/src/git/tag-state.ts'
import { GOLDEN_SCOPE } from '../support/cases.ts'
import { oid } from '../support/wire.ts'

/** Rows `<protocol> <hex>`, joined by commas; written by fuzzed.ts. */
const INPUTS = '@inputs@'
/** As in njs/src/nginx/upload-pack.ts. */
const MAX_LINES = 400

/** The tags, without the reason of a refusal. */
function tagsOf(buffer: Buffer): string {
  const limits = { format: 'sha1', maxTags: 5 } as const
  const source = bufferSource(buffer)
  const answers = [readLsRefsTags(source, limits), readAdvertisedTags(source, limits)]
  return JSON.stringify(answers.map((answer) => (answer.kind === 'pass' ? null : answer.lines)))
}

function inflated(buffer: Buffer): string {
  const plain = gunzip(buffer, 4096)
  return plain === null ? 'no' : `${plain.length} ${crc32(plain)}`
}

/** The decision, and what follows from it. */
function decide(buffer: Buffer, protocol: string): string[] {
  const parsed = parseBody(bufferSource(buffer), protocol, MAX_LINES)
  const path = parseRepositoryPath(`/${buffer.toString()}/git-upload-pack`)
  const said: string[] = [tagsOf(buffer), inflated(buffer), path === null ? 'no' : path]
  if (parsed.kind === 'pass') {
    return [parsed.reason, said.join('|')]
  }
  said.push(writeCanonicalRequest(parsed.request))
  said.push(keyText(parsed.request, GOLDEN_SCOPE))
  said.push(writeProbe(parsed.request, oid(15)))
  said.push(JSON.stringify(readProbeAnswer(parsed.request, buffer.toString())))
  return ['fetch', said.join('|')]
}

function line(row: string): string {
  const words = row.split(' ')
  try {
    const said = decide(Buffer.from(words[1] as string, 'hex'), words[0] as string)
    return `${said[0]} ${crc32(Buffer.from(said[1] as string)).toString(16)}`
  } catch (e) {
    return `exception ${(e as Error).message}`
  }
}

INPUTS.split(',').forEach((row) => {
  console.log(line(row))
})
