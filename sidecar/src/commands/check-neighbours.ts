/** Directives beside the include, or around it, that work without it and not with it. */
import { type Finding, fail, warn } from './finding.ts'
import type { Directive } from './nginx-directives.ts'
import { blockOf, directivesOf, nameOf, type Place, settingOf } from './places.ts'

interface Neighbour {
  pattern: RegExp
  level: typeof fail | typeof warn
  what: string
  fix: string
}

/** By its text: name and arguments. */
const NEIGHBOURS: Neighbour[] = [
  {
    pattern: /^js_body_filter /,
    level: fail,
    what: 'holds up a stored answer for ever: njs does not get what sendfile sends',
    fix: 'put it into locations without the include',
  },
  {
    pattern: /^js_header_filter /,
    level: warn,
    what: 'does not run on what is passed: the include has its own',
    fix: 'use proxy_hide_header and add_header, which hold',
  },
  {
    pattern: /^alias /,
    level: fail,
    what: 'makes each fetch a 404',
    fix: 'use root, or leave it out beside proxy_pass',
  },
  {
    pattern: /^proxy_set_header (?:content-length|transfer-encoding) "?[^"]/i,
    level: fail,
    what: "announces the client's body for the probe, which has another: upstream waits for the rest",
    fix: 'leave it to nginx',
  },
  {
    pattern: /^(?:access_by_lua\w*|auth_pam|auth_digest|auth_ldap) /,
    level: warn,
    what: 'is run two or three times for each fetch',
    fix: 'put what may be asked once alone behind auth_request',
  },
]

export function checkNeighbours(place: Place): Finding[] {
  const beside = place.flatMap(({ block }) => block ?? []).map(written)
  const found = NEIGHBOURS.flatMap(({ pattern, level, what, fix }) =>
    beside
      .filter((text) => pattern.test(text))
      .map((text) => level(`\`${text.trim()}\` ${what}, in ${nameOf(place)}`, fix))
  )
  return [...found, ...checkServers(place)]
}

/** Ends with a space where there is no argument. */
function written({ name, args }: Directive): string {
  return `${name} ${args.join(' ')}`
}

/** A probe that is given up after 12 s counts as a failure of its server. ngx_http_upstream_module, max_fails. */
function checkServers(place: Place): Finding[] {
  const http = blockOf(place, 'http')
  const name = settingOf(place, '$gitcache_upstream')?.replace(/^https?:\/\//, '')
  const block = directivesOf(http, 'upstream').find(({ args }) => args[0] === name)
  const servers = directivesOf(block, 'server')
  const counted = servers.filter(({ args }) => !args.includes('max_fails=0'))
  return servers.length < 2 || counted.length === 0
    ? []
    : [
        warn(
          `upstream ${name} has several servers, which a slow fetch may mark as failed for all, of ${nameOf(place)}`,
          'give each max_fails=0: a probe is given up after 12 s'
        ),
      ]
}
