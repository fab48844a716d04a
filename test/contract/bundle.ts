/** The contract script as one file for an engine: the bundle of njs/build.mjs, requests put in. */
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { bundleForNjs } from '../../njs/build.mjs'
import { crc32 } from '../../njs/src/git/gzip.ts'
import { keyText } from '../../njs/src/git/key.ts'
import { GOLDEN, GOLDEN_SCOPE } from '../support/cases.ts'
import { RECORDED } from '../support/fixtures.ts'
import { fetchOf } from '../support/wire.ts'

/** Writes the bundle into the directory and gives its path: `core.test.mjs`. */
export async function contractBundle(dir: string): Promise<string> {
  const file = path.join(dir, 'core.test.mjs')
  await bundleForNjs(path.join(import.meta.dirname, 'core.test.entry.ts'), file)
  const code = await readFile(file, 'utf8')
  await writeFile(file, code.replace('@recorded@', recorded()).replace('@golden@', goldenCrcs()))
  return file
}

function recorded(): string {
  return RECORDED.map(
    ({ protocol, body }) => `${protocol} ${Buffer.from(body, 'latin1').toString('hex')}`
  ).join(',')
}

function goldenCrcs(): string {
  return GOLDEN.map(({ body, protocol }) => {
    const text = keyText(fetchOf(body, protocol), GOLDEN_SCOPE)
    return crc32(Buffer.from(text)).toString(16)
  }).join(',')
}
