/**
 * The main table: bytes of a request and what is decided. Run by vitest, by Deno and, bundled, by
 * every njs: hence in the njs dialect.
 */
import type { Reason } from '../../njs/src/git/reasons.ts'
import { DELIM, FLUSH, oid, oid256, pkts, V0, V2, v0, v2, v2With, want0 } from './wire.ts'

export interface Case {
  name: string
  protocol: string
  body: string
  expected: Reason | 'fetch'
}

const W = `want ${oid(1)}`
const H = `have ${oid(2)}`
const S = `shallow ${oid(3)}`

function two(name: string, expected: Case['expected'], body: string): Case {
  return { name: `v2 ${name}`, protocol: V2, body, expected }
}

function zero(name: string, expected: Case['expected'], body: string): Case {
  return { name: `v0 ${name}`, protocol: V0, body, expected }
}

/** A line that is added to a v2 request that is otherwise taken. */
function line(text: string, expected: Case['expected']): Case {
  return two(`line "${text}"`, expected, v2([W, text, 'done']))
}

/** A capability that is added to a v2 request that is otherwise taken. */
function capability(text: string, expected: Case['expected']): Case {
  return two(`capability "${text}"`, expected, v2With(['command=fetch', text], [W, 'done']))
}

const V2_LINES: Case[] = [
  line('thin-pack', 'fetch'),
  line('no-progress', 'fetch'),
  line('include-tag', 'fetch'),
  line('ofs-delta', 'fetch'),
  line('wait-for-done', 'fetch'),
  line(W, 'fetch'),
  line(H, 'fetch'),
  line(S, 'fetch'),
  line('deepen 1', 'fetch'),
  line('deepen 2147483647', 'fetch'),
  line('deepen 2147483648', 'argument'),
  line('deepen 4294967297', 'argument'),
  line('deepen-since 4294967297', 'fetch'),
  line('deepen-since 1700000000', 'fetch'),
  line('filter blob:none', 'fetch'),
  line('deepen 0', 'argument'),
  line('deepen 1\n', 'argument'),
  line('deepen-since 5\n', 'argument'),
  line('filter blob:none\n', 'filter'),
  line('filter combine:tree:1\n+blob:none', 'filter'),
  line('deepen -1', 'argument'),
  line('deepen 1 ', 'argument'),
  line('deepen', 'argument'),
  line('deepen 99999999999', 'argument'),
  line('deepen-since yesterday', 'argument'),
  line('deepen-relative', 'deepen-relative'),
  line('deepen-not v1', 'deepen-not'),
  line('want-ref refs/heads/main', 'want-ref'),
  line('sideband-all', 'sideband-all'),
  line('packfile-uris https', 'packfile-uris'),
  line('filter sparse:oid=main:spec', 'filter'),
  line('filter', 'filter'),
  line('', 'argument'),
  line('unknown', 'argument'),
  line('done ', 'argument'),
  line('Done', 'argument'),
  line('want', 'oid'),
  line('want ', 'oid'),
  line(`want  ${oid(1)}`, 'oid'),
  line(`want ${oid(10).toUpperCase()}`, 'oid'),
  line(`want ${oid(1).slice(1)}`, 'oid'),
  line(`want ${oid(1)}0`, 'oid'),
  line(`want ${oid256(1)}`, 'oid'),
  line(`want ${oid(1)} ofs-delta`, 'oid'),
  line(`have ${oid(10).toUpperCase()}`, 'oid'),
  line('shallow HEAD', 'oid'),
]

/** Names that every JavaScript object has: no table of ours may know them. */
const INHERITED: Case[] = [
  line('constructor', 'argument'),
  line('toString', 'argument'),
  line('__proto__', 'argument'),
  line('valueOf x', 'argument'),
  line('hasOwnProperty', 'argument'),
  capability('constructor', 'capability'),
  zero('capability "constructor"', 'capability', v0([want0('side-band-64k constructor')])),
  zero('capability "__proto__"', 'capability', v0([want0('side-band-64k __proto__')])),
  zero('line "toString"', 'argument', v0([want0('side-band-64k'), 'toString'])),
]

const V2_CAPABILITIES: Case[] = [
  capability('agent=git/2.39.5', 'fetch'),
  capability('session-id=x', 'fetch'),
  capability('object-format=sha1', 'fetch'),
  capability('object-format=sha256', 'oid'),
  capability('object-format=md5', 'object-format'),
  capability('object-format', 'object-format'),
  capability('server-option=x', 'server-option'),
  capability('promisor-remote=x', 'capability'),
  capability('unknown=x', 'capability'),
  capability('', 'capability'),
  capability(W, 'capability'),
  capability('command=fetch', 'body'),
]

