/** Whether a repository has objects, read from its files: what git says, or no where files are not as git writes them. */
import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { hasObjects } from '../../sidecar/src/object-lookup.ts'
import { git, makeRepository, scratch } from '../support/git.ts'

const work = scratch()
afterAll(work.remove)

describe.each(['sha1', 'sha256'] as const)('%s', (format) => {
  const loose = path.join(work.dir, `${format}-loose.git`)
  const packed = path.join(work.dir, `${format}-packed.git`)
  makeRepository(loose, format)
  cpSync(loose, packed, { recursive: true })
  // Two packs: what `side` has first, then the rest; and one object that is loose.
  const tip = git(['--git-dir', packed, 'rev-parse', 'side'])
  const first = git(['--git-dir', packed, 'rev-list', '--objects', '--no-object-names', tip])
  const base = path.join(packed, 'objects/pack/pack')
  git(['--git-dir', packed, 'pack-objects', '-q', base], `${first}\n`)
  git(['--git-dir', packed, 'prune-packed', '-q'])
  git(['--git-dir', packed, 'repack', '-q', '-d'])
  const single = git(['--git-dir', packed, 'hash-object', '-w', '--stdin'], 'loose\n')
  const list = ['cat-file', '--batch-all-objects', '--batch-check=%(objectname)']
  const oids = git(['--git-dir', packed, ...list]).split('\n')
  const hex = fc.stringMatching(format === 'sha1' ? /^[0-9a-f]{40}$/ : /^[0-9a-f]{64}$/)

  test('there are two packs, and each object is found, one by one and together', async () => {
    const packs = readdirSync(path.join(packed, 'objects/pack'))
    expect(packs.filter((name) => name.endsWith('.idx')).length).toBe(2)
    for (const oid of oids) expect(await hasObjects(packed, [oid])).toBe(true)
    expect(await hasObjects(packed, oids)).toBe(true)
    expect(oids).toContain(single)
  })

  test('one that is not there is not found, alone or among others', async () => {
    await fc.assert(
      fc.asyncProperty(hex, fc.subarray(oids), async (absent, others) => {
        fc.pre(!oids.includes(absent))
        expect(await hasObjects(packed, [absent])).toBe(false)
        expect(await hasObjects(packed, [...others, absent])).toBe(false)
      })
    )
  })

  test('bytes of two names beside each other are no name', async () => {
    const length = tip.length / 2
    // The second half of the first and the first half of the second: in the same bucket as both.
    const names = [1, 2].map((i) => Buffer.alloc(length, 0xab).fill(i, 1, 2))
    const across = Buffer.concat(names).subarray(length / 2, length / 2 + length)
    const fanout = Buffer.alloc(1024)
    for (let i = 0xab; i < 256; i++) fanout.writeUInt32BE(names.length, i * 4)
    const dir = path.join(work.dir, `${format}-by-hand.git`)
    mkdirSync(path.join(dir, 'objects/pack'), { recursive: true })
    const header = Buffer.from('ff744f6300000002', 'hex')
    const index = Buffer.concat([header, fanout, ...names])
    writeFileSync(path.join(dir, 'objects/pack/pack-1.idx'), index)
    for (const name of names) expect(await hasObjects(dir, [name.toString('hex')])).toBe(true)
    expect(await hasObjects(dir, [across.toString('hex')])).toBe(false)
  })

  test('what a repack takes away while it is looked for is found in the new pack', async () => {
    const repacked = path.join(work.dir, `${format}-repacked.git`)
    cpSync(packed, repacked, { recursive: true })
    const all = [...oids]
    let repacks = 0
    let looks = 0
    const looking = (async () => {
      while (repacks < 5 || looks < 20) {
        expect(await hasObjects(repacked, all)).toBe(true)
        looks += 1
      }
    })()
    for (; repacks < 5; repacks++) {
      const more = git(['--git-dir', repacked, 'hash-object', '-w', '--stdin'], `${repacks}\n`)
      git(['--git-dir', repacked, 'update-ref', `refs/tags/${repacks}`, more])
      await promisify(execFile)('git', ['--git-dir', repacked, 'repack', '-q', '-a', '-d', '-k'])
    }
    await looking
  })

  test('an index that is cut or of another version says no, and never fails', async () => {
    const damaged = path.join(work.dir, `${format}-damaged.git`)
    const dir = path.join(damaged, 'objects/pack')
    cpSync(packed, damaged, { recursive: true })
    const indexes = readdirSync(dir).filter((name) => name.endsWith('.idx'))
    const inPacks = oids.filter((oid) => oid !== single)
    for (const length of [0, 7, 8, 1031]) {
      for (const name of indexes) {
        const whole = readFileSync(path.join(packed, 'objects/pack', name))
        rmSync(path.join(dir, name))
        writeFileSync(path.join(dir, name), whole.subarray(0, length))
      }
      for (const oid of inPacks) expect(await hasObjects(damaged, [oid])).toBe(false)
    }
    expect(await hasObjects(damaged, [single])).toBe(true)
  })

  test('no repository, no objects', async () => {
    expect(await hasObjects(path.join(work.dir, 'absent.git'), [tip])).toBe(false)
    expect(await hasObjects(packed, [])).toBe(true)
  })
})
