/** Mirrors on disk: damage is found, what a killed git left is removed, what is old goes. */
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pLimit from 'p-limit'
import { pino } from 'pino'
import { afterAll, expect, test } from 'vitest'
import { gitLimit } from '../../sidecar/src/git-limit.ts'
import { createMetrics } from '../../sidecar/src/metrics.ts'
import { improve, initMirror, type MirrorName, NAME_FILE } from '../../sidecar/src/mirror.ts'
import { isSound, removeLeftBehind } from '../../sidecar/src/mirror-check.ts'
import { placeOf } from '../../sidecar/src/mirror-places.ts'
import { type Mirrors, openMirrors } from '../../sidecar/src/mirrors.ts'
import { killAllGroups } from '../../sidecar/src/process-groups.ts'
import { openSoundness } from '../../sidecar/src/soundness.ts'
import { openStore } from '../../sidecar/src/store.ts'
import { startUpkeep } from '../../sidecar/src/upkeep.ts'
import { git, makeRepository, scratch, tryGit } from '../support/git.ts'
import { prepareLayout } from '../support/layout.ts'

const work = scratch()
afterAll(work.remove)
const DAY = 24 * 3600 * 1000
const KEEP = 'refs/keep'

const upstream = path.join(work.dir, 'upstream.git')
makeRepository(upstream)

/** A data directory with one mirror, made as the sidecar makes it but from a path. */
async function setUp(name: string) {
  const dirs = prepareLayout(path.join(work.dir, name))
  const faults: string[] = []
  const idle = pLimit(1)
  const note = (code: string) => void faults.push(code)
  const metrics = createMetrics({ git: '' })
  const mirrors = openMirrors({
    dirs,
    limit: gitLimit(1, 10),
    idle,
    whenToMake: 'never',
    log: pino({ level: 'silent' }),
    faults: note,
    metrics,
    shallow: () => {},
  })
  const of: MirrorName = { upstream: 'http://u', vhost: '', repository: '/a', format: 'sha1' }
  const tmp = path.join(dirs.tmp, 'made')
  await initMirror(of.format, tmp)
  git(['--git-dir', tmp, '-c', 'fetch.unpackLimit=1', 'fetch', '-q', upstream, '+refs/*:refs/*'])
  await improve(tmp)
  writeFileSync(path.join(tmp, NAME_FILE), JSON.stringify(of))
  const dir = placeOf(dirs, of)
  mkdirSync(path.dirname(dir), { recursive: true })
  renameSync(tmp, dir)
  expect(await mirrors.find(of)).toBe(dir)
  const store = openStore(dirs)
  const upkeep = startUpkeep({ mirrors, store, idle, faults: note, keepMirrors: 30 * DAY })
  afterAll(upkeep.stop)
  return { dirs, dir, of, mirrors, upkeep, faults }
}

function packsOf(dir: string, ending: string): string[] {
  return readdirSync(path.join(dir, 'objects/pack')).filter((name) => name.endsWith(ending))
}

/** Nine commits that no branch has, each fetched by itself: a pack each; the first long ago. Returns their ids. */
function fetchNine(dir: string, now: number): string[] {
  const main = git(['--git-dir', dir, 'rev-parse', 'main'])
  const id = ['-c', 'user.name=a', '-c', 'user.email=a@example.org']
  const tree = git(['--git-dir', upstream, 'mktree'], '')
  return Array.from({ length: 9 }, (_, i) => {
    const commit = [...id, '--git-dir', upstream, 'commit-tree', '-m', `${i}`, '-p', main, tree]
    const oid = git(commit)
    git(['--git-dir', upstream, 'update-ref', 'refs/pull/1', oid])
    const day = new Date(i === 0 ? now - 16 * DAY : now).toISOString().slice(0, 10)
    const fetch = ['fetch', '-q', upstream, `refs/pull/1:${KEEP}/${day}/${oid}`]
    git(['--git-dir', dir, '-c', 'fetch.unpackLimit=1', ...fetch])
    return oid
  })
}

