/** Where nginx, its js module and its user are on this machine. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { UserError } from '../errors.ts'
import { hasUser } from './users.ts'

export interface Nginx {
  binary: string
  /** Path of ngx_http_js_module.so; null where none was found. */
  jsModule: string | null
  /** The workers' default user. */
  user: string
}

/** Which a user's PATH lacks. */
const PLACES = ['/usr/sbin', '/usr/local/sbin', '/usr/local/nginx/sbin']

export function findNginx(): Nginx {
  const named = (process.env.PATH ?? '').split(':').filter(Boolean)
  const binary = [...named, ...PLACES].map((dir) => path.join(dir, 'nginx')).find(existsSync)
  if (binary === undefined) {
    throw new UserError(
      'GITCACHE_NGINX',
      'nginx was not found, in PATH or its usual places',
      'apt-get install nginx libnginx-mod-http-js'
    )
  }
  const built = describe(binary)
  const option = (name: string) => new RegExp(`--${name}=(\\S+)`).exec(built)?.[1]
  const modules = option('modules-path') ?? path.join(option('prefix') ?? '/etc/nginx', 'modules')
  const jsModule = path.join(modules, 'ngx_http_js_module.so')
  return {
    binary,
    jsModule: existsSync(jsModule) ? jsModule : null,
    user: option('user') ?? (hasUser('www-data') ? 'www-data' : 'nobody'),
  }
}

/** nginx -V writes to standard error. */
function describe(binary: string): string {
  return execFileSync('/bin/sh', ['-c', '"$0" -V 2>&1', binary], { encoding: 'utf8' })
}
