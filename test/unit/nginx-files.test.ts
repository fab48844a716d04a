/** The include files: what must hold for each location, whoever adds the next. */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'

const read = (name: string) =>
  readFileSync(path.join(import.meta.dirname, '../../nginx', name), 'utf8')
const LOCATION = read('gitcache-location.conf')
const HTTP = read('gitcache-http.conf')

/** Pattern and directives of each location. */
const locations = [...LOCATION.matchAll(/^location ~ (\S+) \{\n(.*?)^\}/gms)].map(
  ([, pattern = '', text = '']) => ({
    pattern,
    directives: text
      .replace(/(^|\s)#.*$/gm, '')
      .split(/[;\n]+/)
      .map((line) => line.trim())
      .filter(Boolean),
  })
)
const internal = locations.filter(({ pattern }) => pattern.includes('_gitcache'))

test('there is something to look at', () => {
  expect(locations.length).toBe(LOCATION.match(/^location /gm)?.length)
  expect(internal.length).toBeGreaterThan(8)
})

describe.each(internal)('$pattern', ({ directives }) => {
  test('no client reaches it', () => {
    expect(directives.slice(0, 2)).toEqual(['internal', 'if ($gitcache_base = "") { return 404'])
  })

  test("what is asked under a client's credentials is in no cache of the operator's", () => {
    const asks = directives.some((line) => line.startsWith('proxy_pass'))
    const kept = ['proxy_cache off', 'proxy_store off'].filter((line) => directives.includes(line))
    expect(kept).toHaveLength(asks ? 2 : 0)
  })

  test("what comes from upstream cannot name another of nginx's own", () => {
    const asksUpstream = directives.some((line) =>
      /^proxy_pass \$gitcache(_refs)?_target/.test(line)
    )
    const ignored = directives.filter((line) => line.startsWith('proxy_ignore_headers'))
    expect(ignored.join().includes('X-Accel-Redirect')).toBe(asksUpstream)
  })
})

test('no location sets a request header: it would take all of the operator away', () => {
  expect(LOCATION).not.toMatch(/^\s*(proxy_set_header|more_set_input_headers)/m)
})

test('each variable that the module writes is declared', () => {
  const dir = path.join(import.meta.dirname, '../../njs/src/nginx')
  const sources = readdirSync(dir).map((name) => readFileSync(path.join(dir, name), 'utf8'))
  const written = [...sources.join('\n').matchAll(/variables\['(\w+)'\] = /g)].map(
    ([, name]) => name
  )
  expect(written.length).toBeGreaterThan(5)
  const missing = written.filter((name) => !HTTP.includes(`js_var $${name} `))
  expect(missing).toEqual([])
})
