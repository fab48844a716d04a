/** Answers from a mirror: what is stored of them, what is left when they are done, and which mirrors a purge takes. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test, vi } from 'vitest'
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import { keyOf } from '../../njs/src/git/key.ts'
import type { Reader } from '../../sidecar/src/jobs.ts'
import type { RawOptions } from '../../sidecar/src/options.ts'
import type { PrepareOrder } from '../../sidecar/src/protocol.ts'
import { gitBackend } from '../support/backend.ts'
import { git, makeRepository, oidOf, scratch } from '../support/git.ts'
import { reader } from '../support/job.ts'
import { listenForAll } from '../support/listen.ts'
import { sha256 } from '../support/scope.ts'
import { assemble, orderFor } from '../support/sidecar.ts'
import { FLUSH, fetchOf, oid, pkts, V2, v2 } from '../support/wire.ts'

const work = scratch()
afterAll(work.remove)
const repository = path.join(work.dir, 'root/team/app.git')
mkdirSync(path.dirname(repository), { recursive: true })
makeRepository(repository)
const backend = gitBackend(path.join(work.dir, 'root'))
let asked = 0
backend.on('request', () => {
  asked += 1
})
const port = await listenForAll(backend)
const NAME = {
  upstream: 'http://upstream',
  vhost: '',
  repository: '/team/app',
  format: 'sha1' as const,
}
const MAIN = oidOf(repository, 'main')

let count = 0
async function warm(options: RawOptions = {}) {
  count += 1
  const data = path.join(work.dir, `data-${count}`)
  const one = assemble(`http://127.0.0.1:${port}`, data, options)
  await one.answers.prepare(orderFor(v2([`want ${MAIN}`, 'done'])), {})
  await expect.poll(() => one.mirrors.find(NAME), { timeout: 20_000 }).not.toBeNull()
  await expect.poll(() => one.mirrors.making(NAME), { timeout: 20_000 }).toBeNull()
  asked = 0
  const dir = (await one.mirrors.find(NAME)) as string
  // It has been put together, and stays as it is.
  await expect.poll(() => existsSync(path.join(dir, 'objects/info/commit-graph'))).toBe(true)
  return { ...one, data, dir }
}

function tagged(lines: string[]): PrepareOrder {
  const tags = pkts(lines) + FLUSH
  const request = fetchOf(v2([`want ${MAIN}`, 'deepen 1', 'include-tag', 'done']), V2)
  const key = keyOf(sha256, request, tags, { ...NAME, path: '/team/app.git' })
  return {
    ...orderFor(v2([`want ${MAIN}`, 'done'])),
    key,
    request: writeCanonicalRequest(request),
    tags,
  }
}
const tag = (name: string) =>
  `${oidOf(repository, name)} refs/tags/${name} peeled:${oidOf(repository, `${name}^{}`)}`

test('it is stored, but what depends on the clock; and no file is left', async () => {
  const one = await warm()
  const orders = [
    orderFor(v2([`want ${MAIN}`, 'deepen 2', 'done'])),
    tagged([tag('v12')]),
    orderFor(v2([`want ${MAIN}`, 'deepen-since 1700500000', 'done'])),
  ]
  for (const order of orders)
    expect(await one.answers.prepare({ ...order }, {})).toMatchObject({ result: 'miss' })
  await sleep(1000)
  const stored = await Promise.all(orders.map(({ key }) => one.store.has(key)))
  expect([stored, asked]).toEqual([[true, true, false], 0])
  expect(readdirSync(one.dirs.tmp)).toEqual([])
}, 30_000)

test('a tag of the tag state that upstream does not give: no answer without it is made', async () => {
  const one = await warm()
  const order = tagged([tag('v12'), `${oid(9)} refs/tags/v13 peeled:${MAIN}`])
  await expect(one.answers.prepare({ ...order }, {})).rejects.toMatchObject({
    reason: 'tag-state',
  })
  expect(await one.store.has(order.key)).toBe(false)
}, 30_000)

/** git-pack-objects(1) opens the bitmaps, and upload-pack does not: it hangs until the returned is called. */
function hold(dir: string): () => void {
  const packs = path.join(dir, 'objects/pack')
  const bitmaps = readdirSync(packs).filter((name) => name.endsWith('.bitmap'))
  expect(bitmaps).not.toEqual([])
  const pipes = bitmaps.map((name) => path.join(packs, name))
  for (const pipe of pipes) {
    rmSync(pipe)
    execFileSync('mkfifo', [pipe])
  }
  return () => {
    // What comes out of it is no bitmap: git does without.
    for (const pipe of pipes) writeFileSync(pipe, '')
  }
}

