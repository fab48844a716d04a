/**
 * Dropped into an operator's nginx, the cache leaves his protection where it is: the same requests
 * are let in and refused with the include as without, at server level and inside the location,
 * stored answers included.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  logged,
  type Operator,
  put,
  type Question,
  type Reply,
  type Site,
  startOperator,
  stopOperator,
} from '../support/operator.ts'
import { basic, makeRepository, oidOf, warmUp } from '../support/repositories.ts'
import { onEachNginx } from '../support/versions.ts'
import { fetchV2 } from '../support/wire.ts'

const NAME = 'protection'
const PORT = 9110
const ALICE = Buffer.from('alice:alice-secret').toString('base64')

interface Protection {
  name: string
  directives: string
  /** Below which first segment upstream has the repository. */
  segment?: string
  /** Headers of each request, and the status that it gets. */
  requests: { headers?: string[]; large?: boolean; status: number }[]
}

const PROTECTIONS: Protection[] = [
  { name: 'deny', directives: 'deny all;', requests: [{ status: 403 }] },
  {
    name: 'allow',
    directives: 'allow 127.0.0.1; deny all;',
    requests: [{ status: 200 }, { status: 200 }],
  },
  {
    name: 'auth-basic',
    directives: 'auth_basic nginx; auth_basic_user_file /w/upstream/htpasswd;',
    requests: [
      { status: 401 },
      { headers: [basic('alice', 'wrong')], status: 401 },
      { headers: [basic('alice')], status: 200 },
    ],
  },
  {
    name: 'auth-request',
    directives: 'auth_request /_auth;',
    requests: [{ status: 403 }, { headers: ['X-Key: sesame'], status: 200 }],
  },
  {
    name: 'satisfy-any',
    directives:
      'satisfy any; deny all; auth_basic nginx; auth_basic_user_file /w/upstream/htpasswd;',
    requests: [{ status: 401 }, { headers: [basic('alice')], status: 200 }],
  },
  {
    name: 'limit-req',
    directives: 'limit_req zone=few burst=2 nodelay;',
    requests: [{ status: 200 }, { status: 200 }, { status: 200 }, { status: 503 }],
  },
  {
    name: 'body-size',
    directives: 'client_max_body_size 1k;',
    requests: [{ status: 200 }, { large: true, status: 413 }],
  },
  {
    name: 'credential',
    directives: `proxy_set_header Authorization "Basic ${ALICE}";`,
    segment: 'priv',
    requests: [{ status: 200 }, { headers: [basic('eve')], status: 200 }],
  },
  {
    name: 'no-credential',
    directives: 'proxy_set_header Authorization "";',
    segment: 'priv',
    requests: [{ status: 401 }, { headers: [basic('alice')], status: 401 }],
  },
  {
    name: 'spoofed',
    directives: 'proxy_set_header X-Token "";',
    segment: 'token',
    requests: [{ status: 403 }, { headers: ['X-Token: sesame'], status: 403 }],
  },
]

/** Upstream says what it was asked, whatever that was; nobody has the password. */
const DOORS: Site[] = ['auth_basic nginx; auth_basic_user_file /w/upstream/htpasswd;', ''].flatMap(
  (location, i) => [
    { name: `door-${i}`, upstream: 'http://echo', location },
    {
      name: `door-rewritten-${i}`,
      upstream: 'http://echo',
      location,
      server: 'rewrite ^/old/(.*)$ /$1 last;',
    },
    {
      name: `door-prefix-${i}`,
      upstream: 'http://echo',
      location,
      prefix: '/git/',
      proxyPath: '/',
      server: 'rewrite ^/old/(.*)$ /git/$1 last;',
      settings: 'set $gitcache_prefix /git;',
    },
  ]
)
/** A protected location beside or inside of another that has the include: README, "What goes before what". */
const PROTECTED = `{
      auth_basic nginx; auth_basic_user_file /w/upstream/htpasswd;
      proxy_pass http://upstream;
      include gitcache/gitcache-location.conf;
    }`
const LAYOUTS: Site[] = [
  { name: 'layout-beside', server: `location ^~ /pub/ ${PROTECTED}` },
  { name: 'layout-inside', location: `location ^~ /pub/ ${PROTECTED}` },
  { name: 'layout-inside-plain', location: `location /pub/ ${PROTECTED}` },
  { name: 'layout-expressions', prefix: '~ ^/', server: `location ~ ^/pub/ ${PROTECTED}` },
]
const INNER = 'main probe tags refs gunzip prepare ticket read hit stream pass'.split(' ')

/** auth_request asks here; its own lines of the log are counted. */
const auth = (suite: string) =>
  `location = /_auth {
      internal; auth_request off; log_subrequest on;
      access_log /w/log/nginx-${suite}-${NAME}-auth.log test;
      if ($http_x_key != sesame) { return 403; }
      return 204;
    }`