const V2_SHAPE: Case[] = [
  two('ls-refs', 'ls-refs', v2With(['command=ls-refs'], ['peel'])),
  two('object-info', 'command', v2With(['command=object-info'], ['size'])),
  two('bundle-uri', 'command', v2With(['command=bundle-uri'], [])),
  two('command in capitals', 'command', v2With(['command=FETCH'], [W, 'done'])),
  two('no command', 'command', v2With(['agent=x'], [W, 'done'])),
  two('no value of command', 'command', v2With(['command'], [W, 'done'])),
  two('no wants', 'no-wants', v2([H, 'done'])),
  two('no arguments', 'no-wants', pkts(['command=fetch']) + FLUSH),
  two('only negotiates', 'wait-for-done', v2([W, H, 'wait-for-done'])),
  two('no done', 'fetch', v2([W, H])),
  two('no line feeds', 'fetch', `0011command=fetch00010031${W}0008done0000`),
  two('hexadecimal in capitals', 'fetch', v2([W, 'done']).replace('000a', '000A')),
  two('sha256', 'fetch', v2With(['command=fetch', 'object-format=sha256'], [`want ${oid256(1)}`])),
  two('deepen twice', 'repeated', v2([W, 'deepen 1', 'deepen 1', 'done'])),
  two('deepen and deepen-since', 'repeated', v2([W, 'deepen 1', 'deepen-since 5', 'done'])),
  two('filter twice', 'repeated', v2([W, 'filter tree:0', 'filter tree:0', 'done'])),
  two('arguments before the delimiter', 'capability', pkts(['command=fetch', W, 'done']) + FLUSH),
  two('second delimiter', 'body', v2([W]).slice(0, -4) + DELIM + FLUSH),
  two('response end', 'body', `${pkts(['command=fetch'])}0002${pkts([W])}${FLUSH}`),
  two('ends before the flush', 'body', v2([W, 'done']).slice(0, -4)),
  two('ends in a packet', 'body', v2([W, 'done']).slice(0, -8)),
  two('length 0003', 'body', `${pkts(['command=fetch'])}0003${FLUSH}`),
  two('no length', 'body', 'command=fetch'),
  two('no bytes', 'body', ''),
  two('an empty request', 'empty', FLUSH),
  two('done after the flush counts for nothing', 'fetch', v2([W]) + pkts(['done']) + FLUSH),
  two('anything after the flush', 'fetch', `${v2([W, 'done'])}anything`),
  two('too many lines', 'too-many-lines', v2(manyWants(101))),
]