test('while git counts for long, all who wait hear its keep-alives, and then have the same answer', async () => {
  const one = await warm({ 'commit-after': ['1'] })
  const letGo = hold(one.dir)
  const order = orderFor(v2([`want ${oidOf(repository, 'main~3')}`, 'done']))
  const begun = Date.now()
  const states = await Promise.all(
    Array.from({ length: 3 }, () => one.answers.prepare({ ...order }, {}))
  )
  // After git's first sign of life: uploadpack.keepAlive, five seconds.
  expect(Date.now() - begun).toBeGreaterThan(4500)
  const readers = states.map((state) => {
    if (state.state !== 'stream') throw new Error(state.state)
    return one.jobs.take(state.job) as Reader
  })
  expect(readers.map(({ result }) => result).sort()).toEqual(['join', 'join', 'miss'])
  const clients = readers.map(({ job }) => {
    const { response, bytes } = reader(0)
    return { bytes, sent: job.send(response, { progress: false, first: false }) }
  })
  const alive = Buffer.from('0005\x01')
  for (const { bytes } of clients) await expect.poll(() => bytes().includes(alive)).toBe(true)
  expect(await one.store.has(order.key)).toBe(false)
  letGo()
  await Promise.all(clients.map(({ sent }) => sent))
  const [first, ...others] = clients.map(({ bytes }) => bytes().toString('latin1'))
  expect(first).toContain('PACK')
  for (const other of others) expect(other).toBe(first)
  await expect.poll(() => one.store.has(order.key)).toBe(true)
}, 30_000)

test('a mirror that is damaged is not used again, and nothing is left of the answer', async () => {
  const one = await warm()
  const [pack = ''] = readdirSync(path.join(one.dir, 'objects/pack')).filter((name) =>
    name.endsWith('.pack')
  )
  truncateSync(path.join(one.dir, 'objects/pack', pack), 60)
  const order = orderFor(v2([`want ${MAIN}`, 'deepen 3', 'done']))
  const how = await one.answers.prepare(order, {}).then(
    ({ state }) => state,
    ({ reason }) => reason
  )
  expect(how).not.toBe('ready')
  await sleep(1000)
  expect([await one.store.has(order.key), readdirSync(one.dirs.tmp)]).toEqual([false, []])
}, 30_000)

test('what was stored of an upstream that turns out to be shallow goes', async () => {
  const one = await warm()
  const order = orderFor(v2([`want ${MAIN}`, 'deepen 2', 'done']))
  await one.answers.prepare(order, {})
  await expect.poll(() => one.store.has(order.key)).toBe(true)
  one.mirrors.setShallow(NAME)
  await expect.poll(() => one.store.has(order.key)).toBe(false)
  await expect(one.mirrors.find(NAME)).rejects.toMatchObject({ reason: 'shallow-upstream' })
  // It may have its history some day.
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 61 * 60_000 })
  expect(await one.mirrors.find(NAME)).toBeNull()
  vi.useRealTimers()
}, 30_000)

test('a purge takes the mirrors of a path on all upstreams', async () => {
  const one = await warm()
  const other = { ...NAME, upstream: 'http://other' }
  const seed = one.mirrors.adopt(other, {
    url: `http://127.0.0.1:${port}/team/app.git`,
    env: {},
    beginWithin: 9000,
    stallAfter: 9000,
  })
  const tmp = path.join(one.dirs.tmp, 'seed-of-other')
  git(['clone', '-q', '--bare', repository, tmp])
  seed?.(tmp)
  await one.mirrors.making(other)
  const dirs = [one.dir, (await one.mirrors.find(other)) as string]
  expect(new Set(dirs).size).toBe(2)
  expect(await one.mirrors.purge('/team/app')).toBe(2)
  expect(dirs.filter((dir) => existsSync(dir))).toEqual([])
}, 30_000)
