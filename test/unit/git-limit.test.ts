/** The queue for git: how many run, who is next, and who is turned away. */
import { expect, test } from 'vitest'
import { gitLimit } from '../../sidecar/src/git-limit.ts'

/** Work that ends when told to, and the order in which it began. */
function jobs(limit: ReturnType<typeof gitLimit>) {
  const begun: string[] = []
  const ends: (() => void)[] = []
  const add = (turn: string, name: string) =>
    limit(turn, () => {
      begun.push(name)
      return new Promise<void>((resolve) => ends.push(resolve))
    })
  const end = async () => {
    ends.shift()?.()
    await new Promise((resolve) => setTimeout(resolve, 0))
  }
  return { begun, add, end }
}

test('repositories take turns, and each is served in order', async () => {
  const { begun, add, end } = jobs(gitLimit(1, 10))
  for (const name of ['a1', 'a2', 'a3', 'b1', 'c1', 'b2']) add(name[0] as string, name)
  for (let i = 0; i < 6; i++) await end()
  expect(begun).toEqual(['a1', 'a2', 'b1', 'c1', 'a3', 'b2'])
})

test('no more run at once than may', async () => {
  const { begun, add, end } = jobs(gitLimit(2, 10))
  for (const name of ['a', 'b', 'c', 'd']) add(name, name)
  await new Promise((resolve) => setTimeout(resolve, 0))
  expect(begun).toEqual(['a', 'b'])
  await end()
  expect(begun).toEqual(['a', 'b', 'c'])
})

test('who finds the queue full is passed', async () => {
  const { begun, add, end } = jobs(gitLimit(1, 2))
  const waiting = ['a1', 'a2', 'a3'].map((name) => add('a', name))
  await expect(add('a', 'a4')).rejects.toMatchObject({ reason: 'busy' })
  // Another repository's first may wait all the same, within a bound.
  for (const name of ['b', 'c']) waiting.push(add(name, name))
  await expect(add('b', 'b2')).rejects.toMatchObject({ reason: 'busy' })
  await expect(add('d', 'd')).rejects.toMatchObject({ reason: 'busy' })
  for (let i = 0; i < 5; i++) await end()
  await Promise.all(waiting)
  expect(begun).toEqual(['a1', 'a2', 'b', 'c', 'a3'])
})

test('a failure makes room as well', async () => {
  const limit = gitLimit(1, 1)
  await expect(limit('a', () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(await limit('a', async () => 1)).toBe(1)
})

/** Looks that end when told to. */
function looks(limit: ReturnType<typeof gitLimit>) {
  const begun: string[] = []
  const ends: (() => void)[] = []
  const add = (turn: string) =>
    limit.look(turn, () => {
      begun.push(turn)
      return new Promise<void>((resolve) => ends.push(resolve))
    })
  return { begun, add, end: () => ends.shift()?.() }
}

const soon = () => new Promise((resolve) => setTimeout(resolve, 0))

test('looks wait for no pack, and no more of them run at once than packs may', async () => {
  const limit = gitLimit(2, 0)
  const { begun, add, end } = jobs(limit)
  for (const name of ['a', 'b']) add(name, name)
  const { begun: looked, add: look, end: endLook } = looks(limit)
  const all = ['a', 'b', 'c'].map(look)
  await soon()
  expect([begun, looked]).toEqual([
    ['a', 'b'],
    ['a', 'b'],
  ])
  for (let i = 0; i < 3; i++) {
    endLook()
    await soon()
  }
  await Promise.all(all)
  for (let i = 0; i < 2; i++) await end()
})

test('looks at one mirror that hang leave room for those at others', async () => {
  const { begun, add, end } = looks(gitLimit(2, 0))
  const all = ['hangs', 'hangs', 'hangs', 'other'].map(add)
  await soon()
  expect(begun).toEqual(['hangs', 'other'])
  for (let i = 0; i < 4; i++) {
    end()
    await soon()
  }
  await Promise.all(all)
})
