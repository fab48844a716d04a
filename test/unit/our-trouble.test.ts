/** What our own git cannot do, or is killed at: upstream is asked once for all who wait, and nobody is refused or passed. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import path from 'node:path'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { endAllGit } from '../../sidecar/src/git.ts'
import { killGroup } from '../../sidecar/src/process-groups.ts'
import { Overloaded, type Pass } from '../../sidecar/src/protocol.ts'
import { gitBackend } from '../support/backend.ts'
import { git, makeRepository, newCommit, scratch } from '../support/git.ts'
import { listenForAll } from '../support/listen.ts'
import { assemble, orderFor } from '../support/sidecar.ts'
import { v2 } from '../support/wire.ts'

const work = scratch()
afterAll(() => {
  endAllGit()
  work.remove()
})
const backend = gitBackend(work.dir)
/** Upstream says 504 to who asks for all refs (a gateway that times out), or to everybody. */
let fails: 'nothing' | 'refs' | 'all' | 'hangs' = 'nothing'
let packs = 0
const front = createServer((message, response) => {
  message.once('readable', () => {
    const first = message.read() as Buffer | null
    const body = first?.toString('latin1') ?? ''
    if (first !== null) message.unshift(first)
    const isOfRefs = body.includes('command=ls-refs') && body.includes('ref-prefix refs/heads/')
    if (body.includes('command=fetch')) packs += 1
    if (fails === 'hangs') return
    if (fails === 'all' || (fails === 'refs' && isOfRefs)) {
      response.writeHead(504).end()
      return
    }
    backend.emit('request', message, response)
  })
})
const port = await listenForAll(front)

let count = 0
/** A sidecar with a mirror. */
async function warm(options = {}) {
  count += 1
  const repository = `/r${count}`
  const dir = path.join(work.dir, `r${count}.git`)
  makeRepository(dir)
  const data = path.join(work.dir, `data-${count}`)
  const bounds = { 'max-wait': ['20'], 'commit-after': ['5'], ...options }
  const one = assemble(`http://127.0.0.1:${port}`, data, bounds)
  const ask = (lines: string[]) =>
    one.answers.prepare(orderFor(v2([...lines, 'done']), null, `${repository}.git`), {}).then(
      (said) => (said.state === 'stream' ? said.result : said.state),
      (error: unknown) => (error instanceof Overloaded ? `${error.status}` : (error as Pass).reason)
    )
  const name = { upstream: 'http://upstream', vhost: '', repository, format: 'sha1' as const }
  fails = 'nothing'
  await ask(wantsOf(dir))
  await expect.poll(() => one.mirrors.find(name), { timeout: 20_000 }).not.toBeNull()
  await expect.poll(() => one.mirrors.making(name), { timeout: 20_000 }).toBeNull()
  packs = 0
  return { ...one, ask, dir, name, mirror: (await one.mirrors.find(name)) as string }
}

function wantsOf(dir: string): string[] {
  const tips = git(['--git-dir', dir, 'for-each-ref', '--format=%(objectname)']).split('\n')
  return [...new Set(tips)].map((oid) => `want ${oid}`)
}

function push(dir: string): string {
  const oid = newCommit(dir, null, `new ${Math.random()}`)
  git(['--git-dir', dir, 'update-ref', 'refs/heads/main', oid])
  return oid
}

/** How many were answered how. */
function tally(all: string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const one of all) counts[one] = (counts[one] ?? 0) + 1
  return counts
}

/** More branches than are fetched by id. */
function manyBranches(dir: string, prefix: string): void {
  for (let i = 0; i < 6; i++) newCommit(dir, `${prefix}-${i}`, `${prefix} ${i}`)
}

test('upstream lists no refs to us, and answers clients: so it does through us', async () => {
  const one = await warm()
  manyBranches(one.dir, 'a')
  fails = 'refs'
  const all = await Promise.all(Array.from({ length: 20 }, () => one.ask(wantsOf(one.dir))))
  const { miss = 0, join = 0, ready = 0 } = tally(all)
  expect([miss, miss + join + ready, packs]).toEqual([1, 20, 1])
}, 60_000)

