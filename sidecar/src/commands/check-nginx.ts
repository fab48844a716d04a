/** What an nginx that starts can still have wrong: its njs, our files, its names for upstreams. */
import { crashesInSubrequests } from '../../../njs/src/git/njs-version.ts'
import type { Upstream } from '../upstreams.ts'
import { VERSION } from '../version.ts'
import { type Finding, fail, ok, warn } from './finding.ts'

/** `version`: null where njs did not say. */
export function checkNjs(version: string | null, dump: string): Finding {
  if (version === null) {
    return warn('the version of njs is not known', 'run as root to ask it')
  }
  if (!crashesInSubrequests(version) || /\$gitcache_njs_override\s+"?on\b/.test(dump)) {
    return ok(`njs ${version}`)
  }
  return fail(
    `njs ${version} may crash nginx's workers: every request passes`,
    'install another (README, "Compatibility"), or set $gitcache_njs_override on; at your own risk'
  )
}

/** What a configuration that nginx takes can still have wrong. `upstreams`: as the sidecar is given them. */
export function checkConfiguration(dump: string, upstreams: readonly Upstream[] = []): Finding[] {
  if (!dump.includes('js_import gitcache ')) {
    return [fail('gitcache-http.conf is not included', 'include it in http {}')]
  }
  if (!dump.includes('js_content gitcache.uploadPack')) {
    return [
      fail('gitcache-location.conf is not included', 'include it in the location with proxy_pass'),
    ]
  }
  const names = upstreams.map(({ name }) => name)
  return checkUpstreamNames(dump, names)
}

export function checkVersions(dump: string): Finding {
  const found = [...dump.matchAll(/^# nginx-git-cache (\d\S*):/gm)].map((match) => match[1] ?? '')
  // Of the same version before it was released.
  if (found.length > 0 && !dump.includes('$gitcache_vhost')) {
    return fail('gitcache-http.conf is older than gitcache.js', 'copy the files of this version')
  }
  const others = found.filter((version) => version !== VERSION)
  return found.length === 0 || others.length > 0
    ? fail(
        `include files of version ${others[0] ?? 'unknown'}, this is ${VERSION}`,
        'copy the files of this version'
      )
    : ok(`include files of version ${VERSION}`)
}

/** proxy_pass with a variable asks a resolver, except for addresses and names that nginx knows. */
function checkUpstreamNames(dump: string, names: string[]): Finding[] {
  const values = [
    ...dump.matchAll(/set\s+\$gitcache_upstream\s+"?([^\s";]+)/g),
    ...[...dump.matchAll(/map\s[^{]*\$gitcache_upstream\s*\{([^}]*)\}/g)].flatMap((match) => [
      ...(match[1] ?? '').matchAll(/(https?:\/\/[^\s";]+)/g),
    ]),
  ].map((match) => match[1] ?? '')
  const given = values.filter(Boolean)
  if (given.length === 0) {
    // For each place where it is wanted: checkPlaces.
    return []
  }
  // What has a variable in it is known only to nginx.
  const unknown = names.filter(
    (name) => !given.some((value) => value === name || value.includes('$'))
  )
  return [
    ...given.map((value) => checkName(value, dump)),
    ...unknown.map((name) => unknownName(name, given)),
  ]
}

/** nginx and the sidecar compare byte for byte. */
function unknownName(name: string, given: string[]): Finding {
  return fail(
    `--upstream ${name} is no $gitcache_upstream of nginx (${given.join(', ')})`,
    'give NAME=URL with one of those, or all of its requests pass'
  )
}

/** What nginx takes without a resolver: ngx_http_upstream_create, ngx_http_upstream.c. */
function checkName(value: string, dump: string): Finding {
  const [, scheme = '', host = '', port] = /^(https?):\/\/(.*?)(?::(\d+))?$/.exec(value) ?? []
  const escaped = host.replace(/[.[\]]/g, '\\$&')
  const portOf = (given: string | undefined, https: boolean) => given ?? (https ? '443' : '80')
  const literals = dump.matchAll(
    new RegExp(`proxy_pass\\s+http(s?)://${escaped}(?::(\\d+))?[/;]`, 'g')
  )
  const known =
    /^[\d.]+$|^\[|^unix:/.test(host) ||
    // Its name matches one without a port alone.
    (port === undefined && new RegExp(`upstream\\s+"?${escaped}"?\\s*\\{`).test(dump)) ||
    [...literals].some(
      ([, s, given]) => portOf(given, s === 's') === portOf(port, scheme === 'https')
    ) ||
    /^\s*resolver\s/m.test(dump)
  return known
    ? ok(`$gitcache_upstream ${value} needs no resolver`)
    : fail(
        `$gitcache_upstream ${value} needs a resolver`,
        `write upstream ${host} { server …; } and ${scheme}://${host} without a port, or a resolver line`
      )
}
