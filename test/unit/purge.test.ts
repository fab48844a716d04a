/** What is on its way while its repository is purged: nothing of it is stored, made a mirror, sent on or fetched on. */
import { once } from 'node:events'
import { cpSync, existsSync, readdirSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import { Job } from '../../sidecar/src/job.ts'
import { openJobs } from '../../sidecar/src/jobs.ts'
import type { MirrorName } from '../../sidecar/src/mirror.ts'
import { openStore } from '../../sidecar/src/store.ts'
import type { Work } from '../../sidecar/src/work.ts'
import { fetchSource, gitBackend } from '../support/backend.ts'
import { makeRepository, oidOf, scratch, uploadPack } from '../support/git.ts'
import { answerOf, reader, record, sourceOf } from '../support/job.ts'
import { listenForAll } from '../support/listen.ts'
import { assemble, orderFor } from '../support/sidecar.ts'
import { fetchOf, V2, v2 } from '../support/wire.ts'

const work = scratch()
afterAll(work.remove)
const upstream = path.join(work.dir, 'upstream.git')
beforeAll(() => makeRepository(upstream))
const backend = gitBackend(work.dir)
/** Called when upstream is asked, before it answers. */
let onAsked = async () => {}
const server = createServer((request, response) => {
  onAsked().then(() => backend.emit('request', request, response))
})
const port = await listenForAll(server)
const source = fetchSource(port, 'upstream.git')
const of: MirrorName = { upstream: 'http://u', vhost: '', repository: '/a', format: 'sha1' }
const KEY = 'ab'.repeat(32)

let count = 0
function setUp() {
  count += 1
  const to = path.join(work.dir, `data-${count}`)
  const { dirs, mirrors } = assemble(`http://127.0.0.1:${port}`, to, { 'make-mirrors': ['always'] })
  return { dirs, mirrors }
}

test('an answer that is past its last check, and not renamed yet', async () => {
  const { dirs } = setUp()
  const store = openStore(dirs)
  const spool = await store.create('/a')
  await spool.handle.write('answer')
  // `stat` is what storing asks between the check for a purge and the rename.
  let purged: Promise<number> = Promise.resolve(0)
  const stat = spool.handle.stat.bind(spool.handle)
  spool.handle.stat = (async () => {
    purged = store.purge('/a')
    await sleep(100)
    return stat()
  }) as unknown as typeof spool.handle.stat
  await spool.commit(KEY)
  await purged
  expect(await store.has(KEY)).toBe(false)
  await spool.handle.close()
})

test('a mirror that upstream is just sending', async () => {
  const { mirrors, dirs } = setUp()
  onAsked = async () => {
    onAsked = async () => {}
    await mirrors.purge('/a')
  }
  mirrors.missed(of, source, KEY)
  await expect.poll(() => mirrors.making(of), { interval: 1 }).not.toBeNull()
  await mirrors.making(of)
  expect(await mirrors.find(of)).toBeNull()
  expect(
    readdirSync(dirs.mirrors, { recursive: true }).filter((n) => `${n}`.endsWith('HEAD'))
  ).toEqual([])
})

test('a clone that was complete before the purge, and becomes a mirror after it', async () => {
  const { mirrors, dirs } = setUp()
  onAsked = async () => {}
  const seed = mirrors.adopt(of, source)
  const tmp = path.join(dirs.tmp, 'seed')
  cpSync(upstream, tmp, { recursive: true })
  await mirrors.purge('/a')
  seed?.(tmp)
  await mirrors.making(of)
  expect([await mirrors.find(of), existsSync(tmp)]).toEqual([null, false])
})

test('upstream is not listened to any longer, and nothing stays under tmp/', async () => {
  const depth1 = v2([`want ${oidOf(upstream, 'main')}`, 'deepen 1', 'done'])
  const whole = uploadPack(upstream, 2, writeCanonicalRequest(fetchOf(depth1, V2)))
  let response: ServerResponse | undefined
  const slow = createServer((message, answer) => {
    message.resume()
    response = answer
    answer.setHeader('content-type', 'application/x-git-upload-pack-result')
    answer.write(whole.subarray(0, whole.indexOf('PACK') + 10))
  })
  slow.listen(0, '127.0.0.1')
  await once(slow, 'listening')
  const { port: to } = slow.address() as { port: number }
  const one = assemble(`http://127.0.0.1:${to}`, path.join(work.dir, 'data-slow'))
  await one.answers.prepare(orderFor(depth1), {})
  expect(one.jobs.abort('/team/app')).toBe(1)
  await expect.poll(() => response?.destroyed, { timeout: 2000 }).toBe(true)
  await expect.poll(() => readdirSync(one.dirs.tmp), { timeout: 2000 }).toEqual([])
  slow.closeAllConnections()
  slow.close()
})

test('purged before its source is there: the source is ended', async () => {
  const { dirs } = setUp()
  const job = new Job(2, await openStore(dirs).create('/a'), true)
  job.abort()
  let killed = 0
  const endless = sourceOf((async function* () {})())
  await job.record({ ...endless, kill: () => void killed++ }).catch(() => {})
  expect(killed).toBeGreaterThan(0)
  job.retire()
})

test('a reader who is far behind is cut where he is', async () => {
  const { dirs } = setUp()
  const job = new Job(2, await openStore(dirs).create('/a'), false)
  const answer = answerOf(60, 60_000)
  const client = reader(20)
  const sent = job.send(client.response, { progress: false, first: true })
  await record(job, answer)
  job.abort()
  const before = client.bytes().length
  await sent.catch(() => {})
  expect(before).toBeLessThan(answer.length / 2)
  expect(client.bytes().length - before).toBeLessThan(200_000)
  job.retire()
})

test('those of a repository whose name begins alike go on', async () => {
  const { dirs } = setUp()
  const jobs = openJobs()
  const store = openStore(dirs)
  const open = async (repository: string) =>
    jobs.open(
      { request: { family: 2 }, name: { repository } } as Work,
      await store.create(repository),
      true
    )
  const [mine, other] = [await open('/a'), await open('/a/b')]
  expect(jobs.abort('/a')).toBe(1)
  expect([mine.isRunning, other.isRunning]).toEqual([false, true])
  other.retire()
})