test('where it answers nobody it is asked once more, and not for each', async () => {
  const one = await warm()
  manyBranches(one.dir, 'b')
  const wants = wantsOf(one.dir)
  fails = 'all'
  // Each for something else.
  const all = await Promise.all(
    Array.from({ length: 20 }, (_, i) => one.ask([...wants, `deepen ${i + 2}`]))
  )
  // One asked at once, since the repository is small, and one after the fetch; each is told upstream's word.
  const { 503: refused = 0, 504: told = 0 } = tally(all)
  expect([refused + told, packs <= 3]).toEqual([20, true])
  fails = 'nothing'
}, 60_000)

test('silence is found out by one request, also where that takes longer than it is remembered', async () => {
  const one = await warm({ 'max-wait': ['30'] })
  manyBranches(one.dir, 'c')
  const wants = wantsOf(one.dir)
  fails = 'hangs'
  const first = one.ask(wants)
  await sleep(1000)
  // A fetch of its own is silent as well, twelve seconds after that of the first.
  const second = one.ask([...wants, 'deepen 3'])
  expect(await Promise.all([first, second])).toEqual(['504', '504'])
  expect(packs).toBe(1)
  fails = 'nothing'
}, 60_000)

test('more at once than is fetched by id, which no ref gives: upstream answers once', async () => {
  const one = await warm()
  for (let i = 0; i < 70; i++) {
    git([
      '--git-dir',
      one.dir,
      'update-ref',
      `refs/pull/${i}/head`,
      newCommit(one.dir, null, `${i}`),
    ])
  }
  const wants = wantsOf(one.dir)
  packs = 0
  const all = await Promise.all(Array.from({ length: 20 }, () => one.ask(wants)))
  const { miss = 0, join = 0, ready = 0 } = tally(all)
  expect([miss, miss + join + ready]).toEqual([1, 20])
}, 60_000)

/** Process ids of gits of this process whose command line has the word. */
function gitsWith(word: string): number[] {
  const children = readdirSync('/proc/self/task').flatMap((task) =>
    readFileSync(`/proc/self/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
  )
  return children.filter((pid) => {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'latin1')
      return line.includes(word) && !line.includes('http-backend')
    } catch {
      return false
    }
  })
}

test.each(['upload-pack', 'cat-file'])(
  'one %s is killed while 30 wait: one of them at most is passed',
  async (word) => {
    const one = await warm()
    const oid = push(one.dir)
    const all = Promise.all(Array.from({ length: 30 }, () => one.ask([`want ${oid}`])))
    let killed = 0
    for (const until = Date.now() + 5000; killed === 0 && Date.now() < until; ) {
      const [pid] = gitsWith(word)
      if (pid !== undefined) {
        killGroup(pid)
        killed += 1
      }
      await setImmediate()
    }
    const { miss = 0, join = 0, ready = 0, ...passed } = tally(await all)
    expect(killed).toBe(1)
    expect(miss + join + ready).toBeGreaterThanOrEqual(29)
    expect(Object.keys(passed).every((reason) => /^(not-ready|generate)$/.test(reason))).toBe(true)
  },
  60_000
)

test.each([
  ['packed-refs', 'garbage\n'],
  ['packed-refs', '# pack-refs with: peeled fully-peeled sorted \n0123'],
  ['config', '[core\n'],
])(
  'a mirror whose %s is %j is made anew',
  async (file, text) => {
    const one = await warm()
    writeFileSync(path.join(one.mirror, file), text)
    await one.ask([`want ${push(one.dir)}`])
    await expect.poll(() => one.faults, { timeout: 10_000 }).toContain('GITCACHE_MIRROR_DAMAGED')
    await sleep(100)
    expect(await one.ask([`want ${push(one.dir)}`])).toBe('miss')
  },
  60_000
)
