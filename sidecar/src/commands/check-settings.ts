/** Values of $gitcache_* that nginx takes and that do not do what was meant. */
import { type Finding, fail, warn } from './finding.ts'
import type { Directive } from './nginx-directives.ts'

interface Form {
  pattern: RegExp
  fix: string
}

const SWITCH: Form = { pattern: /^(on|off)$/, fix: 'on or off' }
const PREFIX: Form = {
  pattern: /^((\/[^/]+)+)?$/,
  fix: 'begin it with a slash and end it without, as /git',
}
const ANY: Form = { pattern: /^/, fix: '' }

/** The settings of gitcache-http.conf. */
export const SETTINGS: ReadonlyMap<string, Form> = new Map<string, Form>([
  ['$gitcache_enabled', SWITCH],
  [
    '$gitcache_upstream',
    {
      pattern: /^(https?:\/\/[^/\s]+)?$/,
      fix: 'scheme://name of your proxy_pass, without a path and without a slash behind it',
    },
  ],
  ['$gitcache_vhost', ANY],
  ['$gitcache_prefix', PREFIX],
  ['$gitcache_upstream_prefix', PREFIX],
  ['$gitcache_packs', { pattern: /^\//, fix: "the sidecar's --data and /packs" }],
  ['$gitcache_max_tags', { pattern: /^\d+$/, fix: 'a whole number' }],
  ['$gitcache_header', SWITCH],
  ['$gitcache_location_rewrite', SWITCH],
  ['$gitcache_anonymous_401', SWITCH],
  ['$gitcache_njs_override', SWITCH],
  ['$gitcache_secret', ANY],
])

/** `tree`: all of nginx's configuration. */
export function checkSettings(tree: Directive[]): Finding[] {
  return settingsIn(tree).flatMap(({ name, value }) => checkSetting(name, value))
}

interface Setting {
  name: string
  value: string
}

/** By `set`, and by the rows of a `map`. */
function settingsIn(directives: Directive[]): Setting[] {
  return directives.flatMap((one) => {
    const [first = '', second = ''] = one.args
    if (one.name === 'set' && isOurs(first)) return [{ name: first, value: second }]
    if (one.name === 'map' && SETTINGS.has(second)) return rowsOf(one)
    return one.block === null ? [] : settingsIn(one.block)
  })
}

/** What gitcache-location.conf sets is none of them. */
function isOurs(name: string): boolean {
  return name.startsWith('$gitcache_') && name !== '$gitcache_result'
}

/** Words of ngx_http_map_module that are no values. */
const MAP_WORDS = new Set(['hostnames', 'volatile', 'include'])

function rowsOf({ args, block }: Directive): Setting[] {
  const rows = (block ?? []).filter(({ name }) => !MAP_WORDS.has(name))
  return rows.map((row) => ({ name: args[1] ?? '', value: row.args[0] ?? '' }))
}

/** What has a variable in it is known only to nginx. */
function checkSetting(name: string, value: string): Finding[] {
  const form = SETTINGS.get(name)
  if (form === undefined) {
    const known = [...SETTINGS.keys()].join(', ')
    return [warn(`${name} is no setting`, `there are ${known}`)]
  }
  return value.includes('$') || form.pattern.test(value)
    ? []
    : [fail(`${name} ${value}`, `give ${form.fix}`)]
}
