/**
 * What passes, passes as if the cache were not there: upstream receives the same bytes, and the
 * client too, headers included. Upstream's port 82 tells what arrived.
 */
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type Operator,
  put,
  type Question,
  type Reply,
  type Site,
  startOperator,
  stopOperator,
} from '../support/operator.ts'
import { must, stack } from '../support/servers.ts'
import { onEachNginx } from '../support/versions.ts'
import { fetchV2 } from '../support/wire.ts'

const NAME = 'bytes'
const PORT = 9120

const HEADERS = `
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Remote-User "";`

const UPSTREAM_IP = 'UPSTREAM-IP'

const SITES: Site[] = [
  { name: 'named', upstream: 'http://echo' },
  { name: 'literal', upstream: `http://${UPSTREAM_IP}:82` },
  { name: 'headers', upstream: 'http://echo', location: HEADERS },
  {
    name: 'unbuffered',
    upstream: 'http://echo',
    location: `${HEADERS}\n      proxy_request_buffering off; proxy_buffering off; client_max_body_size 0;`,
  },
  {
    name: 'prefix',
    upstream: 'http://echo',
    prefix: '/git/',
    proxyPath: '/pub/',
    settings: 'set $gitcache_prefix /git; set $gitcache_upstream_prefix /pub;',
  },
  { name: 'rewritten', upstream: 'http://echo', server: 'rewrite ^/git/(.*)$ /moved/$1;' },
  {
    name: 'rewritten-prefix',
    upstream: 'http://echo',
    server: 'rewrite ^/git/(.*)$ /moved/$1;',
    prefix: '/moved/',
    proxyPath: '/pub/',
    settings: 'set $gitcache_prefix /moved; set $gitcache_upstream_prefix /pub;',
  },
  // The settings are the server's, and another location's.
  {
    name: 'elsewhere',
    upstream: 'http://echo',
    settings: 'set $gitcache_prefix /gi; set $gitcache_upstream_prefix /pub;',
  },
  {
    name: 'moved',
    upstream: 'http://echo',
    proxyPath: '/pub/',
    settings: 'set $gitcache_upstream_prefix /pub;',
  },
]

const REPO = '/git/some/repo.git'
const V2 = 'Git-Protocol: version=2'
const FETCH = 'Content-Type: application/x-git-upload-pack-request'
const OID = '0123456789012345678901234567890123456789'
const LS_REFS = '0014command=ls-refs\n0001001bref-prefix refs/heads/\n0000'
const unknownLine = fetchV2('no-such-argument', `want ${OID}`, 'done')
const clone = fetchV2('ofs-delta', `want ${OID}`, 'done')
const post = (name: string, body: string | Buffer, ...headers: string[]): Question => ({
  name,
  path: `${REPO}/git-upload-pack`,
  headers: [V2, FETCH, 'Accept: application/x-git-upload-pack-result', ...headers],
  body,
})
const push = { path: `${REPO}/git-receive-pack`, body: `0000PACK${'x'.repeat(40_000)}` }
const pushType = 'Content-Type: application/x-git-receive-pack-request'

const QUESTIONS: Question[] = [
  { name: 'info/refs', path: `${REPO}/info/refs?service=git-upload-pack`, headers: [V2] },
  { name: 'info/refs of a push', path: `${REPO}/info/refs?service=git-receive-pack` },
  post('ls-refs', LS_REFS),
  post('fetch with an unknown line', unknownLine),
  post('fetch to which upstream says what is no yes', clone),
  post('fetch in gzip', gzipSync(clone), 'Content-Encoding: gzip'),
  post('fetch in what is not gzip', 'no gzip at all', 'Content-Encoding: gzip'),
  post('fetch, chunked', clone, 'Transfer-Encoding: chunked'),
  post('fetch with credentials and cookies', clone, 'Authorization: Basic YTpi', 'Cookie: a=b'),
  post('fetch with Expect', clone, 'Expect: 100-continue'),
  post('fetch with a spoofed header', clone, 'X-Remote-User: root'),
  post('a larger body', Buffer.alloc(300_000, 'a')),
  post('an empty body', ''),
  {
    ...post('another content type', clone),
    headers: [V2, 'Content-Type: text/plain'],
  },
  { name: 'GET of git-upload-pack', path: `${REPO}/git-upload-pack` },
  { name: 'HEAD of git-upload-pack', path: `${REPO}/git-upload-pack`, method: 'HEAD' },
  { ...push, name: 'push', headers: [pushType] },
  { ...push, name: 'push, chunked', headers: [pushType, 'Transfer-Encoding: chunked'] },
  {
    name: 'LFS batch',
    path: `${REPO}/info/lfs/objects/batch`,
    headers: ['Content-Type: application/vnd.git-lfs+json', 'Accept: application/vnd.git-lfs+json'],
    body: '{"operation":"download"}',
  },
  { name: 'web page', path: '/git/some/repo?tab=readme&x=%20y', headers: ['Accept: text/html'] },
  { name: 'HEAD of a web page', path: '/git/some/repo', method: 'HEAD' },
  {
    name: 'conditional',
    path: '/git/some/repo',
    headers: ['If-None-Match: "a"', 'Range: bytes=0-1'],
  },
  { name: 'odd path', path: '/git/a%2Fb//c%20d/e?q=%2F&r=a+b' },
  ...[
    '/git/a%2Fb.git',
    '/git//a//b.git',
    '/git/a%20b.git',
    '/git/x/../y.git',
    '/git/../git/y.git',
    '//git/y.git',
    '/git/ä',
    '/git/%e4.git',
    '/git/%ff/../y.git',
    '/git/a%22b%7Cc.git',
  ].map((path) => ({ ...post(`fetch from ${path}`, clone), path: `${path}/git-upload-pack` })),
  { ...post('fetch with a query', clone), path: `${REPO}/git-upload-pack?a=b&c=%2F` },
]

