/** What is stored is whole, belongs to a repository, and goes when that is purged: also what is on its way. */
import { existsSync, mkdirSync, readdirSync, renameSync } from 'node:fs'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { openStore, type Store } from '../../sidecar/src/store.ts'
import { scratch } from '../support/git.ts'
import { prepareLayout } from '../support/layout.ts'

const work = scratch()
afterAll(work.remove)
const dirs = prepareLayout(work.dir)

function key(n: number): string {
  return n.toString(16).padStart(64, '0')
}

async function put(store: Store, repository: string, n: number) {
  const spool = await store.create(repository)
  await spool.handle.write(`answer ${n}`)
  return { commit: () => spool.commit(key(n)), close: () => spool.handle.close() }
}

function files(n: number): string[] {
  const shard = path.join(dirs.packs, key(n).slice(0, 2))
  return existsSync(shard) ? readdirSync(shard).filter((name) => name.startsWith(key(n))) : []
}

test('purge takes all answers of a repository and none of another', async () => {
  const store = openStore(dirs)
  for (const [repository, n] of [
    ['/a', 1],
    ['/a', 2],
    ['/a/b', 3],
  ] as const) {
    const answer = await put(store, repository, n)
    await answer.commit()
    await answer.close()
  }
  expect(await store.purge('/a')).toBe(2)
  expect([1, 2, 3].map((n) => files(n).length)).toEqual([0, 0, 2])
  expect([await store.has(key(1)), await store.has(key(3))]).toEqual([false, true])
})

test('what is being made while its repository is purged is not stored', async () => {
  const store = openStore(dirs)
  const answer = await put(store, '/c', 4)
  expect(await store.purge('/c')).toBe(0)
  await answer.commit()
  await answer.close()
  expect(files(4)).toEqual([])
  expect(readdirSync(dirs.tmp)).toEqual([])
})

test('what is being stored at that moment is purged', async () => {
  const store = openStore(dirs)
  const answers = await Promise.all([5, 6, 7, 8].map((n) => put(store, '/d', n)))
  const commits = answers.map(({ commit }) => commit())
  await Promise.resolve()
  await store.purge('/d')
  await Promise.all(commits)
  expect([5, 6, 7, 8].flatMap(files)).toEqual([])
  for (const { close } of answers) await close()
})

test('what waits to be looked at after a crash is purged as well', async () => {
  const store = openStore(dirs)
  const answer = await put(store, '/e', 9)
  await answer.commit()
  await answer.close()
  const shard = key(9).slice(0, 2)
  mkdirSync(path.join(dirs.unchecked, shard), { recursive: true })
  for (const name of files(9)) {
    renameSync(path.join(dirs.packs, shard, name), path.join(dirs.unchecked, shard, name))
  }
  expect(await store.purge('/e')).toBe(1)
  expect(readdirSync(path.join(dirs.unchecked, shard))).toEqual([])
})
