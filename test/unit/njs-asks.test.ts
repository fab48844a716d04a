/** nginx's side: what is asked of whom when upstream or the sidecar does not answer as it should, and what is never waited for. */
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { scratch } from '../support/git.ts'
import { nginxRequest, type Reply } from '../support/nginx-request.ts'
import { oid, V2, v2 } from '../support/wire.ts'

/** By names that are no literals: njs's types know another Buffer than Node's. */
const load = (name: string) => import(`../../njs/src/nginx/${name}.ts`)
const { uploadPack } = (await load('upload-pack')) as { uploadPack(r: object): Promise<void> }
const { startWatch, endWatch, answerHeaders, boundAnswer } = await load('bounded')
const { passHeaders } = await load('headers')

const work = scratch()
afterAll(work.remove)
beforeEach(() => void vi.stubGlobal('njs', { version: '0.8.9' }))
afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

const YES = '0014acknowledgments\n0008NAK\n0000'
/** It is probed. */
const TAGGED = v2([`want ${oid(1)}`, 'include-tag', 'done'])
const PLAIN = v2([`want ${oid(1)}`, 'done'])

type Replies = Record<string, Reply[]>

async function handle(
  body: string | Buffer,
  replies: Replies,
  headers: Record<string, string> = {},
  variables: Record<string, string> = {}
) {
  const { r, asked, sent, went, said } = nginxRequest({
    body,
    headers: { 'Git-Protocol': V2, ...headers },
    variables: { gitcache_packs: work.dir, ...variables },
    reply: (location, time) => replies[location]?.[time] ?? {},
  })
  await uploadPack(r)
  return { went, asked, sent, said, result: r.variables.gitcache_result }
}

const tags = [{ body: '0000' }, { body: '0000' }]
const busy = { body: '{"state":"pass","reason":"busy"}' }
const ticket = { body: JSON.stringify({ state: 'ticket', job: '0'.repeat(32) }) }