test('each of its files may be damaged, and is found so', async () => {
  const { dir, of } = await setUp('damage')
  expect(await isSound(dir, of)).toBe(true)
  const files = [
    ...readdirSync(path.join(dir, 'objects/pack')).map((name) => `objects/pack/${name}`),
    'objects/info/commit-graph',
    'packed-refs',
    'config',
    NAME_FILE,
  ].filter((file) => existsSync(path.join(dir, file)))
  expect(files.length).toBeGreaterThan(6)
  for (const name of files) {
    const file = path.join(dir, name)
    const bytes = readFileSync(file)
    copyFileSync(file, `${work.dir}/kept`)
    writeFileSync(file, bytes.subarray(0, Math.floor(bytes.length / 2)), { mode: 0o600 })
    expect(await isSound(dir, of), `${name} cut`).toBe(false)
    const flipped = Buffer.from(bytes)
    const at = Math.floor(bytes.length / 2)
    flipped[at] = (flipped[at] ?? 0) ^ 0x10
    writeFileSync(file, flipped)
    if (/\.(pack|idx|bitmap|rev)$|multi-pack-index|graph/.test(name)) {
      expect(await isSound(dir, of), `${name} flipped`).toBe(false)
    }
    copyFileSync(`${work.dir}/kept`, file)
  }
  expect(await isSound(dir, of)).toBe(true)
})

test('git stumbles over a mirror: it is looked at once an hour, and goes where it is damaged', async () => {
  const { dirs, dir, of, faults } = await setUp('suspect')
  const soundness = openSoundness(dirs, (code) => void faults.push(code))
  /** Nobody waits for it. */
  const lookedAt = async () => {
    await expect(soundness.of(of, dir)).rejects.toMatchObject({ reason: 'generate' })
    await expect.poll(() => existsSync(dir)).toBe(false)
  }
  const whole = path.join(dirs.tmp, 'whole')
  cpSync(dir, whole, { recursive: true })
  const [pack] = packsOf(dir, '.pack')
  truncateSync(path.join(dir, 'objects/pack', pack as string), 100)
  soundness.suspect(of, dir)
  await lookedAt()
  // Another answer from the same mirror fails later than the first: nothing is there to look at.
  soundness.suspect(of, dir)
  renameSync(whole, dir)
  await expect.poll(() => soundness.of(of, dir).catch(() => null)).toBe(true)
  expect(faults).toEqual(['GITCACHE_MIRROR_DAMAGED'])
  // Made anew, it may be suspected anew.
  soundness.trust(dir)
  rmSync(path.join(dir, 'objects/pack'), { recursive: true })
  soundness.suspect(of, dir)
  await lookedAt()
  expect(faults).toEqual(['GITCACHE_MIRROR_DAMAGED', 'GITCACHE_MIRROR_DAMAGED'])
})

test('what a git that was killed has left is removed, and nothing else', async () => {
  const { dir, of } = await setUp('left')
  const before = readdirSync(dir, { recursive: true }).sort()
  const left = ['packed-refs.lock', 'HEAD.lock', 'objects/pack/multi-pack-index.lock']
  const halves = ['objects/pack/tmp_pack_abc', 'objects/pack/.tmp-12-pack-1.pack']
  for (const name of [...left, ...halves]) writeFileSync(path.join(dir, name), 'x')
  expect(tryGit(['--git-dir', dir, 'pack-refs', '--all']).status).not.toBe(0)
  await removeLeftBehind(dir)
  expect(readdirSync(dir, { recursive: true }).sort()).toEqual(before)
  expect(tryGit(['--git-dir', dir, 'pack-refs', '--all']).status).toBe(0)
  expect(await isSound(dir, of)).toBe(true)
})

