/**
 * Locations of the operator's that nginx no longer finds for git-upload-pack, since the include's come
 * before them. ngx_http_core_find_location: of a prefix location the regular expressions inside come
 * before those around it, and of one level they come before prefixes without ^~.
 */
import { type Finding, fail, warn } from './finding.ts'
import type { Directive } from './nginx-directives.ts'
import { directivesOf, isWork, nameOf, type Place } from './places.ts'

export function checkPrecedence(place: Place): Finding[] {
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
    .filter((one) => !isOurs(one) && protects(one) && mayMatch(one))
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

function patternOf({ args }: Directive): string {
  return args.at(-1) ?? ''
}

function isExpression({ args }: Directive): boolean {
  return /^~\*?$/.test(args[0] ?? '')
}

/** Without ^~ and =. */
function isPrefix({ args }: Directive): boolean {
  return args.length === 1 && !(args[0] ?? '').startsWith('@')
}

/** One of gitcache-location.conf. */
function isOurs(location: Directive): boolean {
  const isOfModule = ({ name, args }: Directive) =>
    (name === 'js_content' && /^gitcache\./.test(args[0] ?? '')) ||
    (name === 'proxy_pass' && /\$gitcache_/.test(args[0] ?? ''))
  return (
    isExpression(location) &&
    (/_gitcache\/|<gitcache_base>/.test(patternOf(location)) ||
      (location.block ?? []).some(isOfModule))
  )
}

function hasInclude(location: Directive): boolean {
  return locationsOf(location).some(({ block }) => block?.some(isWork))
}

function behindInclude(locations: Directive[]): Directive[] {
  return locations.slice(locations.findLastIndex(isOurs) + 1)
}

const PROTECTING =
  /^(?:auth_\w+|deny|satisfy|return|rewrite|if|limit_\w+|proxy_pass|proxy_set_header|js_access|access_by_lua\w*)$/

/** Who gets past it gets what it would refuse, or another upstream, or other headers. */
function protects({ block }: Directive): boolean {
  return (block ?? []).some((one) => PROTECTING.test(one.name) || protects(one))
}

/** Of an expression, unless it ends in something else than `git-upload-pack`: `\.php$`, `/(health|metrics)$`. */
function mayMatch(location: Directive): boolean {
  const pattern = patternOf(location)
  if (!isExpression(location) || !/[^\\]\$$/.test(pattern) || hasAlternatives(pattern)) {
    return true
  }
  const body = pattern.slice(0, -1)
  const group = /(?<!\\)\((?:\?:)?([^()]*)\)$/.exec(body)
  return (group?.[1] ?? body).split('|').some(mayEndInK)
}

/** The last sign of git-upload-pack. What is no plain sign may be any. */
function mayEndInK(text: string): boolean {
  const [, optional] = /(\\?[\w./-])\?$/.exec(text) ?? []
  if (optional !== undefined) {
    return mayEndInK(text.slice(0, -1)) || mayEndInK(text.slice(0, -1 - optional.length))
  }
  const plain = /(?:^|[^\\])([\w/-])$|\\([./-])$/.exec(text)
  return plain === null || /^k$/i.test(plain[1] ?? plain[2] ?? '')
}

/** Outside of all groups. */
function hasAlternatives(pattern: string): boolean {
  let rest = pattern.replace(/\\./g, '')
  for (let before = ''; before !== rest; ) {
    before = rest
    rest = rest.replace(/\([^()]*\)/g, '')
  }
  return rest.includes('|')
}

/** `/\.(ht|git)`: repositories have no such names. */
function isOfDotFiles(location: Directive): boolean {
  const pattern = patternOf(location)
  return /^\^?\/\\\./.test(pattern) && !hasAlternatives(pattern)
}
