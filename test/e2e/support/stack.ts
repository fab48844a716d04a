/**
 * The servers that all stories share: one upstream (Apache with git http-backend, and faults on
 * demand), one Gitea, and for each nginx version an nginx with a sidecar of its own. All containers
 * see one directory of this machine as /w.
 */
import { createHash } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { GenericContainer, type StartedNetwork, type StartedTestContainer } from 'testcontainers'
import { docker } from './docker.ts'
import { startGitea } from './gitea.ts'
import { ensureImages } from './images.ts'
import { createSmallVolume, startTestNetwork, TEST_LABEL } from './sweep.ts'

const ROOT = path.resolve(import.meta.dirname, '../../..')
const E2E = path.resolve(import.meta.dirname, '..')

/** What the versions are called: the Debian that brings nginx, njs and a git client. */
export const SUITES = ['bookworm', 'trixie', 'sid'] as const
export type Suite = (typeof SUITES)[number]
export const GIT_OF: Record<Suite, string> = { bookworm: '2.39', trixie: '2.47', sid: '2.55' }

/** Debian's, in every image. */
const WWW_DATA = 33

/** What of /small the stories fill up. */
export const SMALL = { bytes: 24 << 20, inodes: 1000 }

export interface StackInfo {
  /** On this machine; /w in the containers. */
  dir: string
  /** Container ids. */
  nginx: Partial<Record<Suite, string>>
  sidecar: Partial<Record<Suite, string>>
  upstream: string
  gitea: { id: string; url: string; admin: { user: string; password: string; token: string } }
}

export async function startStack(
  report: (line: string) => void
): Promise<{ info: StackInfo; stop(): Promise<void> }> {
  const images = await ensureImages(
    ['nginx-bookworm', 'nginx-trixie', 'nginx-sid', 'toolbox', 'gitea'],
    report
  )
  const dir = mkdtempSync(path.join(tmpdir(), 'nginx-git-cache-e2e-'))
  chmodSync(dir, 0o755)
  layOut(dir)
  const network = await startTestNetwork()
  const started: StartedTestContainer[] = []
  const small = await createSmallVolume(SMALL.bytes, SMALL.inodes)
  const start = async (image: string, alias: string, ...command: string[]) => {
    const container = await startContainer(
      image,
      alias,
      network,
      { [dir]: '/w', [small]: '/small' },
      command
    )
    started.push(container)
    return container.getId()
  }
  const toolbox = images.toolbox as string
  const upstream = await start(
    toolbox,
    'upstream',
    'sh',
    '-c',
    'node /w/upstream/faults.mjs & exec apache2 -d /etc/apache2 -f /w/upstream/httpd.conf -DFOREGROUND'
  )
  await docker(
    [
      'exec',
      upstream,
      'sh',
      '-c',
      'cd /w && GIT_TEST_FSYNC=false sh /w/upstream/fixtures.sh /w/repos 2>/dev/null && chown -R www-data /w/repos',
    ],
    { timeoutMs: 300_000 }
  )
  const gitea = await startGitea(network)
  const info: StackInfo = {
    dir,
    nginx: {},
    sidecar: {},
    upstream,
    gitea: { id: gitea.container.getId(), url: gitea.url, admin: gitea.admin },
  }
  for (const suite of SUITES) {
    const image = images[`nginx-${suite}`]
    if (image === null) continue
    writeSite(dir, suite)
    mkdirSync(path.join(dir, 'data', suite))
    chownSync(path.join(dir, 'data', suite), WWW_DATA, WWW_DATA)
    info.sidecar[suite] = await start(toolbox, `sidecar-${suite}`, ...sidecarCommand(suite))
    info.nginx[suite] = await start(
      image,
      `nginx-${suite}`,
      'nginx',
      '-c',
      `/w/nginx/${suite}/nginx.conf`,
      '-g',
      'daemon off;'
    )
  }
  return {
    info,
    stop: async () => {
      await Promise.all(started.map((container) => container.stop({ timeout: 0 })))
      await gitea.stop()
      await network.stop()
      await docker(['volume', 'rm', '--force', small])
      if (!process.env.GITCACHE_TEST_KEEP) rmSync(dir, { recursive: true, force: true })
    },
  }
}

function startContainer(
  image: string,
  alias: string,
  network: StartedNetwork,
  mounts: Record<string, string>,
  command: string[]
) {
  return new GenericContainer(image)
    .withLabels({ [TEST_LABEL]: '1' })
    .withNetwork(network)
    .withNetworkAliases(alias)
    .withBindMounts(Object.entries(mounts).map(([source, target]) => ({ source, target })))
    .withCommand(command)
    .start()
}

/** Debian 13's own Node runs the bundle, as an operator would. */
function sidecarCommand(suite: Suite): string[] {
  const upstreams = [
    'upstream=http://upstream:80',
    'faults=http://upstream:81',
    'busy=http://upstream:81',
    'gitea=http://gitea:3000',
  ]
  return [
    'setpriv',
    '--reuid=www-data',
    '--regid=www-data',
    '--clear-groups',
    '/w/sidecar/bin/nginx-git-cache',
    'serve',
    '--log-level',
    'debug',
    '--data',
    `/w/data/${suite}`,
    '--socket',
    `/w/data/${suite}/sidecar/sidecar.sock`,
    '--reports',
    '0.0.0.0:7419',
    '--admin',
    '0.0.0.0:7420',
    ...upstreams.flatMap((upstream) => ['--upstream', `http://${upstream}`]),
  ]
}

