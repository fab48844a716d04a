/** What a mirror lacks, fetched over HTTP: once for all who wait, and upstream's trouble told to all of them. */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { SERVICE } from '../../njs/src/git/classify.ts'
import { emptyRequest } from '../../njs/src/git/fetch-request.ts'
import { pktLine } from '../../njs/src/git/pkt-line.ts'
import { newFetchState, openFetchQueue } from '../../sidecar/src/fetch-queue.ts'
import { openFetches } from '../../sidecar/src/fetches.ts'
import { gitLimit } from '../../sidecar/src/git-limit.ts'
import { createMetrics } from '../../sidecar/src/metrics.ts'
import { fetchRefs, finishMirror, initMirror } from '../../sidecar/src/mirror.ts'
import { discardMirror } from '../../sidecar/src/mirror-places.ts'
import { gitBackend } from '../support/backend.ts'
import { git, makeRepository, newCommit, oidOf, scratch } from '../support/git.ts'
import { prepareLayout } from '../support/layout.ts'
import { listenForAll } from '../support/listen.ts'

const work = scratch()
const upstream = path.join(work.dir, 'upstream.git')
const backend = gitBackend(work.dir)
/** What upstream does, and how many gits have asked it since. */
let does: 'answers' | 'is slow' | 'refuses' | 'greets' | 'hangs' | 'waits' = 'answers'
let asked = 0
let goOn = () => {}
const server = createServer((request, response) => {
  if (request.url?.includes('info/refs')) asked += 1
  if (does === 'refuses') response.writeHead(503).end()
  if (does === 'greets') {
    response.setHeader('content-type', SERVICE.advertisedType)
    const line = pktLine('# service=git-upload-pack\n')
    response.end(`${line}0000${pktLine('ERR Hello alice, ghp_secret is over\n')}`)
  }
  const answer = () => backend.emit('request', request, response)
  if (does === 'answers') answer()
  if (does === 'is slow') setTimeout(answer, 600)
  if (does === 'waits') goOn = answer
})
const port = await listenForAll(server)
const source = {
  url: `http://127.0.0.1:${port}/upstream.git`,
  env: {},
  beginWithin: 50_000,
  stallAfter: 60_000,
}

beforeAll(() => makeRepository(upstream))
afterEach(() => {
  does = 'answers'
  vi.useRealTimers()
})
afterAll(work.remove)

let mirrors = 0

/** A mirror that is up to date. */
async function setUp() {
  mirrors += 1
  const dir = path.join(work.dir, `mirror-${mirrors}.git`)
  const name = { upstream: 'http://u', vhost: '', repository: '/a', format: 'sha1' as const }
  await initMirror(name.format, dir)
  expect((await fetchRefs(dir, source)).outcome).toBe('ok')
  asked = 0
  const told: string[] = []
  const ended = (_: unknown, outcome: string, words: string) =>
    void told.push(`${outcome}: ${words}`)
  const on = { grown: () => {}, ended, broken: () => {}, shallow: () => {} }
  const limit = gitLimit(2, 100)
  const seen = { looks: 0 }
  const look: typeof limit.look = (turn, work) =>
    limit.look(turn, work).finally(() => {
      seen.looks += 1
    })
  const counted = Object.assign(limit.bind(null), limit, { look })
  const fetches = openFetches(counted, openFetchQueue(counted, createMetrics({ git: '' }), on), on)
  const state = newFetchState(name, dir)
  const bringIn = (want: string, filter: string | null = null) =>
    fetches.bringIn(state, source, { ...emptyRequest(2), wants: [want], filter, done: true }, [])
  return { dir, bringIn, seen, limit, told }
}

let commits = 0

/** A new commit on a branch of upstream, or on none. */
function commit(branch: string | null): string {
  commits += 1
  return newCommit(upstream, branch, `new ${commits}`)
}

test('ten new commits, each wanted by ten while the first is fetched: two fetches', async () => {
  const { dir, bringIn, seen } = await setUp()
  const oids = Array.from({ length: 10 }, (_, i) => commit(`branch-${i}`))
  does = 'waits'
  const all = Array.from({ length: 100 }, (_, i) => bringIn(oids[i % 10] as string))
  await expect.poll(() => [seen.looks, asked], { timeout: 20_000 }).toEqual([100, 1])
  does = 'answers'
  goOn()
  await Promise.all(all)
  for (const oid of oids) expect(git(['--git-dir', dir, 'cat-file', '-t', oid])).toBe('commit')
  expect(asked).toBe(2)
})

test.each([null, 'blob:none'])(
  'ten merges that no ref gives, filter %s: two fetches of each kind at most',
  async (filter) => {
    const { dir, bringIn } = await setUp()
    const oids = Array.from({ length: 10 }, () => commit(null))
    // Slower than ten looks into the mirror on a busy machine: whoever looks later is in one more fetch.
    does = 'is slow'
    await Promise.all(oids.map((oid) => bringIn(oid, filter)))
    for (const oid of oids) expect(git(['--git-dir', dir, 'cat-file', '-t', oid])).toBe('commit')
    // By id; under a filter of all refs before that.
    expect(asked).toBeLessThanOrEqual(filter === null ? 2 : 4)
  }
)

