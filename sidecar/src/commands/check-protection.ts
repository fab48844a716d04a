/**
 * What of the operator's protects a repository without the include, and would not with it: locations that
 * nginx no longer finds for git-upload-pack, variables that are set twice, a Host that the client chooses.
 */
import { type Finding, fail, warn } from './finding.ts'
import type { Directive } from './nginx-directives.ts'
import { directivesOf, nameOf, type Place, setsOf, settingOf } from './places.ts'

export function checkProtection(place: Place): Finding[] {
  return [...checkPrecedence(place), ...checkSetTwice(place), ...checkHost(place)]
}

/**
 * ngx_http_core_find_location: of a prefix location the regular expressions inside come before those
 * around it, and of one level they come before prefixes without ^~.
 */
function checkPrecedence(place: Place): Finding[] {
  const location = place.at(-1)
  if (location?.name !== 'location') {
    return []
  }
  const around = isPrefix(location) ? place.slice(0, -1) : []
  const lost = [
    ...around.flatMap((block) => locationsOf(block).filter(isExpression)),
    ...locationsOf(location).filter((one) => isPrefix(one) && !hasInclude(one)),
    ...behindInclude(locationsOf(location)).filter(isExpression),
  ]
  return lost
    .filter((one) => !isOurs(one) && mayMatch(one))
    .map((one) =>
      (isOfDotFiles(one) ? warn : fail)(
        `location ${one.args.join(' ')} does not hold for git-upload-pack: of ${nameOf(place)} the locations inside come first`,
        'make it a prefix with ^~ that has the include as well (README, "What goes before what")'
      )
    )
}

function locationsOf(block: Directive): Directive[] {
  return directivesOf(block, 'location')
}

function isExpression({ args }: Directive): boolean {
  return /^~\*?$/.test(args[0] ?? '')
}

/** Without ^~ and =. */
function isPrefix({ args }: Directive): boolean {
  return args.length === 1 && !(args[0] ?? '').startsWith('@')
}

const isOurs = ({ args }: Directive) => /git-upload-pack\$$/.test(args.at(-1) ?? '')

function hasInclude(location: Directive): boolean {
  return locationsOf(location).some(isOurs)
}

function behindInclude(locations: Directive[]): Directive[] {
  return locations.slice(locations.findLastIndex(isOurs) + 1)
}

/** All but names with an ending: `\.php$`, `\.(css|js)$`. */
function mayMatch({ args }: Directive): boolean {
  const pattern = args.at(-1) ?? ''
  return !/\\\.(?:\w+|\((?:\?:)?[\w|]+\))\$$/.test(pattern)
}

/** `/\.(ht|git)`: repositories have no such names. */
function isOfDotFiles({ args }: Directive): boolean {
  return /^\/\\\./.test(args.at(-1) ?? '')
}

/** What the server sets is set anew in each of the locations inside; auth_request_set is not. */
function checkSetTwice(place: Place): Finding[] {
  const server = place.find(({ name }) => name === 'server')
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

/** Of several levels the innermost that has one counts. */
function checkHost(place: Place): Finding[] {
  const level = place.findLast((block) => directivesOf(block, 'proxy_set_header').length > 0)
  const chosen = directivesOf(level, 'proxy_set_header').find(({ args }) =>
    /\$(?:host|http_\w+)\b/.test(
      /^(?:host|x-forwarded-host)$/i.test(args[0] ?? '') ? (args[1] ?? '') : ''
    )
  )
  return chosen !== undefined && settingOf(place, '$gitcache_vhost') === ''
    ? [
        fail(
          `\`proxy_set_header ${chosen.args.join(' ')}\` lets the client choose the host behind ${nameOf(place)}, and $gitcache_vhost is empty`,
          'leave $gitcache_vhost as it is, or set the Host to a fixed name'
        ),
      ]
    : []
}
