/** Where gitcache-location.conf is included, and what is set there. */
import type { Directive } from './nginx-directives.ts'

/** The blocks around an include, from the outermost on: http, server, location. */
export type Place = Directive[]

/** Where the include stands, in all of it. */
export function placesOf(directives: Directive[], around: Place): Place[] {
  const isHere = directives.some(({ name, block }) => name === 'location' && block?.some(isWork))
  const inside = directives.flatMap((one) =>
    one.block === null ? [] : placesOf(one.block, [...around, one])
  )
  return isHere ? [around, ...inside] : inside
}

/** By it the location is known in which the work begins. */
export function isWork({ name, args }: Directive): boolean {
  return name === 'js_content' && args[0] === 'gitcache.uploadPack'
}

/** `location /git/ of server git.example.org`. */
export function nameOf(place: Place): string {
  const { name = '', args = [] } = place.at(-1) ?? {}
  const server = blockOf(place, 'server')
  const [known] = ['server_name', 'listen'].flatMap((key) => directivesOf(server, key))
  const of = server === undefined ? '' : ` of server ${known?.args[0] ?? ''}`
  return name === 'server' ? of.slice(' of '.length) : `${[name, ...args].join(' ')}${of}`
}

export function directivesOf(block: Directive | undefined, name: string): Directive[] {
  return (block?.block ?? []).filter((one) => one.name === name)
}

/** Of several levels the innermost that has one counts: what it has of that name. */
export function innermost(place: Place, name: string): Directive[] {
  return directivesOf(
    place.findLast((block) => directivesOf(block, name).length > 0),
    name
  )
}

/** `http` or `server` around it. */
export function blockOf(place: Place, name: string): Directive | undefined {
  return place.find((block) => block.name === name)
}

/** Its one value for all of the server; null where it depends on the request. */
export function settingOf(place: Place, name: string): string | null {
  const text = textOf(place, name)
  return text?.includes('$') ? null : text
}

/** The same with the variables in it; null where there are several. */
export function textOf(place: Place, name: string): string | null {
  const http = blockOf(place, 'http')
  const server = blockOf(place, 'server')
  const map = directivesOf(http, 'map').findLast(({ args }) => args[1] === name)
  const rows = map?.block ?? []
  const sets = setsOf(server).filter(({ args }) => args[0] === name)
  const value = sets.length > 0 ? sets.at(-1)?.args[1] : rows[0]?.args[0]
  const isPlain = rows.length === 0 || (rows.length === 1 && rows[0]?.name === 'default')
  const isOne = sets.length > 0 ? sets.length === 1 : isPlain
  return isOne ? (value ?? '') : null
}

/** Also in an `if`, and in no location. */
export function setsOf(server: Directive | undefined): Directive[] {
  const blocks = [server, ...directivesOf(server, 'if')]
  return blocks.flatMap((block) => directivesOf(block, 'set'))
}

/** `host` of `$host`, also of `${host}`. */
export function namesIn(text: string): string[] {
  return [...text.matchAll(/\$\{?(\w+)/g)].map(([, name = '']) => name)
}
