/**
 * What nginx takes around gitcache-location.conf, and what does not work there: the include is made of
 * nested locations, and nginx gives them neither variables nor conditions of the one around them.
 */
import { checkNeighbours } from './check-neighbours.ts'
import { checkHosts, checkProtection } from './check-protection.ts'
import { checkSettings } from './check-settings.ts'
import { type Finding, fail, ok, warn } from './finding.ts'
import { type Directive, readDirectives } from './nginx-directives.ts'
import {
  blockOf,
  directivesOf,
  innermost,
  nameOf,
  type Place,
  placesOf,
  setsOf,
  settingOf,
} from './places.ts'

/** `dump`: of nginx -T, with its comments. */
export function checkPlaces(dump: string): Finding[] {
  const tree = readDirectives(dump)
  if (tree === null) {
    return [
      warn(
        'where gitcache-location.conf is included',
        'this configuration cannot be read here: compare with the README, "Add it to your nginx"'
      ),
    ]
  }
  const places = placesOf(tree, [])
  const found = places.flatMap((place) => CHECKS.flatMap((one) => one(place)))
  const areReported = places.length > 0 && places.every(isReported)
  const reported: Finding[] = areReported ? [ok('hits are reported to the sidecar')] : []
  return [...checkSettings(tree), ...found, ...checkHosts(places), ...reported]
}

const CHECKS = [
  checkUpstream,
  checkProxyPass,
  checkConditions,
  checkPattern,
  checkProtection,
  checkNeighbours,
  checkReports,
]

/** By `set` in the server, or by a map that has a row with something in it. */
function checkUpstream(place: Place): Finding[] {
  const isIt = ({ args }: Directive) => args[0] === '$gitcache_upstream'
  const server = blockOf(place, 'server')
  const http = blockOf(place, 'http')
  const isSet = setsOf(server).some(isIt)
  const isMapped = directivesOf(http, 'map').some(
    ({ args, block }) =>
      args[1] === '$gitcache_upstream' && block?.some((row) => (row.args[0] ?? '') !== '')
  )
  return isSet || isMapped
    ? []
    : [
        fail(
          `$gitcache_upstream is not set for ${nameOf(place)}: its fetches get 500`,
          'set $gitcache_upstream http://NAME; in the server, not in the location, as in your proxy_pass'
        ),
      ]
}

/** Refs go by proxy_pass, and fetches by what is set: both must lead to the same. */
function checkProxyPass(place: Place): Finding[] {
  const location = place.at(-1)
  const pass = directivesOf(location, 'proxy_pass').at(-1)?.args[0] ?? ''
  const [, name, path] = /^(https?:\/\/[^/$]+)(\/[^$]*)?$/.exec(pass) ?? []
  if (location?.name !== 'location' || name === undefined || name.includes('unix:')) {
    return []
  }
  const upstream = settingOf(place, '$gitcache_upstream')
  if (upstream && withoutPort(upstream) !== withoutPort(name)) {
    return [
      fail(
        `refs of ${nameOf(place)} are of ${name}, fetches of $gitcache_upstream ${upstream}`,
        `set $gitcache_upstream ${name}; there, or a map where one server has several`
      ),
    ]
  }
  return checkPrefix(place, location.args.at(-1) ?? '', path)
}

function withoutPort(name: string): string {
  return name.replace(/^(http:.*):80$|^(https:.*):443$/, '$1$2')
}

/** `path`: of proxy_pass, which nginx puts in the place of the location's; undefined where it has none. */
function checkPrefix(place: Place, location: string, path: string | undefined): Finding[] {
  const prefix = settingOf(place, '$gitcache_prefix')
  const upstreamPrefix = settingOf(place, '$gitcache_upstream_prefix')
  if (prefix === null || upstreamPrefix === null) {
    return []
  }
  const [from, to] = path === undefined ? ['', ''] : [location, path].map(withoutSlash)
  // Where nothing is replaced, neither is it by a prefix that belongs elsewhere.
  const isElsewhere = path === undefined && prefix !== '' && !isBelow(location, prefix)
  if (isElsewhere || (prefix === from && upstreamPrefix === to)) {
    return []
  }
  const value = (text: string | undefined) => text || '""'
  return [
    fail(
      `refs of ${nameOf(place)} and its fetches are not those of one repository`,
      `set $gitcache_prefix ${value(from)}; set $gitcache_upstream_prefix ${value(to)}; in the server, as its proxy_pass replaces them`
    ),
  ]
}

function withoutSlash(path: string): string {
  return path.replace(/\/$/, '')
}

function isBelow(path: string, prefix: string): boolean {
  return `${path}/`.startsWith(`${prefix}/`)
}

/** ngx_http_rewrite_module runs the directives of the location that is found, and those alone. */
const NOT_INHERITED = ['if', 'return', 'rewrite', 'limit_except']

function checkConditions(place: Place): Finding[] {
  const location = place.at(-1)
  if (location?.name !== 'location') {
    return []
  }
  const set = directivesOf(location, 'set').map(({ args }) => `set ${args[0]}`)
  const others = NOT_INHERITED.flatMap((name) => directivesOf(location, name))
    .filter(({ args }) => args[0] !== '($gitcache_challenge)')
    .map(({ name, args }) => `${name} ${args.join(' ')}`.trim())
  return [...set, ...others].map((text) =>
    fail(
      `\`${text}\` in ${nameOf(place)} does not hold for git-upload-pack`,
      'put it in the server, or use auth_request: nginx gives it to no nested location'
    )
  )
}

/** The locations inside are found by their own names: `/o/r.git/_gitcache/main/git-upload-pack`. */
function checkPattern(place: Place): Finding[] {
  const { name, args = [] } = place.at(-1) ?? {}
  const [how = '', pattern = ''] = args
  if (name !== 'location' || !how.startsWith('~')) {
    return []
  }
  const matches = (uri: string) => {
    try {
      return new RegExp(pattern, how === '~*' ? 'i' : '').test(uri)
    } catch {
      return false
    }
  }
  const isLost = ['/o/r.git', '/o/r'].some(
    (repository) =>
      matches(`${repository}/git-upload-pack`) &&
      !matches(`${repository}/_gitcache/main/git-upload-pack`)
  )
  return isLost
    ? [
        fail(
          `${nameOf(place)} does not match the locations inside: its fetches go astray`,
          'leave out what its expression says of the end, as in location ~ \\.git/'
        ),
      ]
    : []
}

function isReported(place: Place): boolean {
  return innermost(place, 'access_log').some(({ args }) => args.includes('gitcache_report'))
}

function checkReports(place: Place): Finding[] {
  return isReported(place)
    ? []
    : [
        warn(
          `no access_log reports to the sidecar for ${nameOf(place)}`,
          'its metrics stay at 0; repeat the line of the README, "Add it to your nginx", where the last access_log stands'
        ),
      ]
}
