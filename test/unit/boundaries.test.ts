/** Who may import what, read from the sources. */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { REASONS } from '../../njs/src/git/reasons.ts'

const root = path.join(import.meta.dirname, '../..')

/** Path from the root, and the source without comments. */
function sources(dir: string): [file: string, code: string][] {
  return readdirSync(path.join(root, dir), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => [path.join(dir, name), withoutComments(path.join(root, dir, name))])
}

function withoutComments(file: string): string {
  return readFileSync(file, 'utf8')
    .replace(/\/\*\*?[\s\S]*?\*\//g, '')
    .replace(/(^|\s)\/\/.*$/gm, '')
}

function imports(code: string): string[] {
  return [...code.matchAll(/(?:from|import|import\() ?'([^']+)'/g)].map(
    ([, from]) => from as string
  )
}

function filesWhere(files: [string, string][], holds: (code: string) => boolean): string[] {
  return files.filter(([, code]) => holds(code)).map(([file]) => file)
}

const core = sources('njs/src/git')
const njs = sources('njs/src')
const sidecar = sources('sidecar/src')

test('there is something to look at', () => {
  expect(core.length).toBeGreaterThan(10)
  expect(njs.length).toBeGreaterThan(core.length)
  expect(sidecar.length).toBeGreaterThan(10)
})

describe.each(core)('%s is pure', (_, code) => {
  test('it imports its neighbours alone', () => {
    expect(imports(code).filter((from) => !/^\.\/[a-z0-9-]+\.ts$/.test(from))).toEqual([])
  })

  test('it names nothing of a runtime', () => {
    const names = /\b(ngx|njs|process|Buffer|Deno|require|globalThis|fetch\(|console|setTimeout)\b/
    expect(names.exec(code.replaceAll(/'[^']*'/g, "''"))?.[0] ?? null).toBeNull()
  })
})

describe('njs', () => {
  test('the module imports crypto and fs of what is not its own', () => {
    const foreign = njs.flatMap(([, code]) => imports(code).filter((from) => !from.startsWith('.')))
    expect([...new Set(foreign)].sort()).toEqual(['crypto', 'fs'])
  })

  test('nothing of the sidecar is in it', () => {
    expect(filesWhere(njs, (code) => /sidecar\//.test(imports(code).join(' ')))).toEqual([])
  })

  test('nothing outside of nginx/ touches r', () => {
    const touching = filesWhere(njs, (code) => /\br\./.test(code))
    expect(touching.length).toBeGreaterThan(3)
    expect(touching.filter((file) => !file.startsWith('njs/src/nginx/'))).toEqual([])
  })
})

describe('sidecar', () => {
  test('only git.ts and the commands spawn', () => {
    const spawning = filesWhere(sidecar, (code) => imports(code).includes('node:child_process'))
    const allowed = /^sidecar\/src\/(git|commands\/[a-z-]+)\.ts$/
    expect(spawning).toContain('sidecar/src/git.ts')
    expect(spawning.filter((file) => !allowed.test(file))).toEqual([])
  })

  test('nobody but git.ts runs git', () => {
    const running = filesWhere(sidecar, (code) =>
      /(spawn|spawnSync|execFile|execFileSync|fork)\(\s*\[?'git'/.test(code)
    )
    expect(running.filter((file) => file !== 'sidecar/src/git.ts')).toEqual([])
  })

  test('of njs it takes the core alone', () => {
    const taken = sidecar.flatMap(([, code]) =>
      imports(code).filter((from) => from.includes('/njs/'))
    )
    expect(taken.length).toBeGreaterThan(0)
    expect(taken.filter((from) => !/\/njs\/src\/git\/[a-z0-9-]+\.ts$/.test(from))).toEqual([])
  })

  test('built-in modules are named as such', () => {
    const bare = sidecar.flatMap(([, code]) =>
      imports(code).filter((from) => /^(fs|path|http|net|os|crypto|util|zlib|stream)$/.test(from))
    )
    expect(bare).toEqual([])
  })
})

describe('reasons', () => {
  const using = [...njs, ...sidecar].filter(([file]) => !file.endsWith('/reasons.ts'))
  const text = using.map(([, code]) => code).join('\n')

  test.each(Object.keys(REASONS))('%s is given somewhere', (reason) => {
    expect(text.includes(`'${reason}'`)).toBe(true)
  })

  test('every reason that is given is in the table', () => {
    const given = [...text.matchAll(/\b(?:pass|passed|Pass)\(\s*'([^']+)'/g)].map(
      ([, name]) => name
    )
    expect(given.length).toBeGreaterThan(20)
    expect(given.filter((name) => !Object.hasOwn(REASONS, name as string))).toEqual([])
  })

  test('each is a name for a label and has a sentence', () => {
    for (const [name, sentence] of Object.entries(REASONS)) {
      expect(name).toMatch(/^[a-z0-9-]{1,30}$/)
      expect(sentence).toMatch(/\.$/)
    }
  })
})