const HTTP = 'limit_req_zone $server_name zone=few:1m rate=1r/m;'

function sitesOf(suite: string): Site[] {
  const sites = PROTECTIONS.flatMap(({ name, directives }) => [
    { name: `${name}.server`, server: `${auth(suite)}\n${directives}` },
    { name: `${name}.location`, server: auth(suite), location: directives },
  ])
  return [{ name: 'open' }, ...sites, ...DOORS, ...LAYOUTS]
}

onEachNginx((suite) => {
  let operator: Operator
  let repository = ''
  let oid = ''

  beforeAll(async () => {
    repository = await makeRepository('dropin', 'commit main one; commit main two')
    oid = await oidOf(repository, 'main')
    const header = (line: string) => `-c http.extraHeader='${line}'`
    await warmUp(suite, `/pub/${repository}`)
    await warmUp(suite, `/priv/${repository}`, header(basic('alice')))
    await warmUp(suite, `/token/${repository}`, header('X-Token: sesame'))
    operator = await startOperator(suite, NAME, PORT, sitesOf(suite), HTTP)
  })

  afterAll(async () => {
    await stopOperator(suite, NAME)
  })

  const fetch = (segment: string, headers: string[] = [], ...lines: string[]): Question => ({
    name: 'fetch',
    path: `/${segment}/${repository}/git-upload-pack`,
    headers: [
      'Git-Protocol: version=2',
      'Content-Type: application/x-git-upload-pack-request',
      ...headers,
    ],
    body: fetchV2('no-progress', 'ofs-delta', ...lines, `want ${oid}`, 'done'),
  })

  const rows = PROTECTIONS.flatMap((protection) =>
    ['server', 'location'].map((level) => ({ ...protection, level }))
  )

  test.each(rows)('$name in the $level', async ({ name, level, segment = 'pub', requests }) => {
    const repeated = Array<string>(40).fill(`want ${oid}`)
    const questions = requests.map(({ headers, large }) =>
      fetch(segment, headers, ...(large ? repeated : []))
    )
    // The answer is in the store: only what follows decides who gets it.
    await put(operator, 'with', 'open', [fetch(segment, [basic('alice'), 'X-Token: sesame'])])
    const site = `${name}.${level}`
    const without = await put(operator, 'without', site, questions)
    const cached = await put(operator, 'with', site, questions)
    const expected = requests.map(({ status }) => status)
    expect(without.map(({ status }) => status)).toEqual(expected)
    expect(cached.map(({ status }) => status)).toEqual(expected)
    for (const reply of cached)
      if (reply.status === 200) expect(reply).toMatchObject({ result: 'hit' })
      else expect(reply.body.includes('PACK')).toBe(false)
  })

  test.each(LAYOUTS)('of two locations the protected one protects: $name', async ({ name }) => {
    await put(operator, 'with', 'open', [fetch('pub')])
    const alice = fetch('pub', [basic('alice')])
    const [refused, given] = await put(operator, 'with', name, [fetch('pub'), alice])
    expect(refused).toMatchObject({ status: 401, result: '' })
    expect(given).toMatchObject({ status: 200, result: 'hit' })
    const [other] = await put(operator, 'with', name, [fetch('token', ['X-Token: sesame'])])
    expect(other).toMatchObject({ status: 200, result: 'hit' })
  })

  test.each(DOORS)('no internal location opens from outside: $name', async ({ name, location }) => {
    const doors = INNER.flatMap((inner) =>
      ['', '/git', '/old'].map(
        (prefix): Question => ({
          ...fetch('pub'),
          path: `${prefix}/cgi/_gitcache/${inner}/git-upload-pack?url=secret`,
        })
      )
    )
    const replies = await put(operator, 'with', name, doors)
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([404]))
    // The same server asks upstream for what is its own.
    const path = name.includes('prefix') ? '/git/x/info/refs' : '/x/info/refs'
    const [open] = await put(operator, 'with', name, [{ name: 'refs', path }])
    expect(open?.status).toBe(location === '' ? 203 : 401)
  })

  test.each(['server', 'location'])('auth_request in the %s runs once a request', async (level) => {
    const ask = async (...lines: string[]): Promise<Reply> => {
      const question = fetch('pub', ['X-Key: sesame'], ...lines)
      const [reply] = await put(operator, 'with', `auth-request.${level}`, [question])
      return reply as Reply
    }
    const depth = level === 'server' ? 'deepen 1' : 'deepen 2'
    const replies = [await ask(depth), await ask(depth), await ask('deepen-not refs/heads/x')]
    expect(replies.map(({ result }) => result)).toEqual(['miss', 'hit', 'pass; reason=deepen-not'])
    const log = `nginx-${suite}-${NAME}-auth.log`
    expect(replies.map(({ id }) => logged(operator, id, log).length)).toEqual([1, 1, 1])
    expect(replies.map(({ id }) => logged(operator, id).length)).toEqual([1, 1, 1])
  })
})
