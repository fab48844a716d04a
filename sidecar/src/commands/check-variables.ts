/**
 * Variables of nginx that mean something else in the locations inside: they have regular expressions
 * and a path of their own, the server's `set` and `rewrite` run again in each, and the sidecar is
 * an upstream too. ngx_http_variables.c, ngx_http_core_server_rewrite_phase.
 */
import { SETTINGS } from './check-settings.ts'
import { type Finding, fail } from './finding.ts'
import type { Directive } from './nginx-directives.ts'
import { directivesOf, nameOf, namesIn, type Place } from './places.ts'

export function checkVariables(place: Place): Finding[] {
  return [...checkUses(place), ...checkProxyNames(place), ...checkRewrites(place)]
}

/** That the locations inside inherit, and that decide who may have what. */
const INHERITED = /^(?:auth_\w+|proxy_(?:bind|method|set_body|set_header|ssl_\w+))$/
const CAPTURE = /^[1-9]$/
/** Of the location that is found. */
const PATHS = new Set(['uri', 'document_uri', 'request_filename'])

interface Use {
  name: string
  /** Where it stands. */
  text: string
  /** Null where it is not by a map. */
  rows: Directive[] | null
}

function checkUses(place: Place): Finding[] {
  return usesOf(place)
    .filter(({ name, rows }) => CAPTURE.test(name) || (PATHS.has(name) && !holds(rows)))
    .map(({ name, text }) =>
      fail(
        `$${name} in \`${text}\` is another one for git-upload-pack in ${nameOf(place)}: the locations inside have expressions and paths of their own`,
        CAPTURE.test(name)
          ? 'name the group, (?<name>…), and use $name'
          : 'use $request_uri, or in a map on $uri expressions that begin with ^ and say nothing of the end'
      )
    )
}

/** What stands there itself, and what the maps behind it are made of. */
function usesOf(place: Place): Use[] {
  const server = place.find(({ name }) => name === 'server')
  const inherited = place.flatMap(({ block }) =>
    (block ?? []).filter(({ name }) => INHERITED.test(name))
  )
  // A `set` in an `if` may have the groups of its condition.
  const own = [...inherited, ...directivesOf(server, 'set')]
  const direct = own.flatMap(({ name, args }) => {
    const values = name === 'set' || name === 'auth_request_set' ? args.slice(1) : args
    const text = [name, ...args].join(' ')
    return namesIn(values.join(' ')).map((used): Use => ({ name: used, text, rows: null }))
  })
  return [...direct, ...behindMaps(place, new Set(direct.map(({ name }) => name)))]
}

function behindMaps(place: Place, used: ReadonlySet<string>): Use[] {
  const http = place.find(({ name }) => name === 'http')
  const maps = directivesOf(http, 'map')
  const found: Use[] = []
  const seen = new Set<Directive>()
  const names = new Set(used)
  const isUsed = ({ args: [, name = ''] }: Directive) =>
    names.has(name.slice(1)) || SETTINGS.has(name)
  for (let more = maps.filter(isUsed); more.length > 0; ) {
    for (const map of more) {
      seen.add(map)
      const text = `map ${map.args.join(' ')}`
      const rows = map.block ?? []
      for (const name of namesIn(map.args[0] ?? '')) {
        names.add(name)
        found.push({ name, text, rows })
      }
      // Groups in a row's value are those of its own expression.
      for (const name of rows.flatMap(({ args }) => namesIn(args.join(' ')))) {
        if (CAPTURE.test(name)) continue
        names.add(name)
        found.push({ name, text, rows: null })
      }
    }
    more = maps.filter((map) => !seen.has(map) && isUsed(map))
  }
  return found
}

/** The paths inside begin as the client's, and go on in another way. */
function holds(rows: Directive[] | null): boolean {
  return rows?.every(({ name }) => isWord(name) || /^~\*?\^[^$]*$/.test(name)) ?? false
}

function isWord(name: string): boolean {
  return ['default', 'hostnames', 'volatile', 'include'].includes(name)
}

/** In what nginx sends to the sidecar they are the sidecar's. */
function checkProxyNames(place: Place): Finding[] {
  const level = place.findLast((block) => directivesOf(block, 'proxy_set_header').length > 0)
  return directivesOf(level, 'proxy_set_header')
    .filter(({ args: [name = '', value = ''] }) => {
      const isWhole = /^host$/i.test(name) && /^\$\{?proxy_host\}?$/.test(value)
      return !isWhole && namesIn(value).some((one) => one === 'proxy_host' || one === 'proxy_port')
    })
    .map(({ args }) =>
      fail(
        `\`proxy_set_header ${args.join(' ')}\` names the sidecar where nginx asks it, in ${nameOf(place)}`,
        'write the name and port of your proxy_pass instead'
      )
    )
}

/** Any path of a repository, for a group of an expression. */
const SOME_PATH = 'o/r.git/git-upload-pack'

/** What is rewritten once without the include is rewritten in each of the locations inside. */
function checkRewrites(place: Place): Finding[] {
  const server = place.find(({ name }) => name === 'server')
  return [server, ...directivesOf(server, 'if')]
    .flatMap((block) => directivesOf(block, 'rewrite'))
    .filter(({ args }) => !/^(?:redirect|permanent)$/.test(args[2] ?? '') && isAnotherAgain(args))
    .map(({ args }) =>
      fail(
        `\`rewrite ${args.join(' ')}\` of the server is done again on its own result in ${nameOf(place)}`,
        'let its expression leave out what has been rewritten, as in ^/(?!git/)(.*)$'
      )
    )
}

function isAnotherAgain([pattern = '', replacement = '']: string[]): boolean {
  const once = replacement.replace(/\$\{?\w+\}?/g, SOME_PATH).replace(/\/{2,}/g, '/')
  try {
    const match = new RegExp(pattern).exec(once)
    const value = (_: string, group: string) => match?.[Number(group)] ?? ''
    return match !== null && replacement.replace(/\$\{?([0-9])\}?/g, value) !== once
  } catch {
    // An expression of PCRE's that JavaScript does not know.
    return false
  }
}
