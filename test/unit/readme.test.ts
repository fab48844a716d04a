/** The README's table of reasons is the closed table, and versions are named once. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { REASONS } from '../../njs/src/git/reasons.ts'
import { SETTINGS } from '../../sidecar/src/commands/check-settings.ts'
import { OPTIONS } from '../../sidecar/src/options.ts'

const root = path.resolve(import.meta.dirname, '../..')
const read = (name: string) => readFileSync(path.join(root, name), 'utf8')

function table(): string {
  const rows = Object.entries(REASONS).map(([name, sentence]) => `| \`${name}\` | ${sentence} |`)
  return ['', '| reason | |', '|---|---|', ...rows, ''].join('\n')
}

test('the README lists each pass reason (UPDATE_README=1 writes them)', () => {
  const readme = read('README.md')
  const pattern = /(<!-- reasons -->)[\s\S]*(<!-- \/reasons -->)/
  expect(readme).toMatch(pattern)
  const written = readme.replace(
    pattern,
    (_, open: string, close: string) => open + table() + close
  )
  if (process.env.UPDATE_README) writeFileSync(path.join(root, 'README.md'), written)
  expect(readme === written || process.env.UPDATE_README === '1').toBe(true)
})

test('the README has each code that is said', () => {
  const dir = path.join(root, 'sidecar/src')
  const sources = readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => read(`sidecar/src/${name}`))
  const codes = new Set(sources.join('').match(/(?<=')GITCACHE_[A-Z_]+(?=')/g))
  expect(codes.size).toBeGreaterThan(15)
  const readme = read('README.md')
  expect([...codes].filter((code) => !readme.includes(`\`${code}\``))).toEqual([])
})

test('the README has the defaults of the options that it lists, each setting of nginx, each metric', () => {
  const readme = read('README.md')
  for (const [name, { default: value }] of Object.entries(
    OPTIONS as Record<string, { default?: string }>
  )) {
    const row = readme.split('\n').find((line) => line.startsWith(`| \`--${name}`))
    if (row !== undefined && value !== undefined) expect(row).toContain(value.replace(/m$/, ' MB'))
  }
  const missing = (names: string[]) => names.filter((name) => !readme.includes(name))
  expect(missing([...SETTINGS.keys()].map((name) => `\`${name}\``))).toEqual([])
  const metrics = read('sidecar/src/metrics.ts').match(/(?<='gitcache_)[a-z_]+(?=')/g) ?? []
  expect(metrics.length).toBeGreaterThan(15)
  expect(missing(metrics)).toEqual([])
})

test('check knows the settings of gitcache-http.conf, and no others', () => {
  const text = read('nginx/gitcache-http.conf')
  const settings = [...text.matchAll(/^map "" (\$gitcache_\w+) /gm)].map(([, name]) => name)
  // The sidecar's address is the upstream block's.
  expect(settings.filter((name) => name !== '$gitcache_sidecar').sort()).toEqual(
    [...SETTINGS.keys()].sort()
  )
})

test('the include files name the version of package.json', () => {
  const { version } = JSON.parse(read('package.json')) as { version: string }
  for (const name of ['gitcache-http.conf', 'gitcache-location.conf']) {
    expect(read(`nginx/${name}`)).toMatch(new RegExp(`^# nginx-git-cache ${version}:`))
  }
})
