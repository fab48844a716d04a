/** Which of a client's headers go on, and how git gets them. */
import type { IncomingHttpHeaders } from 'node:http'
import { describe, expect, test } from 'vitest'
import { forwardedHeaders, gitEnvironment } from '../../sidecar/src/credentials.ts'
import type { Upstream } from '../../sidecar/src/upstreams.ts'
import { git } from '../support/git.ts'

const UPSTREAM: Upstream = { name: 'http://forge:3000', url: 'https://git.example.org/git' }

function names(headers: IncomingHttpHeaders): string[] {
  return forwardedHeaders(headers, UPSTREAM).map(([name]) => name)
}

test.each([
  'authorization',
  'cookie',
  'x-forwarded-for',
  'x-real-ip',
  'x-custom-auth',
  'private-token',
  'via',
  'accept',
  'accept-language',
  'user-agent',
  'pragma',
  'cache-control',
])('%s goes on', (name) => {
  expect(names({ [name]: 'x' })).toEqual([name, 'host'])
})

test.each([
  'content-length',
  'content-type',
  'content-encoding',
  'transfer-encoding',
  'accept-encoding',
  'expect',
  'range',
  'if-none-match',
  'if-modified-since',
  'te',
  'trailer',
  'connection',
  'keep-alive',
  'upgrade',
  'proxy-connection',
  'git-protocol',
])('%s stays', (name) => {
  expect(names({ [name]: 'x' })).toEqual(['host'])
})

test('names that only begin or end like those go on', () => {
  const headers = {
    'x-accept': '1',
    'x-range': '2',
    ranger: '3',
    'te-st': '4',
    'user-agent-x': '5',
  }
  expect(names(headers)).toEqual([...Object.keys(headers), 'host'])
})

test('each of several values', () => {
  expect(forwardedHeaders({ 'set-cookie': ['a', 'b'] }, UPSTREAM).slice(0, 2)).toEqual([
    ['set-cookie', 'a'],
    ['set-cookie', 'b'],
  ])
})

test.each([
  ["the operator's", 'git.example.org', 'git.example.org'],
  ['none', undefined, 'forge:3000'],
  ["nginx's name of the sidecar", 'gitcache_sidecar', 'forge:3000'],
])('Host: %s', (_, host, expected) => {
  const headers = host === undefined ? {} : { host }
  expect(forwardedHeaders(headers, UPSTREAM)).toEqual([['host', expected]])
})

describe('as git gets them', () => {
  const authorization = 'Basic dXNlcjpwYXNz'
  const gits = { accept: '*/*', 'accept-language': 'de', 'user-agent': 'x', pragma: 'no-cache' }
  const headers = { authorization, ...gits, 'x-a': 'b=c: "d"', 'cache-control': 'no-cache' }
  const forwarded = forwardedHeaders(headers, UPSTREAM)
  const files = { caFile: '/ca', clientCert: '/cert', clientKey: '/key' }
  const env = gitEnvironment(forwarded, { ...UPSTREAM, ...files, proxy: 'http://p:3128' })

  test('by the environment, without what git says itself', () => {
    expect(env.GIT_CONFIG_COUNT).toBe('7')
    expect(git(['config', '--get-all', `http.${UPSTREAM.url}.extraHeader`], '', env)).toBe(
      `authorization: ${authorization}\nx-a: b=c: "d"\nhost: forge:3000`
    )
  })

  test('in the bytes in which they came', () => {
    const name = Buffer.from('josé').toString('latin1')
    const user = gitEnvironment([['x-user', name]], UPSTREAM)
    expect(git(['config', '--get', `http.${UPSTREAM.url}.extraHeader`], '', user)).toBe(
      'x-user: josé'
    )
    expect(() => gitEnvironment([['x-user', 'jos\xe9']], UPSTREAM)).toThrow('no UTF-8')
  })

  test.each([
    ['http.sslCAInfo', '/ca'],
    ['http.sslCert', '/cert'],
    ['http.sslKey', '/key'],
    ['http.proxy', 'http://p:3128'],
  ])('%s', (name, value) => {
    expect(git(['config', '--get', name], '', env)).toBe(value)
  })

  test('for this upstream alone', () => {
    const match = (url: string) => git(['config', '--get-urlmatch', 'http', url], '', env)
    expect(match('https://git.example.org/git/group/x')).toContain('extraheader')
    expect(match('https://git.example.org/other')).not.toContain('extraheader')
    expect(match('https://git.example.com/git/x')).not.toContain('extraheader')
    expect(match('http://git.example.org/git/x')).not.toContain('extraheader')
  })

  test('no proxy where none is set, whatever the machine says', () => {
    const plain = gitEnvironment([], UPSTREAM)
    expect(plain).toEqual({
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'http.proxy',
      GIT_CONFIG_VALUE_0: '',
    })
  })
})
