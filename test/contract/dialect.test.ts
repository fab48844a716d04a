/** What njs 0.7.9 cannot run is refused when the module is built, with file and line. */
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { bundleForNjs, NJS_OPTIONS } from '../../njs/build.mjs'
import { scratch } from '../support/git.ts'

// What is refused is read here and need not be printed.
NJS_OPTIONS.logLevel = 'silent'

const work = scratch()
afterAll(work.remove)
let count = 0

interface Refusal {
  text: string
  location: { file: string; line: number } | null
}

/** Builds two harmless lines and then this; gives what was refused, each with file and line. */
async function refusals(code: string): Promise<string[]> {
  const entry = path.join(work.dir, `entry-${++count}.ts`)
  await writeFile(entry, `declare const a: any\ndeclare const b: any\n${code}\n`)
  try {
    await bundleForNjs(entry, path.join(work.dir, 'out.js'))
    return []
  } catch (error) {
    const { errors } = error as { errors: Refusal[] }
    return errors.map(({ text, location }) =>
      location === null ? text : `${location.file}:${location.line}: ${text}`
    )
  }
}

describe('refused with file and line', () => {
  test.each<[what: string, code: string]>([
    ['class', 'export class X {}'],
    ['class expression', 'export const x = class {}'],
    ['destructuring of objects', 'export const { x } = a'],
    ['destructuring of arrays', 'export const [x] = a'],
    ['destructuring of parameters', 'export const x = ({ y }) => y'],
    ['spread in arrays', 'export const x = [...a]'],
    ['spread in calls', 'export const x = a(...b)'],
    ['spread in new', 'export const x = new a(...b)'],
    ['rest parameters', 'export const x = (...y) => y'],
    ['default parameters', 'export const x = (y = 1) => y'],
    ['for-of', 'for (const x of a) b(x)'],
    ['generators', 'export function* x() {}'],
    ['BigInt', 'export const x = 10n'],
    ['BigInt in an expression', 'export const x = a + 1n * b'],
    ['named import of fs', "import { readFileSync } from 'fs'\nexport const x = readFileSync"],
    ['named import of crypto', "import { createHash } from 'crypto'\nexport const x = createHash"],
    ['star import of fs', "import * as fs from 'fs'\nexport const x = fs"],
    [
      'default and named import',
      "import fs, { readFileSync } from 'fs'\nexport const x = [fs, readFileSync]",
    ],
    [
      'named import over lines',
      "import {\n  readFileSync,\n} from 'fs'\nexport const x = readFileSync",
    ],
    ['await as an argument', 'export const x = async () => a(await b())'],
    ['await as the second argument', 'export const x = async () => a(1, await b())'],
    ['await as an argument in a statement', 'export const x = async () => {\n  a(await b())\n}'],
    ['await over lines', 'export const x = async () =>\n  a(\n    await b(),\n    1\n  )'],
    ['await in an argument', 'export const x = async () => a(1 + (await b()))'],
    ['Array.from', 'export const x = Array.from(a)'],
    ['flat', 'export const x = a.flat()'],
    ['flatMap', 'export const x = a.flatMap(b)'],
    ['at', 'export const x = a.at(-1)'],
    ['replaceAll', "export const x = a.replaceAll('x', 'y')"],
    ['matchAll', 'export const x = a.matchAll(b)'],
    ['Map', 'export const x = () => new Map()'],
    ['Set', 'export const x = () => new Set(a)'],
    ['regular expression flag s', 'export const x = /a.b/s.test(a)'],
    ['regular expression flag u', 'export const x = /a.b/u.exec(a)'],
    ['regular expression flag u, kept', 'export const x = /a.b/u'],
  ])('%s', async (_, code) => {
    const refused = await refusals(code)
    expect(refused.length).toBeGreaterThan(0)
    expect(refused[0]).toMatch(/entry-\d+\.ts:[3-9]:/)
  })
})

describe('taken', () => {
  test.each<[what: string, code: string]>([
    ['arrows and templates', 'export default (x) => `x`'],
    ['optional chaining, which is lowered', 'export default a?.b ?? 1'],
    ['a default import', "import fs from 'fs'\nexport default fs"],
    ['await of a call', 'export default async () => {\n  const x = await a(b)\n  return x\n}'],
    ['await in a condition', 'export default async () => {\n  if (await a(b)) b()\n}'],
    ['await in a return', 'export default async () => {\n  return await a(1, b)\n}'],
    ['what is only in a comment', '// Array.from, 10n\n/* x */\nexport default 1'],
  ])('%s', async (_, code) => {
    expect(await refusals(code)).toEqual([])
  })
})

test('the export is one that njs before 0.7.12 reads', async () => {
  const entry = path.join(work.dir, 'export.ts')
  const out = path.join(work.dir, 'deep/er/out.js')
  await writeFile(entry, 'function x() {}\nexport default { x }\n')
  await bundleForNjs(entry, out)
  const code = await readFile(out, 'utf8')
  expect(code).toMatch(/^export default \w+;$/m)
  expect(code).not.toContain('export {')
})

/** Each subrequest would make every function of a bundle's top level anew. */
test('what only requests need is made where one is read', async () => {
  const root = path.resolve(import.meta.dirname, '../..')
  const out = path.join(work.dir, 'gitcache.js')
  await bundleForNjs(path.join(root, 'njs/src/main.ts'), out)
  const code = await readFile(out, 'utf8')
  expect(code).toMatch(/^ +function parseFetchRequest\w*\(/m)
  expect(code).not.toMatch(/^function parseFetchRequest/m)
  expect(code.match(/^(async )?function /gm)?.length).toBeLessThan(50)
  // The runtime's own modules cannot be imported from inside a function.
  expect(code).not.toMatch(/^ +import /m)
  // The same bundle wherever it is built.
  expect(code).not.toContain(root)
})