function layOut(dir: string): void {
  for (const name of ['repos', 'log', 'data', 'work', 'nginx', 'exec'])
    mkdirSync(path.join(dir, name))
  chmodSync(path.join(dir, 'log'), 0o777)
  chmodSync(path.join(dir, 'work'), 0o777)
  cpSync(path.join(E2E, 'upstream'), path.join(dir, 'upstream'), { recursive: true })
  cpSync(path.join(ROOT, 'dist'), path.join(dir, 'dist'), { recursive: true })
  cpSync(path.join(ROOT, 'sidecar/bin'), path.join(dir, 'sidecar/bin'), { recursive: true })
  cpSync(path.join(import.meta.dirname, 'state.sh'), path.join(dir, 'state.sh'))
  for (const name of ['backend.sh', 'pack-hook.sh'])
    chmodSync(path.join(dir, 'upstream', name), 0o755)
  for (const name of ['packs.log', 'upstream.log']) {
    writeFileSync(path.join(dir, 'log', name), '')
    chmodSync(path.join(dir, 'log', name), 0o666)
  }
  writeFileSync(
    path.join(dir, 'upstream/gitconfig'),
    '[safe]\n\tdirectory = *\n[uploadpack]\n\tpackObjectsHook = /w/upstream/pack-hook.sh\n'
  )
  // htpasswd(1) of alice:alice-secret and bob:bob-secret, `{SHA}` so that a probe costs no bcrypt.
  writeFileSync(
    path.join(dir, 'upstream/htpasswd'),
    `alice:{SHA}${sha1('alice-secret')}\nbob:{SHA}${sha1('bob-secret')}\n`
  )
}

function sha1(text: string): string {
  return createHash('sha1').update(text).digest('base64')
}

/** The shipped files, with the socket of this suite's sidecar. */
export function writeIncludes(
  suite: Suite,
  to: string,
  bundle = path.join(ROOT, 'dist/gitcache.js')
): void {
  mkdirSync(path.join(to, 'gitcache'), { recursive: true })
  for (const name of ['gitcache-http.conf', 'gitcache-location.conf']) {
    const text = readFileSync(path.join(ROOT, 'nginx', name), 'utf8')
    writeFileSync(
      path.join(to, 'gitcache', name),
      text.replace('/run/nginx-git-cache/sidecar.sock', `/w/data/${suite}/sidecar/sidecar.sock`)
    )
  }
  cpSync(bundle, path.join(to, 'gitcache/gitcache.js'))
}

/** The part of nginx.conf that every site of the tests has in common. */
export function nginxConf(suite: Suite, name: string, http: string): string {
  return `load_module /usr/lib/nginx/modules/ngx_http_js_module.so;
user www-data;
worker_processes 2;
pid /run/nginx-${name}.pid;
error_log /w/log/nginx-${suite}-${name}-error.log info;
events { worker_connections 1024; }
http {
  include gitcache/gitcache-http.conf;
  map "" $gitcache_packs { default /w/data/${suite}/packs; }
  log_format test '$http_x_test\\t$request_method\\t$request_uri\\t$status\\t$gitcache_result\\t$body_bytes_sent\\t$http_git_protocol\\t$request_id';
${http}
}
`
}

function writeSite(dir: string, suite: Suite): void {
  const to = path.join(dir, 'nginx', suite)
  writeIncludes(suite, to)
  writeFileSync(
    path.join(to, 'nginx.conf'),
    nginxConf(
      suite,
      'main',
      `
  access_log /w/log/nginx-${suite}.log test;
  access_log syslog:server=sidecar-${suite}:7419,tag=gitcache,nohostname gitcache_report if=$gitcache_result;
  # One of its own: while it wants to be left alone, the other faults are asked.
  map $request_uri $gitcache_upstream { default http://upstream; ~^/fault/429/ http://busy; ~^/fault/ http://faults; }
  upstream upstream { server upstream:80; keepalive 16; }
  upstream faults { server upstream:81; }
  upstream busy { server upstream:81; }
  upstream gitea { server gitea:3000; keepalive 16; }
  upstream closes { server upstream:83; keepalive 16; }
  server {
    listen 8080;
    client_max_body_size 0;
    proxy_http_version 1.1;
    proxy_read_timeout 20s;
    location / { proxy_pass http://upstream; proxy_set_header Connection ""; proxy_set_header Host $http_host; include gitcache/gitcache-location.conf; }
    location /fault/ { proxy_pass http://faults; include gitcache/gitcache-location.conf; }
  }
  server {
    listen 8081;
    set $gitcache_upstream http://gitea;
    client_max_body_size 0;
    proxy_request_buffering off;
    location / { proxy_pass http://gitea; proxy_set_header Host $http_host; include gitcache/gitcache-location.conf; }
  }
  server {
    listen 8082;
    set $gitcache_upstream http://closes;
    proxy_http_version 1.1;
    proxy_request_buffering off;
    location / { proxy_pass http://closes; proxy_set_header Connection ""; include gitcache/gitcache-location.conf; }
  }
`
    )
  )
}
