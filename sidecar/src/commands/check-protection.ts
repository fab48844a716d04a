/**
 * What of the operator's protects a repository without the include, and would not with it: variables that
 * are set twice or mean something else (`check-variables.ts`), a Host that the client chooses, and
 * locations (`check-precedence.ts`).
 */
import { checkPrecedence } from './check-precedence.ts'
import { checkVariables } from './check-variables.ts'
import { type Finding, fail, warn } from './finding.ts'
import {
  blockOf,
  directivesOf,
  innermost,
  nameOf,
  namesIn,
  type Place,
  setsOf,
  settingOf,
  textOf,
} from './places.ts'

export function checkProtection(place: Place): Finding[] {
  return [checkPrecedence, checkVariables, checkSetTwice, checkHost].flatMap((one) => one(place))
}

/** What the server sets is set anew in each of the locations inside; auth_request_set is not. */
function checkSetTwice(place: Place): Finding[] {
  const server = blockOf(place, 'server')
  const set = new Set(setsOf(server).map(({ args }) => args[0]))
  const names = place.flatMap((block) =>
    directivesOf(block, 'auth_request_set').map(({ args }) => args[0] ?? '')
  )
  return [...new Set(names)]
    .filter((name) => set.has(name))
    .map((name) =>
      fail(
        `\`auth_request_set ${name}\` does not hold for git-upload-pack in ${nameOf(place)}: the server's \`set ${name}\` undoes it`,
        `use two names, and a map from the one of auth_request_set: map $from_auth ${name} { "" DEFAULT; default $from_auth; }`
      )
    )
}

/** nginx's own, of proxy_pass. */
const FIXED = new Set(['proxy_host', 'proxy_port', 'server_name', 'server_port'])
const BY_CLIENT = /^(?:host$|http_|arg_|cookie_|ssl_server_name$|args$|uri$|request_uri$)/

/** Who chooses the Host chooses whose answers these are: what it is made of must be in the key. */
function checkHost(place: Place): Finding[] {
  const host = hostOf(place)
  if (host === null) {
    return []
  }
  const inKey = namesIn(textOf(place, '$gitcache_vhost') ?? '')
  const missing = namesIn(host).filter(
    (name) => !FIXED.has(name) && !/^\d/.test(name) && !inKey.includes(name)
  )
  return missing.map((name) =>
    (BY_CLIENT.test(name) ? fail : warn)(
      `Host is \`${host}\` in ${nameOf(place)}, and $${name} is not in $gitcache_vhost: another host's answers may be taken for this one's`,
      `set $gitcache_vhost "$server_name $host $http_host $${name}"; in the server, or the Host to a fixed name`
    )
  )
}

/** What proxy_set_header says of it. Null where nothing. */
export function hostOf(place: Place): string | null {
  const [host] = innermost(place, 'proxy_set_header').filter(({ args }) =>
    /^host$/i.test(args[0] ?? '')
  )
  return host?.args[1] ?? null
}

/** Two names for one upstream, and the same key for both. */
export function checkHosts(places: readonly Place[]): Finding[] {
  const hosts = new Map<string, string>()
  return places.flatMap((place) => {
    const vhost = settingOf(place, '$gitcache_vhost')
    const host = hostOf(place)
    if (vhost === null || host === null || host.includes('$')) {
      return []
    }
    const scope = `${settingOf(place, '$gitcache_upstream')}\n${vhost}`
    const other = hosts.get(scope) ?? host
    hosts.set(scope, other)
    return other === host
      ? []
      : [
          fail(
            `$gitcache_vhost is "${vhost}" for Host ${other} and for Host ${host}, of ${nameOf(place)}: one's answers would be the other's`,
            `set $gitcache_vhost ${host}; in that server`
          ),
        ]
  })
}
