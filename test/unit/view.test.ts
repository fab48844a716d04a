/** The view: a git directory with exactly the tags that upstream shows a client. */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeView, tagOids } from '../../sidecar/src/view.ts'
import { git, makeRepository, oidOf, scratch, uploadPack } from '../support/git.ts'
import { oid, oid256, v2With } from '../support/wire.ts'

const work = scratch()
afterAll(work.remove)
let count = 0

async function view(tags: string[], mirror = '/mirror', format: 'sha1' | 'sha256' = 'sha1') {
  const dir = path.join(work.dir, `view-${++count}`)
  await makeView(dir, mirror, tags, format)
  return dir
}

const HEADER = '# pack-refs with: peeled fully-peeled sorted \n'
const read = (dir: string) => readFileSync(path.join(dir, 'packed-refs'))

test.each<[what: string, tags: string[], expected: string]>([
  ['no tags', [], ''],
  ['a tag', [`${oid(1)} refs/tags/v1`], `${oid(1)} refs/tags/v1\n`],
  ['a peeled tag', [`${oid(1)} refs/tags/v1 ${oid(2)}`], `${oid(1)} refs/tags/v1\n^${oid(2)}\n`],
  [
    'sorted by name, not by id',
    [`${oid(1)} refs/tags/b`, `${oid(2)} refs/tags/a ${oid(3)}`],
    `${oid(2)} refs/tags/a\n^${oid(3)}\n${oid(1)} refs/tags/b\n`,
  ],
  [
    'sorted by bytes',
    [
      `${oid(1)} refs/tags/\uff5e`,
      `${oid(2)} refs/tags/😀`,
      `${oid(3)} refs/tags/a-b`,
      `${oid(4)} refs/tags/a/b`,
      `${oid(5)} refs/tags/A`,
    ],
    `${oid(5)} refs/tags/A\n${oid(3)} refs/tags/a-b\n${oid(4)} refs/tags/a/b\n` +
      `${oid(1)} refs/tags/\uff5e\n${oid(2)} refs/tags/😀\n`,
  ],
])('packed-refs with %s', async (_, tags, expected) => {
  expect(read(await view(tags)).toString()).toBe(HEADER + expected)
})

test.each([
  `${oid(1)} refs/tags/../../config`,
  `${oid(1)} refs/tags/a..b`,
  `${oid(1)} refs/heads/main`,
  `${oid(1)} HEAD`,
  `${oid(1)} refs/tags/a\n${oid(2)} refs/heads/main`,
  `${oid(1)} refs/tags/a ${oid(2)}\n${oid(2)} refs/heads/main`,
  `${oid(1)} refs/tags/a ${oid(2)} more`,
  `${oid(1)}\n refs/tags/a`,
  `${oid(10).toUpperCase()} refs/tags/a`,
  'x refs/tags/a',
  `${oid(1)} refs/tags/a x`,
  `${oid(1)}`,
  '',
])('%j is refused', async (line) => {
  await expect(view([line])).rejects.toMatchObject({ reason: 'tag-name' })
})

test('no ref is a file: names come from upstream', async () => {
  const dir = await view([`${oid(1)} refs/tags/v1`])
  expect(readdirSync(path.join(dir, 'refs'))).toEqual([])
  expect(readFileSync(path.join(dir, 'objects/info/alternates'), 'utf8')).toBe('/mirror/objects\n')
})

test('tagOids', () => {
  const lines = [`${oid(1)} refs/tags/a ${oid(2)}`, `${oid256(3)} refs/tags/b`]
  expect(tagOids(lines)).toEqual([oid(1), oid256(3)])
})

describe.each(['sha1', 'sha256'] as const)('git reads it: %s', (format) => {
  const mirror = path.join(work.dir, `${format}.git`)
  beforeAll(() => makeRepository(mirror, format))

  function tags(names: string[]): string[] {
    return names.map((name) => {
      const peeled = oidOf(mirror, `${name}^{}`)
      const tag = oidOf(mirror, `refs/tags/${name}`)
      return tag === peeled ? `${tag} refs/tags/${name}` : `${tag} refs/tags/${name} ${peeled}`
    })
  }

  test('the refs are exactly the tag state', async () => {
    const dir = await view(tags(['light', 'v8']), mirror, format)
    const refs = git(['--git-dir', dir, 'for-each-ref', '--format=%(refname)'])
    expect(refs.split('\n')).toEqual(['refs/tags/light', 'refs/tags/v8'])
    expect(git(['--git-dir', dir, 'rev-parse', 'v8^{}'])).toBe(oidOf(mirror, 'v8^{}'))
  })

  test('include-tag adds these tags and no other', async () => {
    const dir = await view(tags(['v8']), mirror, format)
    const args = [`want ${oidOf(mirror, 'main')}`, 'include-tag', 'no-progress', 'done']
    const body = v2With(['command=fetch', `object-format=${format}`], args)
    const answer = uploadPack(dir, 2, body).toString('latin1')
    const all = uploadPack(mirror, 2, body).toString('latin1')
    expect(answer).toContain('PACK')
    expect(objectCount(all) - objectCount(answer)).toBe(2)
  })
})

/** From the pack's header: `PACK`, version, number of objects. */
function objectCount(answer: string): number {
  const at = answer.indexOf('PACK')
  return Buffer.from(answer.slice(at + 8, at + 12), 'latin1').readUInt32BE()
}
