/**
 * A build with one guard taken out, in nginx and in the sidecar, beside the real one: what its rows
 * say then shows that they can fail.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Plugin } from 'esbuild'
import { bundleForNjs } from '../../../njs/build.mjs'
import { buildSidecar } from '../../../sidecar/build.mjs'
import { docker } from './docker.ts'
import { client, must, stack } from './servers.ts'
import { nginxConf, type Suite, writeIncludes } from './stack.ts'

export interface Weakening {
  name: string
  /** File below the repository's root, what stands there, and what stands there instead. */
  edits: [file: string, from: string, to: string][]
}

const ROOT = path.resolve(import.meta.dirname, '../../..')
const SUITE: Suite = 'trixie'
let port = 8100

/** Replaces text in sources; a guard that has moved fails the build instead of passing unseen. */
function weaken(edits: Weakening['edits']): Plugin {
  return {
    name: 'weaken',
    setup(build) {
      build.onLoad({ filter: /\.ts$/ }, ({ path: file }) => {
        const name = path.relative(ROOT, file)
        const mine = edits.filter(([edited]) => edited === name)
        if (mine.length === 0) return undefined
        let contents = readFileSync(file, 'utf8')
        for (const [, from, to] of mine) {
          if (!contents.includes(from)) throw new Error(`${name} no longer has: ${from}`)
          contents = contents.replace(from, to)
        }
        return { contents, loader: 'ts' }
      })
    },
  }
}

export interface WeakServer {
  /** Its data directory on this machine. */
  data: string
  /** Of its nginx in the network; add a first segment and a repository. */
  url: string
  log: string
  stop(): Promise<void>
}

export async function startWeakened({ name, edits }: Weakening): Promise<WeakServer> {
  const { dir } = stack()
  const home = path.join(dir, 'weak', name)
  mkdirSync(path.join(home, 'data'), { recursive: true })
  const plugin = weaken(edits)
  await bundleForNjs(path.join(ROOT, 'njs/src/main.ts'), path.join(home, 'gitcache.js'), [plugin])
  await buildSidecar(path.join(home, 'nginx-git-cache.mjs'), [plugin])
  port += 1
  const log = `weak-${name}.log`
  writeIncludes(SUITE, home, path.join(home, 'gitcache.js'))
  const http = path.join(home, 'gitcache/gitcache-http.conf')
  const text = readFileSync(http, 'utf8')
  writeFileSync(
    http,
    text.replace(/unix:\S*sidecar\.sock/, `unix:/w/weak/${name}/data/sidecar/sidecar.sock`)
  )
  writeFileSync(path.join(home, 'nginx.conf'), conf(name, log))
  const sidecar = stack().sidecar[SUITE] as string
  await must(sidecar, `chown www-data /w/weak/${name}/data`)
  await docker([
    'exec',
    '--detach',
    '--user',
    'www-data',
    sidecar,
    'node',
    `/w/weak/${name}/nginx-git-cache.mjs`,
    'serve',
    '--data',
    `/w/weak/${name}/data`,
    '--socket',
    `/w/weak/${name}/data/sidecar/sidecar.sock`,
    '--upstream',
    'http://upstream=http://upstream:80',
  ])
  await must(
    client(SUITE),
    `for i in 1 2 3 4 5 6 7 8 9; do [ -S /w/weak/${name}/data/sidecar/sidecar.sock ] && break; sleep 0.3; done; nginx -c /w/weak/${name}/nginx.conf`
  )
  return {
    data: path.join(home, 'data'),
    url: `http://nginx-${SUITE}:${port}`,
    log,
    stop: async () => {
      await must(client(SUITE), `kill "$(cat /run/nginx-weak-${name}.pid)"`)
      await must(sidecar, `pkill -TERM -f /w/weak/${name}/[n]ginx-git-cache.mjs || true`)
    },
  }
}

function conf(name: string, log: string): string {
  const http = `
  map "" $gitcache_packs { default /w/weak/${name}/data/packs; }
  access_log /w/log/${log} test;
  upstream upstream { server upstream:80; }
  server {
    listen ${port};
    set $gitcache_upstream http://upstream;
    location / { proxy_pass http://upstream; include gitcache/gitcache-location.conf; }
  }`
  return nginxConf(SUITE, `weak-${name}`, http)
}