const V0_SHAPE: Case[] = [
  zero('clone', 'fetch', v0([want0('side-band-64k')])),
  zero('all that git sends', 'fetch', v0([want0(gitCapabilities())])),
  zero('libgit2 ends with a space', 'fetch', v0([want0('side-band-64k ofs-delta ')])),
  zero('no line feeds', 'fetch', `003f${want0('side-band-64k')}00000008done`),
  zero('depth', 'fetch', v0([want0('side-band-64k'), S, 'deepen 1'])),
  zero('filter', 'fetch', v0([want0('side-band-64k filter'), 'filter blob:none'])),
  zero('filter without its capability', 'filter', v0([want0('side-band-64k'), 'filter tree:0'])),
  zero('sparse', 'filter', v0([want0('side-band-64k filter'), 'filter sparse:oid=x'])),
  zero('deepen twice', 'repeated', v0([want0('side-band-64k'), 'deepen 1', 'deepen 2'])),
  zero('deepen-not', 'deepen-not', v0([want0('side-band-64k deepen-not'), 'deepen-not v1'])),
  zero('deepen-relative', 'deepen-relative', v0([want0('side-band-64k deepen-relative')])),
  zero('unknown capability', 'capability', v0([want0('side-band-64k unknown')])),
  zero('unknown object format', 'object-format', v0([want0('object-format=md5')])),
  zero('upper-case want', 'oid', v0([`want ${oid(10).toUpperCase()} side-band-64k`])),
  zero('second want with capabilities', 'oid', v0([want0('side-band-64k'), `${W} ofs-delta`])),
  zero('sha256, which v0 need not name', 'fetch', v0([`want ${oid256(1)} side-band-64k`])),
  zero('an id of no format', 'oid', v0([`want ${oid256(1).slice(1)} side-band-64k`])),
  zero('two formats', 'oid', v0([`want ${oid256(1)} side-band-64k`, W])),
  zero('unknown line', 'argument', v0([want0('side-band-64k'), 'unknown'])),
  zero('done before the flush', 'argument', pkts([want0('side-band-64k'), 'done']) + FLUSH),
  zero('side-band of old', 'v0-side-band', v0([want0('side-band')])),
  zero('no side-band', 'v0-side-band', v0([W])),
  zero('haves', 'v0-haves', pkts([want0('side-band-64k')]) + FLUSH + pkts([H, 'done'])),
  zero('haves before the flush', 'v0-haves', v0([want0('side-band-64k'), H])),
  zero('only needs', 'v0-no-done', pkts([want0('side-band-64k'), 'deepen 1']) + FLUSH),
  zero('needs and a flush', 'v0-no-done', pkts([want0('side-band-64k')]) + FLUSH + FLUSH),
  // get_common_commits of upload-pack.c: a flush is answered with NAK, and stateless it ends there.
  zero(
    'two flushes',
    'v0-no-done',
    pkts([want0('side-band-64k')]) + FLUSH + FLUSH + pkts(['done'])
  ),
  zero('no flush', 'body', pkts([want0('side-band-64k')])),
  zero('bytes after done', 'body', v0([want0('side-band-64k')]) + FLUSH),
  zero('a delimiter', 'body', pkts([want0('side-band-64k')]) + DELIM + pkts(['done'])),
  zero('no want first', 'body', v0([S, want0('side-band-64k')])),
  zero('a line after the flush', 'argument', pkts([want0('side-band-64k')]) + FLUSH + pkts([W])),
  zero('an empty request', 'empty', FLUSH),
  zero('no bytes', 'empty', ''),
  zero('v2 request', 'body', v2([W, 'done'])),
  zero('too many lines', 'too-many-lines', v0([want0('side-band-64k')].concat(manyWants(101)))),
  zero('not pkt-lines', 'body', '<html>'),
]

function gitCapabilities(): string {
  return (
    'multi_ack_detailed no-done side-band-64k thin-pack no-progress include-tag ofs-delta ' +
    'deepen-since deepen-not agent=git/2.39.5 session-id=x object-format=sha1'
  )
}

function manyWants(count: number): string[] {
  const lines: string[] = []
  for (let i = 0; i < count; i++) {
    lines.push(W)
  }
  return lines
}

export const CASES: Case[] = V2_LINES.concat(INHERITED, V2_CAPABILITIES, V2_SHAPE, V0_SHAPE)

/** What the golden keys are for: a change of any of them empties every cache in the field. */
export const GOLDEN_SCOPE = {
  upstream: 'http://forge',
  vhost: 'git.example.org git.example.org:8080',
  repository: '/group/x',
  tagState: 'tags',
}

export interface Golden {
  name: string
  protocol: string
  body: string
  sha256: string
}

export const GOLDEN: Golden[] = [
  {
    name: 'v2 clone',
    protocol: V2,
    body: v2(['thin-pack', 'ofs-delta', W, W, 'done']),
    sha256: 'b2bfd1c4d21489f33902ee137ec22f3fea2eaeedc5ff6e92b30872bd584d1685',
  },
  {
    name: 'v2 depth 1 with tags',
    protocol: V2,
    body: v2(['thin-pack', 'include-tag', 'ofs-delta', W, 'deepen 1', 'done']),
    sha256: '27295332b05b7e168f579a3cc979cb1d6d4ab11ac8f07d3f21dc61b9b15ea291',
  },
  {
    name: 'v2 everything, sha256',
    protocol: V2,
    body: v2With(
      ['command=fetch', 'object-format=sha256'],
      [
        'thin-pack',
        'include-tag',
        'ofs-delta',
        `want ${oid256(1)}`,
        `have ${oid256(3)}`,
        `have ${oid256(2)}`,
        `shallow ${oid256(4)}`,
        'deepen 5',
        'filter combine:blob:none+tree:3',
      ]
    ),
    sha256: '87c66948bbf7f41217a655d0e34279845f4d653fbae9753baece52a65044b053',
  },
  {
    name: 'v0 clone',
    protocol: V0,
    body: v0([want0('side-band-64k ofs-delta')]),
    sha256: '9b44a86526d51944448c78a6f366a68bccc6f7dd06626d7f52ed63eb540c3e9e',
  },
]
