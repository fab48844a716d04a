/** What was stored without git is looked at by git behind it, by the next life too, and until git can. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import { pktLine } from '../../njs/src/git/pkt-line.ts'
import { openConfirm } from '../../sidecar/src/confirm.ts'
import type { Faults } from '../../sidecar/src/faults.ts'
import { openStore } from '../../sidecar/src/store.ts'
import { makeRepository, oidOf, scratch, uploadPack } from '../support/git.ts'
import { prepareLayout } from '../support/layout.ts'
import { FLUSH, fetchOf, V2, v2 } from '../support/wire.ts'

const work = scratch()
afterAll(work.remove)
const dirs = prepareLayout(path.join(work.dir, 'data'))
const store = openStore(dirs)
const upstream = path.join(work.dir, 'upstream.git')
makeRepository(upstream, 'sha1')
const depth1 = fetchOf(v2([`want ${oidOf(upstream, 'main')}`, 'deepen 1', 'done']), V2)
const sound = uploadPack(upstream, 2, writeCanonicalRequest(depth1))
/** In the middle of the pack's first object. */
const damaged = Buffer.from(sound)
const at = damaged.indexOf('PACK') + 20
damaged[at] = (damaged[at] ?? 0) ^ 0xff

/** Of an upstream that lost a tree, or whoever answered in its place: each object is as it should be. */
const incomplete = (() => {
  const pack = execFileSync('git', ['--git-dir', upstream, 'pack-objects', '-q', '--stdout'], {
    input: `${oidOf(upstream, 'main')}\n`,
  })
  const head = sound.subarray(0, sound.indexOf('packfile\n') + 'packfile\n'.length)
  const band = pktLine(`\x01${pack.toString('latin1')}`)
  return Buffer.concat([head, Buffer.from(band, 'latin1'), Buffer.from(FLUSH)])
})()

const WAITS = { later: 20, again: 50 }
const NAME = { upstream: 'http://u', vhost: '', repository: '/a', format: 'sha1' as const }
let said: string[] = []
const shallow = ({ repository }: { repository: string }) => void said.push(`shallow ${repository}`)
const faults = ((code: string) => said.push(code)) as unknown as Faults
beforeEach(() => {
  said = []
})

let count = 0
async function put(answer: Buffer, request = depth1, tags: string[] = []) {
  count += 1
  const unseen = { key: count.toString(16).padStart(64, '0'), name: NAME, request, tags }
  const spool = await store.create(NAME.repository)
  await spool.handle.write(answer)
  await spool.commit(unseen.key)
  await spool.handle.close()
  return unseen
}

const marks = () => readdirSync(dirs.unconfirmed)

test.each([
  ['what is sound stays', sound, true, []],
  ['what git does not take goes', damaged, false, ['GITCACHE_UPSTREAM_DAMAGED']],
  ['what lacks an object goes', incomplete, false, ['GITCACHE_UPSTREAM_DAMAGED']],
])('%s', async (_, answer, stays, codes) => {
  const confirm = openConfirm(dirs, store, faults, shallow, WAITS)
  const unseen = await put(answer)
  await confirm.mark(unseen)
  expect(marks().length).toBe(1)
  confirm.later(unseen)
  await expect.poll(marks).toEqual([])
  expect([await store.has(unseen.key), said]).toEqual([stays, codes])
})

test('the next life looks at what this one has left', async () => {
  const answers = [await put(sound), await put(damaged), await put(sound)]
  const gone = await put(damaged)
  for (const answer of [...answers, gone])
    await openConfirm(dirs, store, faults, shallow).mark(answer)
  await store.remove(gone.key, marks()[0]?.slice(65) ?? '')
  await openConfirm(dirs, store, faults, shallow, WAITS).resume()
  await expect.poll(marks, { timeout: 10_000 }).toEqual([])
  const there = await Promise.all(answers.map(({ key }) => store.has(key)))
  expect([there, said]).toEqual([[true, false, true], ['GITCACHE_UPSTREAM_DAMAGED']])
})

test('a mark that says nothing: the answer goes', async () => {
  const unseen = await put(sound)
  await openConfirm(dirs, store, faults, shallow, WAITS).mark(unseen)
  writeFileSync(path.join(dirs.unconfirmed, marks()[0] ?? ''), '')
  await openConfirm(dirs, store, faults, shallow, WAITS).resume()
  await expect.poll(marks).toEqual([])
  expect(await store.has(unseen.key)).toBe(false)
})

test('where git cannot be started it is tried again', async () => {
  const confirm = openConfirm(dirs, store, faults, shallow, WAITS)
  const unseen = await put(damaged)
  await confirm.mark(unseen)
  // Where git makes its repository there is a file.
  rmSync(dirs.tmp, { recursive: true })
  writeFileSync(dirs.tmp, '')
  confirm.later(unseen)
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect([marks().length, await store.has(unseen.key), said]).toEqual([1, true, []])
  rmSync(dirs.tmp)
  mkdirSync(dirs.tmp)
  await expect.poll(marks, { timeout: 10_000 }).toEqual([])
  expect(await store.has(unseen.key)).toBe(false)
})

test('where a thousand wait to be looked at one more gets no mark, and is not to be stored', async () => {
  const confirm = openConfirm(dirs, store, faults, shallow, { later: 60_000, again: 50 })
  const unseen = await put(sound)
  expect(await confirm.mark(unseen)).toBe(true)
  for (let i = 1; i < 1000; i++) {
    expect(await confirm.mark({ ...unseen, key: `${i}`.padStart(64, 'f') })).toBe(true)
  }
  expect(await confirm.mark(await put(sound))).toBe(false)
  expect(marks().length).toBe(1000)
  for (const name of marks()) rmSync(path.join(dirs.unconfirmed, name))
})

test('what is made again under the same key keeps its mark until it is looked at', async () => {
  const confirm = openConfirm(dirs, store, faults, shallow, { later: 400, again: 50 })
  const unseen = await put(sound)
  await confirm.mark(unseen)
  confirm.later(unseen)
  await new Promise((resolve) => setTimeout(resolve, 300))
  await store.purge('/a')
  await confirm.mark(unseen)
  confirm.later(unseen)
  // The first look comes after 400 ms, the second after 700.
  await new Promise((resolve) => setTimeout(resolve, 250))
  expect(marks().length).toBe(1)
  await expect.poll(marks).toEqual([])
})

test("what is older than its tags goes, without a fault: it is nobody's damage", async () => {
  const confirm = openConfirm(dirs, store, faults, shallow, WAITS)
  const tags = [`${oidOf(upstream, 'v12')} refs/tags/v12 ${oidOf(upstream, 'main')}`]
  const unseen = await put(sound, depth1, tags)
  await confirm.mark(unseen)
  await openConfirm(dirs, store, faults, shallow, WAITS).resume()
  await expect.poll(marks, { timeout: 10_000 }).toEqual([])
  expect([await store.has(unseen.key), said]).toEqual([false, []])
})

test('what ends before its depth is that of a shallow upstream', async () => {
  const confirm = openConfirm(dirs, store, faults, shallow, WAITS)
  const deeper = { ...depth1, deepen: 'deepen 2' }
  const unseen = await put(sound, deeper)
  await confirm.mark(unseen)
  confirm.later(unseen)
  await expect.poll(marks, { timeout: 10_000 }).toEqual([])
  expect(said).toEqual(['shallow /a'])
})
