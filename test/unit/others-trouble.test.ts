/** What one client, upstream or full queue means for those who have nothing to do with it. */
import { readdirSync } from 'node:fs'
import { createServer } from 'node:http'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { endAllGit } from '../../sidecar/src/git.ts'
import type { MirrorName } from '../../sidecar/src/mirror.ts'
import { Overloaded, Pass } from '../../sidecar/src/protocol.ts'
import { gitBackend } from '../support/backend.ts'
import { makeRepository, newCommit, oidOf, scratch } from '../support/git.ts'
import { listenForAll } from '../support/listen.ts'
import { assemble, orderFor } from '../support/sidecar.ts'
import { v2 } from '../support/wire.ts'

const work = scratch()
afterAll(() => {
  endAllGit()
  work.remove()
})
const backend = gitBackend(work.dir)
/** By $authorization: `over` is told 429, `slow` waits, and once `hangs`, fetches of `hung` are never answered. */
const asked: string[] = []
let hangs = false
const front = createServer(async (message, response) => {
  const who = message.headers.authorization ?? ''
  asked.push(who)
  if (hangs && who === 'hung') return
  if (who === 'slow') await sleep(700)
  if (who === 'over') response.writeHead(429).end('slow down')
  else backend.emit('request', message, response)
})
const port = await listenForAll(front)

let count = 0
function sidecar(repositories: string[], options = {}) {
  for (const name of repositories) makeRepository(path.join(work.dir, `${name}.git`))
  count += 1
  const at = `http://127.0.0.1:${port}`
  const upstream = [`http://good=${at}`, `http://hung=${at}`]
  const one = assemble('', path.join(work.dir, `data-${count}`), { upstream, ...options })
  /** As a client of this name, of a repository on an upstream. */
  const ask = (who: string, args: string[], repository: string, from = 'good') =>
    one.answers
      .prepare(orderFor(v2([...args, 'done']), null, `/${repository}.git`, `http://${from}`), {
        authorization: who,
      })
      .then(({ state }) => state, wordOf)
  const warm = async (repository: string, from = 'good') => {
    await ask('first', [wantOf(repository)], repository, from)
    const name: MirrorName = {
      upstream: `http://${from}`,
      vhost: '',
      repository: `/${repository}`,
      format: 'sha1',
    }
    await expect.poll(() => one.mirrors.find(name), { timeout: 20_000 }).not.toBeNull()
  }
  return { ...one, ask, warm }
}

function wordOf(error: unknown): string {
  if (error instanceof Overloaded) return `refused ${error.status}`
  return error instanceof Pass ? `pass ${error.reason}` : String(error)
}

function wantOf(repository: string): string {
  return `want ${oidOf(path.join(work.dir, `${repository}.git`), 'main')}`
}

function wantNew(repository: string): string {
  count += 1
  return `want ${newCommit(path.join(work.dir, `${repository}.git`), `new-${count}`, `${count}`)}`
}

test('a queue that is full: of a herd upstream makes one pack, and nobody is passed', async () => {
  const limits = { 'git-processes': ['1'], 'queue-length': ['2'] }
  const { ask, warm, limit, dirs } = sidecar(['busy'], limits)
  await warm('busy')
  let free = () => {}
  const taken = new Promise<void>((resolve) => {
    free = resolve
  })
  const others = ['x', 'y', 'y', 'z', 'w'].map((turn) => limit(turn, () => taken))
  const args = [wantOf('busy'), 'deepen 3']
  const before = asked.length
  const words = await Promise.all(Array.from({ length: 50 }, () => ask('herd', args, 'busy')))
  expect(new Set(words)).toEqual(new Set(['stream', 'ready']))
  expect(asked.length - before).toBe(1)
  // Nobody else waits for this one: it is passed, as the queue says.
  expect(await ask('alone', [wantOf('busy'), 'deepen 4'], 'busy')).toBe('pass busy')
  // Nor a herd that comes one after the other, of a whole clone: all but the first.
  const spaced: string[] = []
  for (let i = 0; i < 10; i++) spaced.push(await ask('spaced', [wantNew('busy')], 'busy'))
  expect(new Set(spaced)).toEqual(new Set(['pass busy']))
  const same = wantNew('busy')
  const again = [await ask('spaced', [same], 'busy')]
  for (let i = 0; i < 9; i++) again.push(await ask('spaced', [same], 'busy'))
  expect(again[0]).toBe('pass busy')
  expect(again.slice(1).every((word) => word === 'stream' || word === 'ready')).toBe(true)
  free()
  await Promise.all(others)
  // What upstream sent becomes no mirror: there is one.
  await expect.poll(() => readdirSync(dirs.tmp), { timeout: 20_000 }).toEqual([])
}, 60_000)

test("another client's 429 is not told to who shares his fetch", async () => {
  const { ask, warm } = sidecar(['shared'])
  await warm('shared')
  const first = ask('slow', [wantNew('shared')], 'shared')
  await sleep(300)
  const over = ask('over', [wantNew('shared')], 'shared')
  await sleep(200)
  const good = ask('good', [wantNew('shared')], 'shared')
  expect(await Promise.all([first, over, good])).toEqual(['stream', 'refused 429', 'stream'])
}, 60_000)

test('fetches from an upstream that hangs leave room for those from another', async () => {
  const hung = ['h1', 'h2', 'h3', 'h4']
  const limits = { 'git-processes': ['2'], 'max-wait': ['20'] }
  const { ask, warm } = sidecar([...hung, 'healthy'], limits)
  for (const name of hung) await warm(name, 'hung')
  await warm('healthy')
  hangs = true
  const all = hung.map((name) => ask('hung', [wantNew(name)], name, 'hung'))
  await sleep(500)
  expect(await ask('good', [wantNew('healthy')], 'healthy')).toBe('stream')
  // They all wait still: it was not behind them.
  expect(await Promise.race([...all, sleep(0, 'they wait')])).toBe('they wait')
  expect(new Set(await Promise.all(all))).not.toContain('stream')
  hangs = false
}, 90_000)