test('two new commits while there is no place for a fetch: one fetch of both, and none of nothing', async () => {
  const { dir, bringIn, seen, limit } = await setUp()
  const oids = [commit('early'), commit('late')] as const
  let release = () => {}
  const taken = new Promise<void>((resolve) => {
    release = resolve
  })
  for (let i = 0; i < 2; i++) limit.fetch('http://u', 'others', () => taken)
  const first = bringIn(oids[0])
  await expect.poll(() => seen.looks).toBe(1)
  const second = bringIn(oids[1])
  await expect.poll(() => seen.looks).toBe(2)
  release()
  await Promise.all([first, second])
  for (const oid of oids) expect(git(['--git-dir', dir, 'cat-file', '-t', oid])).toBe('commit')
  expect(asked).toBe(1)
})

test('nothing is asked for what the mirror has', async () => {
  const { bringIn } = await setUp()
  await bringIn(oidOf(upstream, 'main~3'))
  expect(asked).toBe(0)
})

test('upstream is overloaded: each fetch is tried twice, and all who wait are told', async () => {
  const { bringIn, told } = await setUp()
  does = 'refuses'
  await expect(bringIn(commit('main'))).rejects.toMatchObject({ status: 503 })
  expect(asked).toBe(2)
  expect(told).toEqual(Array(2).fill(expect.stringMatching(/^overloaded: fatal: .* error: 503$/)))
  asked = 0
  const waiting = Array.from({ length: 20 }, () => bringIn(commit('main')).catch((e) => e))
  for (const error of await Promise.all(waiting)) {
    expect(error).toMatchObject({ status: 503 })
  }
  // Who shared another's fetch is in one more; they come in waves, as git has looked for them.
  expect(asked).toBeLessThan(waiting.length / 2)
})

test("upstream's own words, which may name a client, are in no log", async () => {
  const { dir } = await setUp()
  does = 'greets'
  expect(await fetchRefs(dir, source)).toEqual({ outcome: 'failed', words: 'fatal: remote error' })
})

test('upstream is silent: the fetch is ended, and it is known why', async () => {
  const { dir } = await setUp()
  does = 'hangs'
  expect((await fetchRefs(dir, { ...source, beginWithin: 300 })).outcome).toBe('silent')
})

test('a mirror that has its objects is given ten times as long', async () => {
  does = 'is slow'
  const finish = async (idle: boolean) => {
    const tmp = path.join(work.dir, `idle-${idle}`)
    const name = { upstream: 'http://u', vhost: '', repository: '/a', format: 'sha1' as const }
    await initMirror(name.format, tmp)
    const patient = { ...source, stallAfter: 300 }
    return (await finishMirror(name, patient, tmp, `${tmp}.git`, idle)).outcome
  }
  expect([await finish(false), await finish(true)]).toEqual(['silent', 'ok'])
})

test('all who wait for a silent upstream are told', async () => {
  const { dir, bringIn } = await setUp()
  does = 'hangs'
  vi.useFakeTimers({ toFake: ['setTimeout'] })
  const waiting = ['main', 'side'].map((branch) => bringIn(commit(branch)).catch((e) => e))
  for (let fetches = 1; fetches <= 2; fetches++) {
    while (asked < fetches) await new Promise(setImmediate)
    await vi.advanceTimersByTimeAsync(50_000)
  }
  for (const error of await Promise.all(waiting)) expect(error).toMatchObject({ status: 504 })
  expect(git(['--git-dir', dir, 'fsck', '--connectivity-only'])).toBe('')
})

test('refs come half a minute behind a commit that was fetched by id', async () => {
  const { dir, bringIn } = await setUp()
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const oid = commit('main')
  await bringIn(oid)
  expect([oidOf(dir, 'main') === oid, asked]).toEqual([false, 1])
  await vi.advanceTimersByTimeAsync(30_000)
  vi.useRealTimers()
  await expect.poll(() => oidOf(dir, 'main'), { timeout: 10_000 }).toBe(oid)
  expect(asked).toBe(2)
})

test('a mirror that is discarded while it is fetched into: the fetch ends, and leaves nothing', async () => {
  const { dir } = await setUp()
  const dirs = prepareLayout(path.join(work.dir, 'data'))
  does = 'waits'
  asked = 0
  const fetching = fetchRefs(dir, source)
  await expect.poll(() => asked, { timeout: 20_000 }).toBe(1)
  await discardMirror(dirs, dir)
  expect((await fetching).outcome).toBe('failed')
  expect([existsSync(dir), readdirSync(dirs.tmp)]).toEqual([false, []])
})

test('what a git has left behind is no mirror, and in the way of none', async () => {
  const tmp = path.join(work.dir, 'made.git')
  const dir = path.join(work.dir, 'remains.git')
  mkdirSync(path.join(dir, 'objects/pack'), { recursive: true })
  writeFileSync(path.join(dir, 'objects/pack/pack-1.keep'), '')
  const name = { upstream: 'http://u', vhost: '', repository: '/a', format: 'sha1' as const }
  await initMirror(name.format, tmp)
  expect((await finishMirror(name, source, tmp, dir, false)).outcome).toBe('ok')
  expect(existsSync(path.join(dir, 'HEAD'))).toBe(true)
  expect(existsSync(path.join(dir, 'objects/pack/pack-1.keep'))).toBe(false)
})
