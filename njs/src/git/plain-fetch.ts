/**
 * A protocol v2 fetch as git itself writes it (fetch-pack.c, `send_fetch_request`), read at once: in njs
 * a packet takes 3 us, and this expression no more than two of them. What it does not match, other
 * clients' requests and more of each line than a fleet's, is read packet by packet, to the same
 * request: test/property/plain-fetch.test.ts.
 */
import type { FetchRequest } from './fetch-request.ts'
import { sortedUnique } from './oids.ts'

/** Longer ones are no hit of njs's, and more repetitions than V8 has room for. */
const LONGEST = 64 * 1024

/** Null where git would have written it in another way. */
export function readPlainFetch(body: string): FetchRequest | null {
  if (body.length > LONGEST) {
    return null
  }
  const match =
    /^0011command=fetch(?:00([0-9a-f]{2})(agent=[!-~]*?))?(?:0016object-format=sha1)?0001((?:000dthin-pack|000fno-progress|000finclude-tag|000dofs-delta)*)((?:0034shallow [0-9a-f]{40})*)(?:000c(deepen [1-9])|000d(deepen [1-9][0-9]))?(?:0014filter (blob:none))?((?:0032want [0-9a-f]{40}\n)+)((?:0032have [0-9a-f]{40}\n)*)(0009done\n)?0000$/.exec(
      body
    )
  // An agent may say what looks like the packets behind it: its length tells where it ends.
  if (match === null || (match[1] !== undefined && !isLength(match[1], match[2] as string))) {
    return null
  }
  const options = match[3] as string
  return {
    family: 2,
    format: 'sha1',
    wants: sortedUnique(oidsOf(match[8] as string, '0032want ')),
    haves: oidsOf(match[9] as string, '0032have '),
    shallows: sortedUnique(shallowsOf(match[4] as string)),
    deepen: match[5] || match[6] || null,
    filter: match[7] || null,
    done: match[10] !== undefined,
    ofsDelta: options.indexOf('ofs-delta') >= 0,
    thinPack: options.indexOf('thin-pack') >= 0,
    includeTag: options.indexOf('include-tag') >= 0,
    noProgress: options.indexOf('no-progress') >= 0,
  }
}

function isLength(digits: string, payload: string): boolean {
  return parseInt(digits, 16) === payload.length + 4
}

/** `<head><oid>\n` any number of times. */
function oidsOf(lines: string, head: string): string[] {
  return lines === '' ? [] : lines.substring(head.length, lines.length - 1).split('\n' + head)
}

/** git writes these without a line feed. */
function shallowsOf(lines: string): string[] {
  return lines === '' ? [] : lines.substring(12).split('0034shallow ')
}