test('upkeep: many packs become few, old keep refs go, and then what only they kept', async () => {
  const { dir, mirrors, upkeep, faults, of } = await setUp('upkeep')
  const now = Date.now()
  const kept = () =>
    git(['--git-dir', dir, 'for-each-ref', '--format=%(objectname)', KEEP]).split('\n')
  const [first = '', second = '', ...others] = fetchNine(dir, now)
  expect(packsOf(dir, '.pack').length).toBeGreaterThan(8)
  await upkeep.run(now)
  expect(packsOf(dir, '.pack').length).toBeLessThan(8)
  expect(kept().sort()).toEqual([second, ...others].sort())
  // Each ref is a file until it is packed, and git opens them all for each question.
  const loose = readdirSync(path.join(dir, KEEP), { recursive: true, encoding: 'utf8' })
  expect(loose.filter((name) => name.includes('/'))).toEqual([])
  const old = (now - 15 * DAY) / 1000

  const there = (oid: string) => tryGit(['--git-dir', dir, 'cat-file', '-e', oid]).status === 0
  for (const name of readdirSync(path.join(dir, 'objects/pack'))) {
    utimesSync(path.join(dir, 'objects/pack', name), old, old)
  }
  expect(there(first)).toBe(true)
  await upkeep.run(now + 8 * DAY)
  expect(there(first)).toBe(false)
  expect(faults).toEqual([])
  expect(there(second)).toBe(true)
  expect(git(['--git-dir', dir, 'fsck', '--no-dangling'])).toBe('')
  expect(await isSound(dir, of)).toBe(true)
  expect(await mirrors.find(of)).toBe(dir)
})

test('a repack that is killed, whenever, leaves a mirror of which nothing is lost', async () => {
  const { dir, of } = await setUp('killed')
  fetchNine(dir, Date.now())
  const objects = (of: string) => git(['--git-dir', of, 'rev-list', '--objects', '--all'])
  const copy = path.join(work.dir, 'killed-copy.git')
  let killed = 0
  cpSync(dir, copy, { recursive: true })
  const begun = Date.now()
  expect((await improve(copy)).code).toBe(0)
  const all = Date.now() - begun
  for (const part of [0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) {
    const after = part * all
    rmSync(copy, { recursive: true, force: true })
    cpSync(dir, copy, { recursive: true })
    const repacking = improve(copy)
    await sleep(after)
    killAllGroups()
    if ((await repacking).code !== 0) killed += 1
    await removeLeftBehind(copy)
    expect(await isSound(copy, of), `after ${after} ms`).toBe(true)
    expect(git(['--git-dir', copy, 'fsck', '--no-dangling'])).toBe('')
    expect(objects(copy)).toBe(objects(dir))
    expect((await improve(copy)).code).toBe(0)
    expect(packsOf(copy, '.pack').length).toBeLessThan(8)
  }
  expect(killed).toBeGreaterThan(2)
}, 120_000)

test('a mirror that nobody has used for long is removed', async () => {
  const { dir, upkeep } = await setUp('unused')
  await upkeep.run(Date.now() + 29 * DAY)
  expect(existsSync(dir)).toBe(true)
  await upkeep.run(Date.now() + 31 * DAY)
  expect(existsSync(dir)).toBe(false)
})

test('purge takes the mirror of a repository', async () => {
  const { dir, mirrors, of } = await setUp('purge')
  expect(await mirrors.purge('/b')).toBe(0)
  expect(await mirrors.purge('/a')).toBe(1)
  expect(existsSync(dir)).toBe(false)
  expect(await mirrors.find(of)).toBe(null)
})

test("one that cannot be tended is nobody else's trouble", async () => {
  const tended: string[] = []
  const faults: string[] = []
  const used = Date.now()
  const mirrors = {
    sizes: async () => ['a', 'b', 'c'].map((dir) => ({ dir, bytes: 1, used })),
    tend: async (dir: string) => {
      if (dir === 'b') throw new Error('EIO')
      tended.push(dir)
    },
  } as unknown as Mirrors
  const store = openStore(prepareLayout(path.join(work.dir, 'untended')))
  const note = (code: string) => void faults.push(code)
  const parts = { mirrors, store, idle: pLimit(1), faults: note, keepMirrors: 30 * DAY }
  const upkeep = startUpkeep(parts)
  afterAll(upkeep.stop)
  await upkeep.run()
  expect([tended, faults]).toEqual([['a', 'c'], ['GITCACHE_UPKEEP']])
})
