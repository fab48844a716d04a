/**
 * What nginx takes around gitcache-location.conf, and what does not work there: the include is made of
 * nested locations, and nginx gives them neither variables nor conditions of the one around them.
 */
import type { Finding } from './check.ts'
import { type Directive, readDirectives } from './nginx-directives.ts'

/** The blocks around an include, from the outermost on: http, server, location. */
type Place = Directive[]

/** `dump`: of nginx -T, with its comments. */
export function checkPlaces(dump: string): Finding[] {
  const tree = readDirectives(dump)
  if (tree === null) {
    return [
      {
        level: 'warn',
        text: 'where gitcache-location.conf is included',
        fix: 'this configuration cannot be read here: compare with the README, "Add it to your nginx"',
      },
    ]
  }
  const places = placesOf(tree, [])
  const found = places.flatMap((place) =>
    [checkUpstream, checkConditions, checkPattern, checkReports].flatMap((one) => one(place))
  )
  const areReported = places.length > 0 && places.every(isReported)
  return areReported ? [...found, { level: 'ok', text: 'hits are reported to the sidecar' }] : found
}

function placesOf(directives: Directive[], around: Place): Place[] {
  const isHere = directives.some(({ name, block }) => name === 'location' && block?.some(isWork))
  const inside = directives.flatMap((one) =>
    one.block === null ? [] : placesOf(one.block, [...around, one])
  )
  return isHere ? [around, ...inside] : inside
}

function isWork({ name, args }: Directive): boolean {
  return name === 'js_content' && args[0] === 'gitcache.uploadPack'
}

/** `location /git/ of server git.example.org`. */
function nameOf(place: Place): string {
  const { name = '', args = [] } = place.at(-1) ?? {}
  const server = place.find((one) => one.name === 'server')
  const [known] = ['server_name', 'listen'].flatMap((key) => directivesOf(server, key))
  const of = server === undefined ? '' : ` of server ${known?.args[0] ?? ''}`
  return name === 'server' ? of.slice(' of '.length) : `${[name, ...args].join(' ')}${of}`
}

function directivesOf(block: Directive | undefined, name: string): Directive[] {
  return (block?.block ?? []).filter((one) => one.name === name)
}

/** By `set` in the server, or by a map that has a row with something in it. */
function checkUpstream(place: Place): Finding[] {
  const isIt = ({ args }: Directive) => args[0] === '$gitcache_upstream'
  const server = place.find(({ name }) => name === 'server')
  const http = place.find(({ name }) => name === 'http')
  const isSet = setsOf(server).some(isIt)
  const isMapped = directivesOf(http, 'map').some(
    ({ args, block }) =>
      args[1] === '$gitcache_upstream' && block?.some((row) => (row.args[0] ?? '') !== '')
  )
  return isSet || isMapped
    ? []
    : [
        {
          level: 'fail',
          text: `$gitcache_upstream is not set for ${nameOf(place)}: its fetches get 500`,
          fix: 'set $gitcache_upstream http://NAME; in the server, not in the location, as in your proxy_pass',
        },
      ]
}

/** Also in an `if`, and in no location. */
function setsOf(server: Directive | undefined): Directive[] {
  const blocks = [server, ...directivesOf(server, 'if')]
  return blocks.flatMap((block) => directivesOf(block, 'set'))
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
  return [...set, ...others].map((text) => ({
    level: 'fail' as const,
    text: `\`${text}\` in ${nameOf(place)} does not hold for git-upload-pack`,
    fix: 'put it in the server, or use auth_request: nginx gives it to no nested location',
  }))
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
        {
          level: 'fail',
          text: `${nameOf(place)} does not match the locations inside: its fetches go astray`,
          fix: 'leave out what its expression says of the end, as in location ~ \\.git/',
        },
      ]
    : []
}

/** Of several levels the innermost that has one counts. */
function isReported(place: Place): boolean {
  const level = place.findLast((block) => directivesOf(block, 'access_log').length > 0)
  return directivesOf(level, 'access_log').some(({ args }) => args.includes('gitcache_report'))
}

function checkReports(place: Place): Finding[] {
  return isReported(place)
    ? []
    : [
        {
          level: 'warn',
          text: `no access_log reports to the sidecar for ${nameOf(place)}`,
          fix: 'its metrics stay at 0; repeat the line of the README, "Add it to your nginx", where the last access_log stands',
        },
      ]
}
