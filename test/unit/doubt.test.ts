/** What is stored must be the answer to the same request tomorrow: upstreams that give less today. */
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { splitAnswer } from '../../njs/src/git/answer.ts'
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import type { FetchRequest } from '../../njs/src/git/fetch-request.ts'
import { canTell, doubtOf, tagsOf } from '../../sidecar/src/doubt.ts'
import { indexPack, initMirror } from '../../sidecar/src/mirror.ts'
import { packData } from '../../sidecar/src/pack-data.ts'
import { git, makeRepository, oidOf, scratch, uploadPack } from '../support/git.ts'
import { fetchOf, oid, V0, V2, v0, v2 } from '../support/wire.ts'

const work = scratch()
afterAll(work.remove)
const whole = path.join(work.dir, 'whole.git')
/** Three commits deep, and thirteen. */
const shallow = path.join(work.dir, 'shallow.git')
const deep = path.join(work.dir, 'deep.git')

beforeAll(() => {
  makeRepository(whole)
  for (const [dir, depth] of [
    [shallow, 3],
    [deep, 20],
  ] as const) {
    const options = ['--bare', '-q', '--no-local', `--depth=${depth}`, '--no-single-branch']
    git(['clone', ...options, `file://${whole}`, dir])
    git(['--git-dir', dir, 'config', 'uploadpack.allowFilter', 'true'])
  }
})

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
}

let serial = 0

/** Of the answer that this upstream gives, indexed as the cache does. */
async function doubt(upstream: string, request: FetchRequest, tags: string[] = []) {
  const answer = uploadPack(upstream, request.family, writeCanonicalRequest(request))
  const { state, push } = splitAnswer(request.family)
  push(answer)
  expect(state.complete).toBe(true)
  serial += 1
  const dir = path.join(work.dir, `indexed-${serial}.git`)
  expect(await initMirror('sha1', dir)).toBe(true)
  expect(await indexPack(dir, packData(once(answer)), { whole: false, idle: false })).toBe('sound')
  return doubtOf(dir, request, tags, state.shallows, false)
}

const main = () => `want ${oidOf(whole, 'main')}`
const two = (...args: string[]) => fetchOf(v2([main(), ...args, 'done']), V2)
const zero = (...args: string[]) => fetchOf(v0([`${main()} side-band-64k filter`, ...args]), V0)

/** What a shallow upstream can still answer as any other does, and what it cannot. */
const TABLE: [what: string, request: () => FetchRequest, least: number][] = [
  ['v2, depth 1', () => two('deepen 1'), 1],
  ['v2, depth 2', () => two('deepen 2'), 2],
  ['v2, depth 3', () => two('deepen 3'), 3],
  ['v2, depth 4', () => two('deepen 4'), 4],
  ['v2, all depths', () => two('deepen 2147483647'), 99],
  ['v2, a tag', () => fetchOf(v2([`want ${oidOf(whole, 'v12')}`, 'deepen 4', 'done']), V2), 4],
  ['v2, a tree', () => fetchOf(v2([`want ${oidOf(whole, 'main^{tree}')}`, 'done']), V2), 0],
  ['v0, depth 2', () => zero('deepen 2'), 2],
  ['v0, depth 4', () => zero('deepen 4'), 4],
  ['v0, without blobs', () => zero('filter blob:none'), 99],
]

test.each(TABLE)('%s', async (_, request, least) => {
  expect(await doubt(whole, request())).toBeNull()
  expect(await doubt(deep, request())).toBeNull()
  expect(await doubt(shallow, request())).toBe(least > 3 ? 'shallow' : null)
})

test('without commits nobody could tell how deep they are', () => {
  const trees = 'filter object:type=tree'
  expect(canTell(two(trees, 'deepen 2'))).toBe(false)
  expect(canTell(zero(trees))).toBe(false)
  expect(canTell(zero('filter blob:none'))).toBe(true)
  expect(canTell(two(trees, 'deepen 1'))).toBe(true)
  // A boundary would be said.
  expect(canTell(two(trees))).toBe(true)
})

test('two branches that meet: the nearer one counts', async () => {
  const request = fetchOf(v2([main(), `want ${oidOf(whole, 'side')}`, 'deepen 7', 'done']), V2)
  expect(await doubt(whole, request)).toBeNull()
  expect(await doubt(shallow, request)).toBe('shallow')
})

/** A line of the tag state. */
const tag = (name: string) =>
  `${oidOf(whole, name)} refs/tags/${name} ${oidOf(whole, `${name}^{commit}`)}`

test('a tag of the tag state whose commit is there, and which is not', async () => {
  const tags = [tag('v12'), tag('v8'), `${oidOf(whole, 'light')} refs/tags/light`]
  expect(await doubt(whole, two('include-tag', 'deepen 2'), tags)).toBeNull()
  expect(await doubt(whole, two('deepen 2'), tags)).toBe('tags')
  // v8's commit is not among these.
  expect(await doubt(whole, two('deepen 2'), tags.slice(1))).toBeNull()
  expect(await doubt(whole, two('deepen 6'), tags.slice(1))).toBe('tags')
})

test('annotated tags of wants are looked for among the first objects', () => {
  const tags = [`${oid(1)} refs/tags/a ${oid(2)}`, `${oid(3)} refs/tags/b ${oid(4)}`]
  expect(tagsOf([oid(4), oid(1)], [...tags, `${oid(4)} refs/tags/light`])).toEqual([oid(3)])
})
