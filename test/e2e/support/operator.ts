/**
 * An operator's own nginx, with and without the cache: each site is two servers that differ in the
 * include alone, told apart by name. Runs in the suite's container beside the shared nginx.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import {
  answered,
  client,
  must,
  type Row,
  results as resultsOf,
  stack,
  uniqueId,
} from './servers.ts'
import { nginxConf, type Suite, writeIncludes } from './stack.ts'

export interface Site {
  name: string
  /** Directives at server level, and inside the location. */
  server?: string
  location?: string
  /** The location's prefix; default is everything. */
  prefix?: string
  /** Scheme and name of upstream, and what follows them in proxy_pass. */
  upstream?: string
  proxyPath?: string
  /** Settings of the cache, only where it is included. */
  settings?: string
}

export type Side = 'without' | 'with'

export interface Operator {
  suite: Suite
  origin: string
  tls: string
  log: string
}

/** What many operators have: compression, HSTS, error pages, bots, scripts that are not there. */
const HABITS = `
    add_header Strict-Transport-Security "max-age=31536000; includeSubDomains" always;
    error_page 404 /404.html;
    error_page 500 502 504 /50x.html;
    location = /404.html { internal; return 404 "not here\\n"; }
    location = /50x.html { internal; return 502 "later\\n"; }
    location ~ \\.php$ { return 404; }
    location ~* \\.(css|png|woff2)$ { expires 1d; return 200 "asset\\n"; }
    if ($http_user_agent ~* badbot) { return 403; }`

function server(site: Site, side: Side, port: number, log: string): string {
  const upstream = site.upstream ?? 'http://upstream'
  const include = side === 'with' ? 'include gitcache/gitcache-location.conf;' : ''
  const settings = side === 'with' ? (site.settings ?? '') : ''
  return `
  server {
    listen ${port};
    listen ${port + 1} ssl http2;
    server_name ${side}.${site.name};
    access_log ${log} test;
    set $gitcache_upstream ${upstream};
    ${settings}
    ${HABITS}
    ${site.server ?? ''}
    location ${site.prefix ?? '/'} {
      ${site.location ?? ''}
      proxy_pass ${upstream}${site.proxyPath ?? ''};
      ${include}
    }
  }`
}

/** Starts it; \`http\` is what stands at http level beside the sites. */
export async function startOperator(
  suite: Suite,
  name: string,
  port: number,
  sites: Site[],
  http = ''
): Promise<Operator> {
  const to = path.join(stack().dir, 'nginx', `${suite}-${name}`)
  mkdirSync(to, { recursive: true })
  writeIncludes(suite, to)
  const log = `nginx-${suite}-${name}.log`
  const servers = sites.flatMap((site) =>
    (['without', 'with'] as const).map((side) => server(site, side, port, `/w/log/${log}`))
  )
  const text = nginxConf(
    suite,
    name,
    `
  # Each site has a name of its own, and all of them one upstream.
  map "" $gitcache_vhost { default ""; }
  access_log off;
  gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;
  server_names_hash_bucket_size 128;
  ssl_certificate /w/nginx/${suite}-${name}/cert.pem;
  ssl_certificate_key /w/nginx/${suite}-${name}/key.pem;
  upstream upstream { server upstream:80; }
  upstream faults { server upstream:81; }
  upstream echo { server upstream:82; }
  ${http}
  ${servers.join('')}`
  )
  writeFileSync(path.join(to, 'nginx.conf'), text)
  await stopOperator(suite, name)
  await must(
    client(suite),
    `cd /w/nginx/${suite}-${name} && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost 2>/dev/null
nginx -c $PWD/nginx.conf`
  )
  return {
    suite,
    origin: `http://127.0.0.1:${port}`,
    tls: `https://127.0.0.1:${port + 1}`,
    log,
  }
}

export async function stopOperator(suite: Suite, name: string): Promise<void> {
  const pid = `/run/nginx-${name}.pid`
  const script = `[ -e ${pid} ] && kill "$(cat ${pid})" && for i in 1 2 3 4 5 6 7 8 9 10; do [ -e ${pid} ] && sleep 0.3; done; true`
  await must(client(suite), script)
}

export interface Question {
  name: string
  path: string
  method?: 'GET' | 'POST' | 'HEAD'
  headers?: string[]
  body?: string | Buffer
}

export interface Reply {
  id: string
  status: number
  /** As they arrived, but those that differ between any two answers. */
  headers: string[]
  /** X-Git-Cache. */
  result: string
  body: Buffer
}

/** Sends questions one after the other, byte for byte, to one side of a site. */
export async function put(
  operator: Operator,
  side: Side,
  site: string,
  questions: Question[],
  id = uniqueId('op')
): Promise<Reply[]> {
  const dir = path.join(stack().dir, 'work', id)
  mkdirSync(dir)
  const lines = questions.map((question, i) => {
    if (question.body !== undefined) writeFileSync(path.join(dir, `q${i}`), question.body)
    const headers = [`Host: ${side}.${site}`, `X-Test: ${id}`, ...(question.headers ?? [])]
    // With -I, curl writes the head where the body should go.
    const method = question.method === 'HEAD' ? '-I -o /dev/null' : `-o b${i}`
    const body = question.body === undefined ? '' : `--data-binary @q${i}`
    const all = headers.map((header) => `-H '${header}'`).join(' ')
    return `curl -sS -m 60 --path-as-is --http1.1 -D h${i} ${method} ${all} ${body} '${operator.origin}${question.path}'; touch h${i} b${i}`
  })
  await must(client(operator.suite), `cd /w/work/${id}\n${lines.join('\n')}`)
  const replies = questions.map((_, i) => {
    const head = readFileSync(path.join(dir, `h${i}`), 'latin1')
    return parse(id, head, readFileSync(path.join(dir, `b${i}`)))
  })
  rmSync(dir, { recursive: true, force: true })
  return replies
}

const VARYING = /^(date|x-git-cache):/i

function parse(id: string, head: string, body: Buffer): Reply {
  const last = head.trim().split('\r\n\r\n').at(-1) ?? ''
  const [first = '', ...headers] = last.split('\r\n')
  const result = headers.find((line) => /^x-git-cache:/i.test(line))?.slice(13) ?? ''
  return {
    id,
    status: Number(first.split(' ')[1] ?? 0),
    headers: headers.filter((line) => !VARYING.test(line)),
    result,
    body,
  }
}

/** The lines of the operator's own access log. */
export function logged(operator: Operator, id: string, log = operator.log): Row[] {
  return answered(operator.suite, id, log)
}

export function fetchResults(operator: Operator, id: string): string[] {
  return resultsOf(operator.suite, id, operator.log)
}
