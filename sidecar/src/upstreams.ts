/** Upstreams as --upstream names them. */
import { UserError } from './errors.ts'
import { masked } from './options.ts'

/** How all of them are reached: files for TLS, and a proxy. */
export interface Reach {
  caFile?: string | undefined
  clientCert?: string | undefined
  clientKey?: string | undefined
  proxy?: string | undefined
}

export interface Upstream extends Reach {
  /** As $gitcache_upstream names it in nginx: scheme://name. */
  name: string
  /** Where git reaches it: scheme://host[:port][/prefix], no trailing slash. */
  url: string
}

/** Without a name, the address is the name, byte for byte, as nginx compares them. */
export function readUpstreams(texts: readonly string[], reach: Reach): Upstream[] {
  const upstreams = texts.map((text) => {
    const named = /^(https?:\/\/[A-Za-z0-9._:[\]-]+)=(.*)$/.exec(text)
    if (named?.[2] === '') {
      throw new UserError(
        'GITCACHE_UPSTREAM',
        `--upstream ${masked(text)} has a name and no address`,
        'give both, like http://forge=http://10.0.0.5:3000'
      )
    }
    const url = checkedUrl(named?.[2] ?? text)
    return { name: named?.[1] ?? text.replace(/\/+$/, ''), url, ...reach }
  })
  const names = upstreams.map(({ name }) => name)
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) {
    throw new UserError(
      'GITCACHE_UPSTREAM',
      `--upstream is given twice for ${masked(twice)}`,
      'give each NAME once'
    )
  }
  return upstreams
}

function checkedUrl(text: string): string {
  // URL takes white space and control characters off.
  const url = !/[\s\p{Cc}]/u.test(text) && URL.canParse(text) ? new URL(text) : null
  const good =
    url !== null && /^https?:$/.test(url.protocol) && url.search === '' && url.hash === ''
  if (!good || url.username !== '' || url.password !== '') {
    throw new UserError(
      'GITCACHE_UPSTREAM',
      `--upstream ${masked(text)} is not a plain http or https address`,
      'give one like https://git.example.org, without credentials or query'
    )
  }
  if (url.hostname === 'unix') {
    throw new UserError(
      'GITCACHE_UPSTREAM',
      `--upstream ${masked(text)} is a unix socket, which git cannot reach`,
      'give an address of it, HOST:PORT'
    )
  }
  if (text.includes('=')) {
    throw new UserError(
      'GITCACHE_UPSTREAM',
      `--upstream ${masked(text)} has a name that is not scheme://name`,
      'give NAME as $gitcache_upstream has it, like http://forge=http://10.0.0.5:3000'
    )
  }
  return url.href.replace(/\/+$/, '')
}
