/** The tag state, read from ls-refs (v2) and from the advertisement (v0, v1). */
import { describe, expect, test } from 'vitest'
import { pktLine } from '../../njs/src/git/pkt-line.ts'
import type { TagStateAnswer } from '../../njs/src/git/tag-state.ts'
import {
  readAdvertisedTags,
  readLsRefsTags,
  writeTagsRequest,
} from '../../njs/src/git/tag-state.ts'
import { DELIM, FLUSH, oid, oid256, pkts } from '../support/wire.ts'

const LIMITS = { format: 'sha1', maxTags: 3 } as const
const A = oid(1)
const B = oid(2)
const tags = (...lines: string[]): TagStateAnswer => ({ kind: 'tags', lines })
const pass = (reason: 'tag-state' | 'tag-name' | 'tags-limit'): TagStateAnswer => ({
  kind: 'pass',
  reason,
})

test('the request', () => {
  const args = `${DELIM}${pkts(['peel', 'ref-prefix refs/tags/'])}${FLUSH}`
  expect(writeTagsRequest('sha1')).toBe(pkts(['command=ls-refs']) + args)
  const sha256 = pkts(['command=ls-refs', 'object-format=sha256']) + args
  expect(writeTagsRequest('sha256')).toBe(sha256)
})

describe('ls-refs', () => {
  const lines = (...rows: string[]) => pkts(rows) + FLUSH

  test.each<[what: string, body: string, expected: TagStateAnswer]>([
    ['no tags', FLUSH, tags()],
    ['a lightweight tag', lines(`${A} refs/tags/v1`), tags(`${A} refs/tags/v1`)],
    ['no line feed', pktLine(`${A} refs/tags/v1`) + FLUSH, tags(`${A} refs/tags/v1`)],
    ['an annotated tag', lines(`${A} refs/tags/v1 peeled:${B}`), tags(`${A} refs/tags/v1 ${B}`)],
    [
      'sorted',
      lines(`${B} refs/tags/a`, `${A} refs/tags/b`),
      tags(`${A} refs/tags/b`, `${B} refs/tags/a`),
    ],
    [
      'as many as the limit',
      lines(...[3, 1, 2].map((i) => `${A} refs/tags/${i}`)),
      tags(...[1, 2, 3].map((i) => `${A} refs/tags/${i}`)),
    ],
    ['more', lines(...[1, 2, 3, 4].map((i) => `${A} refs/tags/${i}`)), pass('tags-limit')],
    ['a hostile name', lines(`${A} refs/tags/../../config`), pass('tag-name')],
    ['a branch', lines(`${A} refs/heads/main`), pass('tag-name')],
    ['HEAD', lines(`${A} HEAD`), pass('tag-name')],
    ['no name', lines(A), pass('tag-name')],
    ['two spaces', lines(`${A}  refs/tags/v1`), pass('tag-state')],
    ['a space in the name', lines(`${A} refs/tags/v 1`), pass('tag-state')],
    ['another attribute', lines(`${A} refs/tags/v1 symref-target:x`), pass('tag-state')],
    ['two attributes', lines(`${A} refs/tags/v1 peeled:${B} x:y`), pass('tag-state')],
    ['another label as long', lines(`${A} refs/tags/v1 peelex:${B}`), pass('tag-state')],
    ['peeled to no id', lines(`${A} refs/tags/v1 peeled:x`), pass('tag-state')],
    ['an upper-case id', lines(`${oid(10).toUpperCase()} refs/tags/v1`), pass('tag-state')],
    ['an id of sha256', lines(`${oid256(1)} refs/tags/v1`), pass('tag-state')],
    ['an error', pktLine('ERR no'), pass('tag-state')],
    ['a delimiter', `${pkts([`${A} refs/tags/v1`])}${DELIM}${FLUSH}`, pass('tag-state')],
    ['no flush', pkts([`${A} refs/tags/v1`]), pass('tag-state')],
    ['bytes after the flush', `${FLUSH}x`, pass('tag-state')],
    ['two flushes', FLUSH + FLUSH, pass('tag-state')],
    ['nothing', '', pass('tag-state')],
    ['half of a packet', lines(`${A} refs/tags/v1`).slice(0, 20), pass('tag-state')],
  ])('%s', (_, body, expected) => {
    expect(readLsRefsTags(body, LIMITS)).toEqual(expected)
  })

  test('sha256', () => {
    const line = `${oid256(1)} refs/tags/v1`
    const answer = readLsRefsTags(lines(line), { format: 'sha256', maxTags: 1 })
    expect(answer).toEqual(tags(line))
  })

  test('a name in UTF-8, and one that is not', () => {
    const read = (name: Buffer) => {
      const line = Buffer.concat([Buffer.from(`${A} refs/tags/`), name, Buffer.from('\n')])
      const length = (line.length + 4).toString(16).padStart(4, '0')
      const bytes = Buffer.concat([Buffer.from(length), line, Buffer.from(FLUSH)])
      const substring = (start: number, end: number) => bytes.toString('utf8', start, end)
      return readLsRefsTags({ length: bytes.length, substring }, LIMITS)
    }
    expect(read(Buffer.from('größe'))).toEqual(tags(`${A} refs/tags/größe`))
    expect(read(Buffer.from([0xff, 0xfe]))).toEqual(pass('tag-name'))
  })
})

