/** nginx as `run` starts it: its address, its files, and its own word on them. */
import { execFileSync } from 'node:child_process'
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import path from 'node:path'
import { isAddress, splitAddress } from '../address.ts'
import { UserError } from '../errors.ts'
import type { Nginx } from './find-nginx.ts'
import { type Target, writeNginxConf } from './nginx-conf.ts'
import { firstError } from './nginx-dump.ts'
import type { Directories } from './run-directories.ts'
import type { User } from './users.ts'

const here = import.meta.dirname

export async function checkListen(address: string): Promise<string> {
  if (!isAddress(address)) {
    throw new UserError(
      'GITCACHE_LISTEN',
      `--listen ${address} is not HOST:PORT`,
      'give one like 127.0.0.1:8080'
    )
  }
  const [host, port] = splitAddress(address)
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'is taken' : `cannot be used (${error.code})`
      reject(
        new UserError(
          'GITCACHE_LISTEN',
          `--listen ${address} ${why}`,
          'give another --listen HOST:PORT'
        )
      )
    })
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve()))
  })
  return address
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

export interface SiteOptions {
  listen: string
  targets: Target[]
  byPath: boolean
  reports: string
}

export async function writeSite(
  dirs: Directories,
  nginx: Nginx,
  user: User | null,
  options: SiteOptions
): Promise<void> {
  const includes = path.join(dirs.prefix, 'gitcache')
  await mkdir(includes, { recursive: true })
  await cp(path.join(here, 'gitcache.js'), path.join(includes, 'gitcache.js'))
  for (const name of ['gitcache-http.conf', 'gitcache-location.conf']) {
    const text = await readFile(path.join(here, '..', 'nginx', name), 'utf8')
    const socket = text.replace('unix:/run/nginx-git-cache/sidecar.sock', `unix:${dirs.socket}`)
    await writeFile(path.join(includes, name), socket)
  }
  const { targets, ...rest } = options
  const conf = writeNginxConf({
    ...rest,
    dirs,
    jsModule: nginx.jsModule,
    user: user?.name ?? null,
    upstreams: targets,
  })
  await writeFile(path.join(dirs.prefix, 'nginx.conf'), conf)
}

export function nginxArgs(dirs: Directories): string[] {
  const conf = path.join(dirs.prefix, 'nginx.conf')
  const log = path.join(dirs.log, 'nginx-error.log')
  return ['-p', dirs.prefix, '-c', conf, '-e', log, '-g', 'daemon off;']
}

export function testSite(nginx: Nginx, dirs: Directories): void {
  try {
    execFileSync(nginx.binary, ['-t', ...nginxArgs(dirs)], { stdio: 'pipe' })
  } catch (error) {
    const { text, fix } = firstError(String((error as { stderr?: Buffer }).stderr ?? error))
    throw new UserError('GITCACHE_NGINX', `nginx: ${text}`, fix)
  }
}
