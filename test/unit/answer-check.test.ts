/** Stored answers that a crash has shortened or changed are found before they are served. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { checkAll, hideAfterBoot, isIntact, showChecked } from '../../sidecar/src/answer-check.ts'
import { openStore, repositoryTag } from '../../sidecar/src/store.ts'
import { git, makeRepository, scratch, tryGit } from '../support/git.ts'
import { prepareLayout } from '../support/layout.ts'

const work = scratch()
afterAll(work.remove)

function uploadPack(format: 'sha1' | 'sha256'): Buffer {
  const dir = path.join(work.dir, `${format}.git`)
  makeRepository(dir, format)
  const main = git(['--git-dir', dir, 'rev-parse', 'main'])
  const lines = [
    'command=fetch',
    `object-format=${format}`,
    '',
    'no-progress',
    `want ${main}`,
    'done',
  ]
  const pkt = (line: string) =>
    line === '' ? '0001' : `${(line.length + 5).toString(16).padStart(4, '0')}${line}\n`
  const input = `${lines.map(pkt).join('')}0000`
  const env = { GIT_PROTOCOL: 'version=2' }
  return tryGit(['upload-pack', '--stateless-rpc', dir], input, env).stdout
}

const ANSWERS = { sha1: uploadPack('sha1'), sha256: uploadPack('sha256') }
const file = path.join(work.dir, 'answer')

test.each(['sha1', 'sha256'] as const)(
  '%s: whole, cut anywhere, changed anywhere',
  async (format) => {
    const answer = ANSWERS[format]
    writeFileSync(file, answer)
    expect(await isIntact(file)).toBe(true)
    const pack = answer.indexOf('PACK')
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: answer.length - 1 }), async (length) => {
        writeFileSync(file, answer.subarray(0, length))
        expect(await isIntact(file)).toBe(false)
      })
    )
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: pack, max: answer.length - 5 }),
        fc.integer({ min: 1, max: 255 }),
        async (at, flip) => {
          const changed = Buffer.from(answer)
          changed[at] = (changed[at] ?? 0) ^ flip
          writeFileSync(file, changed)
          expect(await isIntact(file)).toBe(false)
        }
      )
    )
  }
)

test('no other byte will do for a digit of a length', async () => {
  const answer = ANSWERS.sha256
  const packet = answer.indexOf('PACK') - 5
  for (let digit = 0; digit < 4; digit++) {
    for (let byte = 0; byte < 256; byte++) {
      const changed = Buffer.from(answer)
      changed[packet + digit] = byte
      writeFileSync(file, changed)
      expect(await isIntact(file), `${digit} ${byte}`).toBe(byte === answer[packet + digit])
    }
  }
})

test('after a new start of the machine nginx sees nothing that was not looked at', async () => {
  const dirs = prepareLayout(path.join(work.dir, 'data'))
  const faults: string[] = []
  const note = (code: string) => faults.push(code)
  const key = (n: number) => String(n).repeat(64)
  const put = (n: number, bytes: Buffer) => {
    const shard = path.join(dirs.packs, key(n).slice(0, 2))
    mkdirSync(shard, { recursive: true })
    writeFileSync(path.join(shard, key(n)), bytes)
    writeFileSync(path.join(shard, `${key(n)}.${repositoryTag('/a')}`), '')
  }
  const stored = () =>
    readdirSync(dirs.packs, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !entry.name.includes('.'))
      .map(({ name }) => name)
      .sort()
  await hideAfterBoot(dirs, note)
  put(1, ANSWERS.sha1)
  put(2, ANSWERS.sha1.subarray(0, -10))
  const flipped = Buffer.from(ANSWERS.sha256)
  flipped[flipped.length - 100] = (flipped[flipped.length - 100] ?? 0) ^ 1
  put(3, flipped)
  await hideAfterBoot(dirs, note)
  expect(stored()).toEqual([1, 2, 3].map(key))
  writeFileSync(path.join(dirs.sidecar, 'boot'), 'another')
  await hideAfterBoot(dirs, note)
  expect(stored()).toEqual([])
  await showChecked(dirs, note)
  expect(stored()).toEqual([1, 3].map(key))
  await checkAll(dirs, openStore(dirs), note)
  expect(stored()).toEqual([key(1)])
  expect(faults).toEqual(['GITCACHE_PACK_DAMAGED', 'GITCACHE_PACK_DAMAGED'])
  expect(readFileSync(path.join(dirs.packs, '11', key(1)))).toEqual(ANSWERS.sha1)
})

test('answers that cannot be hidden after a new start of the machine go', async () => {
  const dirs = prepareLayout(path.join(work.dir, 'full'))
  const faults: string[] = []
  const key = '1'.repeat(64)
  mkdirSync(path.join(dirs.packs, '11'))
  writeFileSync(path.join(dirs.packs, '11', key), ANSWERS.sha1)
  writeFileSync(path.join(dirs.sidecar, 'boot'), 'another')
  rmSync(dirs.unchecked, { recursive: true })
  writeFileSync(dirs.unchecked, '')
  await hideAfterBoot(dirs, (code) => faults.push(code))
  expect([readdirSync(dirs.packs), faults]).toEqual([[], ['GITCACHE_STORE']])
})
