/**
 * Variables of nginx that mean something else in the locations inside: they have regular expressions
 * and a path of their own, the server's `set` and `rewrite` run again in each, and the sidecar is
 * an upstream too. ngx_http_variables.c, ngx_http_core_server_rewrite_phase.
 */
import { SETTINGS } from './check-settings.ts'
import { type Finding, fail } from './finding.ts'
import type { Directive } from './nginx-directives.ts'
import { blockOf, directivesOf, innermost, nameOf, namesIn, type Place } from './places.ts'

export function checkVariables(place: Place): Finding[] {
  return [checkUses, checkPathConditions, checkProxyNames, checkRewrites].flatMap((one) =>
    one(place)
  )
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

/** What stands there itself, and what the maps and sets behind it are made of. */
function usesOf(place: Place): Use[] {
  const direct = inherited(place).flatMap(({ name, args }) => {
    const values = name === 'auth_request_set' ? args.slice(1) : args
    return usesIn(values.join(' '), [name, ...args].join(' '), null)
  })
  const all = [...direct, ...hashes(place)]
  return [...all, ...behind(place, all)]
}

/** Which of several servers has a repository. */
function hashes(place: Place): Use[] {
  const http = blockOf(place, 'http')
  return directivesOf(http, 'upstream').flatMap((block) =>
    directivesOf(block, 'hash').flatMap(({ args }) =>
      usesIn(args[0] ?? '', `hash ${args.join(' ')}`, null)
    )
  )
}

function inherited(place: Place): Directive[] {
  const all = place.flatMap(({ block }) => block ?? [])
  const names = new Set(all.map(({ name }) => name).filter((name) => INHERITED.test(name)))
  return [...names].flatMap((name) => innermost(place, name))
}

function usesIn(value: string, text: string, rows: Directive[] | null): Use[] {
  return namesIn(value).map((name) => ({ name, text, rows }))
}

/** What gives a variable its value. */
interface Definition {
  name: string
  uses: Use[]
}

function behind(place: Place, direct: readonly Use[]): Use[] {
  const names = new Set([...SETTINGS.keys(), ...direct.map(({ name }) => `$${name}`)])
  let left = definitionsOf(place)
  const found: Use[] = []
  for (let more = left.filter(({ name }) => names.has(name)); more.length > 0; ) {
    left = left.filter((one) => !more.includes(one))
    const uses = more.flatMap((one) => one.uses)
    for (const { name } of uses) names.add(`$${name}`)
    found.push(...uses)
    more = left.filter(({ name }) => names.has(name))
  }
  return found
}

/** A `set` in an `if` may have the groups of its condition. */
function definitionsOf(place: Place): Definition[] {
  const http = blockOf(place, 'http')
  const server = blockOf(place, 'server')
  const maps = directivesOf(http, 'map').map(({ args, block }) => {
    const [source = '', name = ''] = args
    const text = `map ${args.join(' ')}`
    const rows = block ?? []
    // Groups in a row's value are those of its own expression.
    const values = rows
      .flatMap((row) => usesIn(row.args.join(' '), text, null))
      .filter((use) => !CAPTURE.test(use.name))
    return { name, uses: [...usesIn(source, text, rows), ...values] }
  })
  const sets = directivesOf(server, 'set').map(({ args: [name = '', value = ''] }) => ({
    name,
    uses: usesIn(value, `set ${name} ${value}`, null),
  }))
  return [...maps, ...sets]
}

/** In what follows the repository, or by looking ahead, an expression may see the path inside. */
const SEES_THE_END = /[$]|\\[zZ]|\(\?[=!<]|upload-pack/

/** The paths inside begin as the client's, and go on in another way. */
function holds(rows: Directive[] | null): boolean {
  const begins = (name: string) => /^~\*?\^/.test(name) && !SEES_THE_END.test(name)
  return rows?.every(({ name }) => isWord(name) || begins(name)) ?? false
}

function isWord(name: string): boolean {
  return ['default', 'hostnames', 'volatile', 'include'].includes(name)
}

/** The server's: run again with the path inside, they refuse what they let in before. */
function checkPathConditions(place: Place): Finding[] {
  const server = blockOf(place, 'server')
  return directivesOf(server, 'if')
    .filter(({ args }) => {
      const text = args.join(' ')
      return namesIn(text).some((name) => PATHS.has(name)) && SEES_THE_END.test(withoutNames(text))
    })
    .map(({ args }) =>
      fail(
        `\`if ${args.join(' ')}\` of the server is asked again for the path inside, in ${nameOf(place)}`,
        'use $request_uri'
      )
    )
}

function withoutNames(text: string): string {
  return text.replace(/\$\{?\w+\}?/g, '')
}

/** In what nginx sends to the sidecar they are the sidecar's. */
function checkProxyNames(place: Place): Finding[] {
  return innermost(place, 'proxy_set_header')
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

/** What is rewritten once without the include is rewritten in each of the locations inside. */
function checkRewrites(place: Place): Finding[] {
  const server = blockOf(place, 'server')
  return [server, ...directivesOf(server, 'if')]
    .flatMap((block) => directivesOf(block, 'rewrite'))
    .filter(({ args }) => !isRedirect(args) && isAnotherAgain(args))
    .map(({ args }) =>
      fail(
        `\`rewrite ${args.join(' ')}\` of the server is done again on its own result in ${nameOf(place)}`,
        'let its expression leave out what has been rewritten, as in ^/(?!git/)(.*)$'
      )
    )
}

function isRedirect([, replacement = '', flag = '']: string[]): boolean {
  return /^(?:redirect|permanent)$/.test(flag) || /^(?:https?:\/\/|\$scheme)/.test(replacement)
}

const PATHS_OF_ONE = ['/o/r.git/git-upload-pack', '/o/r/git-upload-pack']
/** For a group of an expression that has another beginning. */
const SOME_PATH = 'o/r.git/git-upload-pack'

function isAnotherAgain([pattern = '', replacement = '']: string[]): boolean {
  const expression = compiled(pattern)
  if (expression === null) {
    return false
  }
  const apply = (path: string) => {
    const match = expression.exec(path)
    const value = (_: string, name: string) => match?.[Number(name)] ?? match?.groups?.[name] ?? ''
    return match === null ? path : replacement.replace(/\$\{?(\w+)\}?/g, value)
  }
  const known = PATHS_OF_ONE.filter((path) => expression.test(path)).map(apply)
  const other = replacement.replace(/\$\{?\w+\}?/g, SOME_PATH).replace(/\/{2,}/g, '/')
  const rewritten = known.length > 0 ? known : [other]
  return rewritten
    .flatMap((path) => [path, path.replace(/(?=\/git-upload-pack$)/, '/_gitcache/main')])
    .some((path) => apply(path) !== path)
}

/** Null of one of PCRE's that JavaScript does not know. */
function compiled(pattern: string): RegExp | null {
  const [, insensitive, rest = ''] = /^(\(\?i\))?([\s\S]*)$/.exec(pattern) ?? []
  try {
    return new RegExp(rest, insensitive === undefined ? '' : 'i')
  } catch {
    return null
  }
}