onEachNginx((suite) => {
  let operator: Operator

  beforeAll(async () => {
    const ip = await must(stack().upstream, 'hostname -i')
    const sites = SITES.map((site) => ({
      ...site,
      upstream: site.upstream?.replace(UPSTREAM_IP, ip.trim().split(' ')[0] as string) ?? '',
    }))
    const faults = [
      { name: 'faults', upstream: 'http://faults' },
      {
        name: 'off',
        upstream: 'http://faults',
        location: '\n      proxy_redirect off;',
        settings: 'set $gitcache_location_rewrite off;',
      },
    ]
    operator = await startOperator(suite, NAME, PORT, [...sites, ...faults])
  })

  afterAll(async () => {
    await stopOperator(suite, NAME)
  })

  describe.each(SITES.map(({ name }) => name))('site %s', (site) => {
    const replies = { without: [] as Reply[], with: [] as Reply[] }

    beforeAll(async () => {
      for (const side of ['without', 'with'] as const)
        replies[side] = await put(operator, side, site, QUESTIONS, `bytes-${suite}-${site}`)
    })

    test.each(QUESTIONS.map(({ name }, i) => ({ name, i })))('$name', ({ i }) => {
      const [without, cached] = [replies.without[i] as Reply, replies.with[i] as Reply]
      expect(without.status).toBeGreaterThan(0)
      expect(seen(cached)).toEqual(seen(without))
    })
  })

  test('what upstream says instead of an answer', async () => {
    const questions = [
      '301',
      '302',
      '307',
      '403',
      '404',
      '429',
      '500',
      '503',
      'empty',
      'length',
      'gzip',
    ].map((fault) => ({ ...post(fault, clone), path: `/fault/${fault}/x.git/git-upload-pack` }))
    const [without, cached] = [
      await put(operator, 'without', 'faults', questions, `faults-${suite}`),
      await put(operator, 'with', 'faults', questions, `faults-${suite}`),
    ]
    expect(cached.map(seen)).toEqual(without.map(seen))
    expect(cached[0]?.headers.join()).toMatch(/location: .*\/fault\/elsewhere\//i)
    // nginx's own proxy_redirect has made it an address of the client's.
    const back = `http://with.faults:${PORT}/fault/elsewhere/`
    expect(cached[2]?.headers.join('\n')).toMatch(new RegExp(`^location: ${back}$`, 'im'))
  })

  test('an operator who leaves Location alone', async () => {
    const questions = ['301', '302', '307'].map((fault) => ({
      ...post(fault, clone),
      path: `/fault/${fault}/x.git/git-upload-pack`,
    }))
    const [without, cached] = [
      await put(operator, 'without', 'off', questions, `off-${suite}`),
      await put(operator, 'with', 'off', questions, `off-${suite}`),
    ]
    expect(cached.map(seen)).toEqual(without.map(seen))
    expect(cached[2]?.headers.join('\n')).toMatch(
      /^location: http:\/\/faults\/fault\/elsewhere\/$/im
    )
  })

  test('X-Accel-Redirect of upstream leads nowhere', async () => {
    const path = '/fault/accel/x.git/git-upload-pack'
    const questions = [
      { ...post('fetch', clone), path },
      { ...post('ls-refs', LS_REFS), path },
      { ...post('odd', clone), path: '/fault/accel/a%20b.git/git-upload-pack' },
    ]
    for (const reply of await put(operator, 'with', 'faults', questions)) {
      expect(reply.status).toBe(200)
      expect(reply.body.toString()).toBe('own words\n')
    }
    // In the operator's own location it is obeyed, as without us, and finds nothing.
    const [page] = await put(operator, 'with', 'faults', [
      { name: 'web page', path: '/fault/accel/page' },
    ])
    expect(page?.status).toBe(404)
  })
})

/** Each side's own name is in Host, in X-Forwarded-* and in a Location; nothing else may differ. */
function seen({ status, headers, body }: Reply) {
  return { status, headers: headers.map(nameless), body: tell(body) }
}

function nameless(text: string): string {
  return text.replace(/\b(without|with)\.(\w+)/g, 'SIDE.$2')
}

function tell(body: Buffer): unknown {
  const text = nameless(body.toString('latin1'))
  return text.startsWith('{') ? JSON.parse(text) : text
}
