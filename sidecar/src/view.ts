/**
 * A view: a throw-away git directory whose refs are exactly the tag state and whose objects are the
 * mirror's. upload-pack with include-tag then adds the tags that upstream shows this client, and no
 * other. Source: gitrepository-layout(5), `objects/info/alternates`; git's packed-refs.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { ObjectFormat } from '../../njs/src/git/fetch-request.ts'
import { isTagName } from '../../njs/src/git/tag-state.ts'
import { Pass } from './protocol.ts'

interface Tag {
  oid: string
  name: Buffer
  peeled: string | undefined
}

export async function makeView(
  dir: string,
  mirror: string,
  tags: string[],
  format: ObjectFormat
): Promise<void> {
  await mkdir(path.join(dir, 'objects', 'info'), { recursive: true })
  await mkdir(path.join(dir, 'refs'))
  const write = (name: string, text: string | Buffer) => writeFile(path.join(dir, name), text)
  await Promise.all([
    write('objects/info/alternates', `${path.join(mirror, 'objects')}\n`),
    write('HEAD', 'ref: refs/heads/none\n'),
    write('config', viewConfig(format)),
    write('packed-refs', packedRefs(tags)),
  ])
}

function viewConfig(format: ObjectFormat): string {
  return format === 'sha1'
    ? '[core]\n\trepositoryformatversion = 0\n\tbare = true\n'
    : '[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectformat = sha256\n'
}

/** One sorted file with peeled lines, never loose files: tag names come from upstream. */
function packedRefs(lines: string[]): Buffer {
  const tags = lines.map(parseTag).sort((a, b) => Buffer.compare(a.name, b.name))
  const body = tags.flatMap((tag) => [
    Buffer.from(`${tag.oid} `),
    tag.name,
    Buffer.from(tag.peeled === undefined ? '\n' : `\n^${tag.peeled}\n`),
  ])
  return Buffer.concat([Buffer.from('# pack-refs with: peeled fully-peeled sorted \n'), ...body])
}

function parseTag(line: string): Tag {
  const [oid = '', name = '', peeled, more] = line.split(' ')
  const hex = /^[0-9a-f]{40,64}$/
  if (!hex.test(oid) || !isTagName(name) || more || (peeled !== undefined && !hex.test(peeled))) {
    throw new Pass('tag-name')
  }
  return { oid, name: Buffer.from(name), peeled }
}

export function tagOids(lines: string[]): string[] {
  return lines.map((line) => line.slice(0, line.indexOf(' ')))
}
