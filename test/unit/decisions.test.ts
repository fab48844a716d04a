/** The main table: each line, capability and shape of a request, and what is decided. */
import { expect, test } from 'vitest'
import { protocolFamily, type RequestHead, refuseHead } from '../../njs/src/git/classify.ts'
import { REASONS, type Reason } from '../../njs/src/git/reasons.ts'
import { CASES } from '../support/cases.ts'
import { decision } from '../support/wire.ts'

test.each(CASES)('$name: $expected', ({ body, protocol, expected }) => {
  expect(decision(body, protocol)).toBe(expected)
})

/** What njs/src/nginx and the sidecar give rather than the parsers: their tests are elsewhere. */
const NOT_OF_PARSERS: Reason[] = [
  'disabled',
  'njs-version',
  'path',
  'no-upstream',
  'body-size',
  'gzip',
  'refused',
  'no-answer',
  'haves-unprobed',
  'tag-state',
  'tags-limit',
  'tag-name',
  'error',
  'sidecar',
  'unreachable',
  'overloaded',
  'shallow-upstream',
  'fetch-failed',
  'not-in-mirror',
  'not-ready',
  'busy',
  'client-limit',
  'slow',
  'generate',
  'broken-off',
  'store',
  'stale',
]
const OF_HEAD: Reason[] = [
  'method',
  'content-type',
  'content-encoding',
  'git-protocol',
  'conditional',
  'auth-scheme',
]

test('every reason that a parser can give has a row', () => {
  const rows = new Set<string>(CASES.map((row) => row.expected))
  const owed = Object.keys(REASONS).filter(
    (reason) => ![...NOT_OF_PARSERS, ...OF_HEAD].includes(reason as Reason)
  )
  expect(owed.filter((reason) => !rows.has(reason))).toEqual([])
})

const HEAD: RequestHead = {
  method: 'POST',
  contentType: 'application/x-git-upload-pack-request',
  contentEncoding: '',
  gitProtocol: 'version=2',
  authorization: '',
  conditions: '',
}

test.each<[what: string, head: Partial<RequestHead>, expected: Reason | null]>([
  ['as git sends it', {}, null],
  ['gzip', { contentEncoding: 'gzip' }, null],
  ['x-gzip', { contentEncoding: 'x-gzip' }, null],
  ['identity', { contentEncoding: 'identity' }, null],
  ['no protocol', { gitProtocol: '' }, null],
  ['protocol 1', { gitProtocol: 'version=1' }, null],
  ['protocols 2 and 1', { gitProtocol: 'version=2:version=1' }, null],
  ['basic', { authorization: 'Basic dXNlcjpwYXNz' }, null],
  ['bearer in other case', { authorization: 'BEARER token' }, null],
  ['GET', { method: 'GET' }, 'method'],
  ['post', { method: 'post' }, 'method'],
  ['a form', { contentType: 'application/x-www-form-urlencoded' }, 'content-type'],
  ['a push', { contentType: 'application/x-git-receive-pack-request' }, 'content-type'],
  ['a charset', { contentType: `${HEAD.contentType}; charset=utf-8` }, 'content-type'],
  ['a range', { conditions: 'bytes=0-1' }, 'conditional'],
  ['deflate', { contentEncoding: 'deflate' }, 'content-encoding'],
  ['two encodings', { contentEncoding: 'gzip, gzip' }, 'content-encoding'],
  ['negotiate', { authorization: 'Negotiate YII=' }, 'auth-scheme'],
  ['digest', { authorization: 'Digest username="u"' }, 'auth-scheme'],
  ['a scheme that begins like basic', { authorization: 'Basically x' }, 'auth-scheme'],
  ['protocol 3', { gitProtocol: 'version=3' }, 'git-protocol'],
  ['protocol 2 and something', { gitProtocol: 'version=2:x=y' }, 'git-protocol'],
  ['an empty item', { gitProtocol: 'version=2:' }, 'git-protocol'],
  ['a space', { gitProtocol: ' version=2' }, 'git-protocol'],
])('head with %s: %s', (_, head, expected) => {
  expect(refuseHead({ ...HEAD, ...head })).toBe(expected)
})

test.each([
  ['', 0],
  ['version=0', 0],
  ['version=1', 0],
  ['version=2', 2],
  ['version=1:version=2', 2],
  ['version=2:version=1', 2],
  ['version=2:version=2', 2],
  ['version=3', null],
  ['version=', null],
  ['version=22', null],
  ['Version=2', null],
  ['version=2;x', null],
])('Git-Protocol: %s is family %s', (header, family) => {
  expect(protocolFamily(header)).toBe(family)
})
