/** What an answer of upload-pack holds: its sections, and the ids of the objects in its pack. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { readPkts } from '../../njs/src/git/pkt-line.ts'
import { git } from './git.ts'

export interface Answer {
  /** Packets outside of the bands, sorted; which haves are named in ACKs depends on their order. */
  lines: string[]
  pack: Buffer | null
}

export function readAnswer(bytes: Buffer): Answer {
  const pkts = readPkts(bytes.toString('latin1'), Infinity, 'body')
  if (pkts === null) {
    throw new Error(`not pkt-lines: ${bytes.toString('latin1').slice(0, 200)}`)
  }
  const texts = pkts.map((pkt) => (typeof pkt === 'string' ? pkt : `special ${pkt}`))
  const pack = texts.filter((text) => text.startsWith('\x01')).map((text) => text.slice(1))
  const outside = texts.filter((text) => !/^[\x01\x02]/.test(text))
  const lines = outside.map((text) => text.replace(/^ACK .*/s, 'ACK'))
  return {
    lines: [...new Set(lines)].sort(),
    pack: pack.length === 0 ? null : Buffer.from(pack.join(''), 'latin1'),
  }
}

/** Ids of a pack's own objects; a thin one is completed from `objects`, behind its own. */
export function objectsIn(pack: Buffer, work: string, objects: string): string[] {
  const env = { GIT_ALTERNATE_OBJECT_DIRECTORIES: objects }
  const [, name] = git(['--git-dir', work, 'index-pack', '--stdin', '--fix-thin'], pack, env).split(
    '\t'
  )
  const index = path.join(work, 'objects/pack', `pack-${name}.idx`)
  const rows = git(['--git-dir', work, 'show-index', '--object-format=sha1'], readFileSync(index))
    .split('\n')
    .map((row) => row.split(' '))
    .sort((a, b) => Number(a[0]) - Number(b[0]))
  return rows
    .slice(0, pack.readUInt32BE(8))
    .map(([, oid]) => oid as string)
    .sort()
}
