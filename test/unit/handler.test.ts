/** The main location's handler in front of an nginx that is not there: what it asks, and where it redirects to. */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { keyOf } from '../../njs/src/git/key.ts'
import { pktLine } from '../../njs/src/git/pkt-line.ts'
import { packFile } from '../../njs/src/stored.ts'
import { scratch } from '../support/git.ts'
import { nginxRequest } from '../support/nginx-request.ts'
import { sha256 } from '../support/scope.ts'
import { FLUSH, fetchOf, oid, pkts, V2, v2, v2With } from '../support/wire.ts'

/** By a name that is no literal: njs's types know another Buffer than Node's. */
const HANDLER = '../../njs/src/nginx/upload-pack.ts'
const { uploadPack } = (await import(HANDLER)) as { uploadPack(r: object): Promise<void> }

const work = scratch()
afterAll(work.remove)

const engine = { version: '0.8.9' }
beforeEach(() => {
  vi.stubGlobal('njs', engine)
})
afterEach(() => {
  engine.version = '0.8.9'
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

const TAGGED = v2([`want ${oid(1)}`, 'include-tag', 'done'])
const NAMED = v2([`want ${oid(1)}`, 'done'])
const YES = '0014acknowledgments\n0008NAK\n0000'
const NO = `0045ERR upload-pack: not our ref ${oid(1)}`

const keyFor = (body: string, tags: string | null) =>
  keyOf(sha256, fetchOf(body, V2), tags, { upstream: 'http://u', vhost: '', path: '/a.git' })

/** What each internal location answers, the first time and then the second. */
type Answers = Record<string, (string | (() => string))[]>

/** Returns where the request went, what $gitcache_result says, and what was asked on the way. */
async function handle(
  body: string,
  answers: Answers,
  variables: Record<string, string> = {},
  protocol = V2,
  type?: string
) {
  const { r, asked, went } = nginxRequest({
    body,
    headers: { 'Git-Protocol': protocol },
    variables: { gitcache_packs: work.dir, ...variables },
    reply: (location, time) => {
      const given = answers[location]?.[time] ?? ''
      const headers = type === undefined ? {} : { 'Content-Type': type }
      return { headers, body: typeof given === 'string' ? given : given() }
    },
  })
  await uploadPack(r)
  return { went, asked, result: r.variables.gitcache_result }
}

describe('before anything is asked', () => {
  test.each([
    ['disabled', { gitcache_enabled: 'off' }, '0.8.9'],
    ['no-upstream', { gitcache_upstream: '' }, '0.8.9'],
    ['njs-version', {}, '0.8.2'],
    ['njs-version', {}, '0.9.9'],
  ])('%s: passed', async (reason, variables, version) => {
    engine.version = version
    const seen = await handle(NAMED, {}, variables)
    expect(seen).toEqual({ went: ['pass'], asked: [], result: `pass; reason=${reason}` })
  })

  test('an njs that may crash is used where the operator says so', async () => {
    engine.version = '0.8.2'
    const answers = { prepare: ['{"state":"pass","reason":"busy"}'], probe: [YES] }
    const seen = await handle(NAMED, answers, { gitcache_njs_override: 'on' })
    expect(seen).toMatchObject({ asked: ['prepare', 'probe'], result: 'pass; reason=busy' })
  })
})

describe('a yes that has grown old while the sidecar worked', () => {
  const ready = JSON.stringify({ state: 'ready', key: keyFor(TAGGED, '0000') })

  async function answered(seconds: number, probe: string[], tags: string[], state = ready) {
    vi.useFakeTimers({ toFake: ['Date'] })
    const prepare = () => {
      vi.setSystemTime(Date.now() + seconds * 1000)
      return state
    }
    return handle(TAGGED, { probe, tags, prepare: [prepare] })
  }

  test('young, it is not asked again', async () => {
    const seen = await answered(29, [YES], ['0000'])
    expect(seen.asked).toEqual(['probe', 'tags', 'prepare'])
    expect(seen).toMatchObject({ went: ['405'], result: 'hit' })
  })

  test('given again, the answer is served', async () => {
    const seen = await answered(31, [YES, YES], ['0000', '0000'])
    expect(seen.asked).toEqual(['probe', 'tags', 'prepare', 'probe', 'tags'])
    expect(seen).toMatchObject({ went: ['405'], result: 'hit' })
  })

  test("upstream's trouble is everyone's: for that it is not asked again", async () => {
    const seen = await answered(97, [YES], ['0000'], '{"state":"refused","status":503}')
    expect(seen.asked).toEqual(['probe', 'tags', 'prepare'])
    expect(seen).toMatchObject({ went: ['503'], result: 'pass; reason=overloaded' })
  })

  test.each([
    ['taken back', [YES, NO], ['0000', '0000']],
    ['not answered', [YES, ''], ['0000', '0000']],
    ['with other tags', [YES, YES], ['0000', `003d${oid(2)} refs/tags/new\n0000`]],
  ])('%s: passed', async (_, probes, tags) => {
    const seen = await answered(31, probes, tags)
    expect(seen).toMatchObject({ went: ['pass'], result: 'pass; reason=stale' })
  })
})

describe('tags that change while others wait', () => {
  const CHANGED = '{"state":"pass","reason":"tag-state"}'
  const tags = ['0000', `003d${oid(2)} refs/tags/new\n0000`]

  test('are asked for once more, and the answer is the one of now', async () => {
    const key = keyFor(TAGGED, tags[1] as string)
    const prepare = [CHANGED, `{"state":"ready","key":"${key}"}`]
    const seen = await handle(TAGGED, { probe: [YES, YES], tags, prepare })
    expect(seen).toMatchObject({
      went: ['405'],
      result: 'hit',
      asked: ['probe', 'tags', 'prepare', 'probe', 'tags', 'prepare'],
    })
  })

  test("and once more, are upstream's to answer", async () => {
    const seen = await handle(TAGGED, { probe: [YES, YES], tags, prepare: [CHANGED, CHANGED] })
    expect(seen).toMatchObject({ went: ['pass'], result: 'pass; reason=tag-state' })
  })

  test('by one who upstream refuses by then are not his', async () => {
    const seen = await handle(TAGGED, { probe: [YES, NO], tags, prepare: [CHANGED] })
    expect(seen).toMatchObject({ went: ['pass'], result: 'pass; reason=refused' })
  })
})

test('what is stored is served after a yes, and not before', async () => {
  const key = keyFor(NAMED, null)
  mkdirSync(path.dirname(packFile(work.dir, key)), { recursive: true })
  writeFileSync(packFile(work.dir, key), 'x')
  expect(await handle(NAMED, { probe: [YES] })).toMatchObject({ went: ['405'], result: 'hit' })
  const refused = await handle(NAMED, { probe: [NO] })
  expect(refused).toMatchObject({ went: ['pass'], result: 'pass; reason=refused' })
  // As of a raw file that a client has put there.
  const file = await handle(NAMED, { probe: [YES] }, {}, V2, 'text/plain')
  expect(file).toMatchObject({ went: ['pass'], result: 'pass; reason=refused' })
})

describe('who reads a request of many lines', () => {
  const answers = {
    ticket: [JSON.stringify({ state: 'ticket', job: '0'.repeat(32) })],
    read: ['{"state":"pass","reason":"busy"}'],
    prepare: ['{"state":"pass","reason":"busy"}'],
    probe: [YES],
  }
  const wants = (count: number) => Array.from({ length: count }, () => `want ${oid(3)}`)
  const asGit = (count: number) =>
    `0011command=fetch0001${pkts(wants(count))}${pktLine('done\n')}${FLUSH}`

  test.each([
    ['other clients, 380 lines', v2([...wants(380), 'done']), ['prepare', 'probe']],
    ['other clients, 401 lines', v2([...wants(401), 'done']), ['ticket', 'read']],
    ['git, 900 lines', asGit(900), ['prepare', 'probe']],
  ])('%s', async (_, body, asked) => {
    expect(await handle(body, answers)).toEqual({
      went: ['pass'],
      asked,
      result: 'pass; reason=busy',
    })
  })

  test.each([
    [
      'ls-refs',
      v2With(
        ['command=ls-refs'],
        wants(401).map((line) => `ref-prefix ${line}`)
      ),
    ],
    [
      'v0-haves',
      pkts([`want ${oid(1)} side-band-64k`]) + FLUSH + pkts(Array(500).fill(`have ${oid(2)}`)),
    ],
  ])('nobody, where it is passed for %s', async (reason, body) => {
    const protocol = reason === 'ls-refs' ? V2 : ''
    expect(await handle(body, answers, {}, protocol)).toEqual({
      went: ['pass'],
      asked: [],
      result: `pass; reason=${reason}`,
    })
  })
})