describe('upstream', () => {
  test('has closed a kept connection: it is asked once more, and no third time', async () => {
    const probe = [{ status: 502 }, { body: YES }]
    const seen = await handle(TAGGED, { probe, tags, prepare: [busy] })
    expect(seen.asked.filter((one) => one === 'probe')).toHaveLength(2)
    expect(seen.result).toBe('pass; reason=busy')
    const twice = await handle(TAGGED, { probe: [{ status: 502 }, { status: 502 }], tags })
    expect(twice.asked.filter((one) => one === 'probe')).toHaveLength(2)
    expect(twice.result).toBe('pass; reason=no-answer')
  })

  test.each([302, 206, 304])('%i with the words of a yes is none', async (status) => {
    const seen = await handle(TAGGED, { probe: [{ status, body: YES }], tags, prepare: [busy] })
    expect(seen.result).toBe('pass; reason=refused')
  })

  describe('has too much to do', () => {
    const SLOW_DOWN = {
      'Retry-After': '7',
      'Content-Type': 'text/plain',
      'Set-Cookie': ['a=1', 'b=2'],
      'x-ratelimit-remaining': '0',
      Date: 'now',
      connection: 'close',
    } as unknown as Record<string, string>

    test.each([
      ['429', 429, SLOW_DOWN],
      ['429 with a date', 429, { ...SLOW_DOWN, 'Retry-After': 'Wed, 21 Oct 2026 07:28:00 GMT' }],
      ['503 with Retry-After', 503, SLOW_DOWN],
    ])(
      '%s: its words to the probe are the answer, and it is asked once',
      async (_, status, headers) => {
        const seen = await handle(TAGGED, {
          probe: [{ status, headers, body: 'slow down' }],
          tags,
        })
        expect(seen).toMatchObject({ went: [String(status)], result: 'pass; reason=overloaded' })
        expect(seen.asked.filter((one) => one === 'probe')).toHaveLength(1)
        const { Date: _date, connection: _connection, ...handedOn } = headers
        expect(seen.said).toEqual({ headers: handedOn, body: 'slow down' })
      }
    )

    test.each([
      ['503 without Retry-After', { status: 503, body: 'x' }, 'no-answer'],
      ['500', { status: 500, headers: SLOW_DOWN, body: 'x' }, 'no-answer'],
      ['403', { status: 403, headers: SLOW_DOWN, body: 'x' }, 'refused'],
      ['429 without a word', { status: 429, headers: SLOW_DOWN }, 'overloaded'],
      ['429 without a type', { status: 429, body: 'x' }, 'overloaded'],
      [
        '429 in an encoding that is not understood',
        { status: 429, headers: { ...SLOW_DOWN, 'Content-Encoding': 'br' }, body: 'x' },
        'overloaded',
      ],
    ])('%s is passed, for upstream to say it', async (_, reply, reason) => {
      const seen = await handle(TAGGED, { probe: [reply], tags })
      expect(seen).toMatchObject({ went: ['pass'], result: `pass; reason=${reason}` })
    })

    test('and says so of its tags alone: that is no word on what the client wants', async () => {
      const busy = { status: 429, headers: SLOW_DOWN, body: 'slow down' }
      const seen = await handle(TAGGED, { probe: [{ body: YES }], tags: [busy] })
      expect(seen).toMatchObject({ went: ['pass'], result: 'pass; reason=tag-state' })
    })
  })

  test('says more than an answer has: it is none', async () => {
    const many = { gitcache_answer_size: '0' }
    const large = `${YES}${'0'.repeat(600_000)}`
    const seen = await handle(TAGGED, { probe: [{ body: large }], tags, prepare: [busy] }, {}, many)
    expect(seen.result).toBe('pass; reason=refused')
  })

  test('is asked about an id that it cannot know', async () => {
    const { sent } = await handle(TAGGED, { probe: [{ body: YES }], tags, prepare: [busy] })
    expect(sent[0]).toContain('have 0123456789abcdef0123456789abcdef01234567\n')
  })

  test('is watched while it is asked, and no longer', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    await handle(TAGGED, { probe: [{ body: YES }], tags, prepare: [busy] })
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('a body in gzip', () => {
  const headers = { 'Content-Encoding': 'gzip' }
  const many = (bytes: number) =>
    Buffer.from(`0011command=fetch0001${`0032want ${oid(3)}\n`.repeat(bytes / 50)}0009done\n0000`)

  test.each([
    ['of 20 kB is read here', many(20_000), many(20_000), ['gunzip', 'prepare', 'probe']],
    ['of 30 kB is not', many(30_000), many(30_000), ['gunzip', 'ticket', 'read']],
    ['that announces more than 64 kB is not inflated', many(70_000), '', ['ticket', 'read']],
    [
      'that is more than it announces is not',
      many(10_000),
      many(70_000),
      ['gunzip', 'ticket', 'read'],
    ],
  ])('%s', async (_, body, inflated, asked) => {
    const replies = {
      gunzip: [{ body: inflated }],
      prepare: [busy],
      probe: [{ body: YES }],
      ticket: [ticket],
      read: [busy],
    }
    const seen = await handle(gzipSync(body), replies, headers)
    expect(seen).toMatchObject({ asked, result: 'pass; reason=busy' })
  })
})

test.each([
  'Range',
  'If-Range',
  'If-Match',
  'If-None-Match',
  'If-Modified-Since',
  'If-Unmodified-Since',
  'TE',
])('%s: passed', async (name) => {
  const seen = await handle(PLAIN, {}, { [name]: 'x' })
  expect(seen).toMatchObject({ asked: [], result: 'pass; reason=conditional' })
})

test('the repository is that of the target which upstream is sent', async () => {
  const at = (gitcache_target: string) =>
    handle(
      PLAIN,
      { prepare: [busy] },
      {},
      { gitcache_target, request_uri: '/other/git-upload-pack' }
    )
  expect((await at('http://u/b/x.git/git-upload-pack')).sent.join()).toContain('"path":"/b/x.git"')
  expect((await at('http://u/b/x%2f/git-upload-pack')).result).toBe('pass; reason=path')
  expect((await at('')).result).toBe('pass; reason=path')
})

describe('the sidecar', () => {
  test.each([
    ['502', { status: 502, body: busy.body }],
    ['404', { status: 404, body: busy.body }],
    ['signs of life alone', { body: '   ' }],
  ])('%s is no word of it', async (_, reply) => {
    const replies = { prepare: [reply], probe: [{ body: YES }] }
    expect((await handle(PLAIN, replies)).result).toBe('pass; reason=sidecar')
  })

  test.each(['busy', 'client-limit', 'unreachable', 'sidecar'])(
    'passes for %s: whom upstream refuses is told no more than that',
    async (reason) => {
      const prepare = [{ body: JSON.stringify({ state: 'pass', reason }) }]
      const refused = await handle(PLAIN, { prepare, probe: [{ status: 401 }] })
      expect([refused.went, refused.result]).toEqual([['pass'], 'pass; reason=refused'])
      const allowed = await handle(PLAIN, { prepare, probe: [{ body: YES }] })
      expect([allowed.went, allowed.result]).toEqual([['pass'], `pass; reason=${reason}`])
    }
  )

  test('gives a ticket that is none: nothing is posted to it', async () => {
    const bad = { body: JSON.stringify({ state: 'ticket', job: '../../prepare' }) }
    const seen = await handle(Buffer.alloc(70_000, '0'), { ticket: [bad], read: [busy] })
    expect(seen).toMatchObject({ asked: ['ticket'], went: ['pass'] })
  })
})

describe('an answer without end', () => {
  const made = (variables = {}) => {
    const said: [number, string][] = []
    const sent: number[] = []
    const r = {
      variables: { gitcache_answer_size: '0', gitcache_tags_size: '0', ...variables } as Record<
        string,
        string
      >,
      headersOut: {} as Record<string, string>,
      return: (status: number, text: string) => void said.push([status, text]),
      sendBuffer: (data: Buffer) => void sent.push(data.length),
    }
    return { r, said, sent }
  }

  test.each([
    ['a page', 'text/html', [200, 'so far']],
    ["git's", 'application/x-git-upload-pack-result', [504, 'no end of answer\n']],
    ['nothing yet', '', [504, 'no end of answer\n']],
  ])('%s: given up on after 15 seconds', (_, type, expected) => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
    const { r, said } = made()
    startWatch(r)
    Object.assign(r.variables, { gitcache_probe_type: type, gitcache_probe_text: 'so far' })
    vi.advanceTimersByTime(14_000)
    expect(said).toEqual([])
    vi.advanceTimersByTime(1200)
    expect(said).toEqual([expected])
    expect(() => vi.advanceTimersByTime(1000)).toThrow('does not end')
  })

  test('too large for a second: given up on; over in time: not', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
    const { r, said } = made()
    const watch = startWatch(r)
    r.variables.gitcache_tags_size = '600000'
    vi.advanceTimersByTime(900)
    expect(said).toEqual([])
    endWatch(watch)
    vi.advanceTimersByTime(60_000)
    expect(said).toEqual([])
    startWatch(r)
    vi.advanceTimersByTime(1300)
    expect(said).toHaveLength(1)
  })

  test('no more than 512 kB of it go on, and of a gigabyte none', () => {
    const { r, sent } = made()
    const piece = Buffer.alloc(65_536)
    for (let i = 0; i < 20; i++) boundAnswer(r, piece, {})
    expect(sent.reduce((sum, bytes) => sum + bytes, 0)).toBe(512 * 1024)
    r.variables.gitcache_answer_size = String(1024 * 1024 * 1024)
    expect(() => boundAnswer(r, piece, {})).toThrow('no end')
  })

  test('its length goes: nginx would cut the client over it', () => {
    const { r } = made()
    Object.assign(r.headersOut, { 'Content-Length': '9999999', 'Content-Type': 'text/html' })
    answerHeaders(r)
    expect(r.headersOut).toEqual({ 'Content-Type': 'text/html' })
    expect(r.variables.gitcache_probe_type).toBe('text/html')
  })
})

test.each([
  ['hit', 'pass; reason=store'],
  ['miss', 'pass; reason=store'],
  ['pass; reason=busy', 'pass; reason=busy'],
])('what was to be a %s and is passed is said to be: %s', (result, expected) => {
  const r = {
    variables: { gitcache_result: result, gitcache_header: 'on' },
    headersOut: {} as Record<string, string>,
  }
  passHeaders(r)
  expect([r.variables.gitcache_result, r.headersOut['X-Git-Cache']]).toEqual([expected, expected])
})