describe('the advertisement', () => {
  const SERVICE = pkts(['# service=git-upload-pack']) + FLUSH
  const refs = (...rows: string[]) => SERVICE + pkts(rows) + FLUSH
  const head = `${A} HEAD\0multi_ack side-band-64k symref=HEAD:refs/heads/main agent=git/2.39.5`

  test.each<[what: string, body: string, expected: TagStateAnswer]>([
    ['branches alone', refs(head, `${A} refs/heads/main`), tags()],
    ['a lightweight tag', refs(head, `${A} refs/tags/v1`), tags(`${A} refs/tags/v1`)],
    [
      'an annotated tag',
      refs(head, `${A} refs/tags/v1`, `${B} refs/tags/v1^{}`),
      tags(`${A} refs/tags/v1 ${B}`),
    ],
    ['capabilities on a tag', refs(`${A} refs/tags/v1\0side-band-64k`), tags(`${A} refs/tags/v1`)],
    ['version 1', refs('version 1', head, `${A} refs/tags/v1`), tags(`${A} refs/tags/v1`)],
    ['an empty repository', refs(`${oid(0)} capabilities^{}\0side-band-64k`), tags()],
    [
      'a shallow upstream',
      refs(head, `${A} refs/tags/v1`, `shallow ${B}`),
      tags(`${A} refs/tags/v1`),
    ],
    ['a peeled branch is no tag', refs(`${A} refs/heads/x`, `${B} refs/heads/x^{}`), tags()],
    ['peeled before its tag', refs(head, `${B} refs/tags/v1^{}`), pass('tag-state')],
    [
      'peeled after another tag',
      refs(`${A} refs/tags/v1`, `${A} refs/tags/v2`, `${B} refs/tags/v1^{}`),
      pass('tag-state'),
    ],
    [
      'peeled twice',
      refs(`${A} refs/tags/v1`, `${B} refs/tags/v1^{}`, `${B} refs/tags/v1^{}`),
      pass('tag-state'),
    ],
    [
      'more than the limit',
      refs(...[1, 2, 3, 4].map((i) => `${A} refs/tags/${i}`)),
      pass('tags-limit'),
    ],
    ['a hostile name', refs(`${A} refs/tags/a..b`), pass('tag-name')],
    ['no id', refs('x refs/tags/v1'), pass('tag-state')],
    ['no space', refs('refs/tags/v1'), pass('tag-state')],
    ['another service', pkts(['# service=git-receive-pack']) + FLUSH + FLUSH, pass('tag-state')],
    ['the dumb protocol', `${A}\trefs/tags/v1\n`, pass('tag-state')],
    ['an error', SERVICE + pktLine('ERR no'), pass('tag-state')],
    ['no second flush', SERVICE + pkts([head]), pass('tag-state')],
    ['bytes after it', `${refs(head)}x`, pass('tag-state')],
    ['nothing', '', pass('tag-state')],
  ])('%s', (_, body, expected) => {
    expect(readAdvertisedTags(body, LIMITS)).toEqual(expected)
  })
})
