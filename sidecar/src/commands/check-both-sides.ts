/** What nginx and the sidecar must both have: the socket, the directory of answers, the address of reports. */
import { constants, existsSync } from 'node:fs'
import path from 'node:path'
import { isAddress, isUnixSocket } from '../address.ts'
import { canAccess } from '../can-access.ts'
import { canConnect } from '../can-connect.ts'
import { readSecret } from '../config.ts'
import { DEFAULT_DATA, one, type RawOptions } from '../options.ts'
import type { Nginx } from './find-nginx.ts'
import { type Finding, fail, ok, warn } from './finding.ts'
import { canReach, findUser } from './users.ts'

/** What the sidecar is given and nginx has as well; only where it is given here too. */
export function checkBothSides(dump: string, raw: RawOptions): Finding[] {
  const [socket, data, reports] = (['socket', 'data', 'reports'] as const).map((name) =>
    raw[name]?.at(-1)
  )
  const sides: [flag: string, given: string | undefined, here: string[], fix: string][] = [
    [
      '--socket',
      socket,
      serversOf(dump).map((server) => server.replace(/^unix:/, '')),
      'write it into upstream gitcache_sidecar of gitcache-http.conf',
    ],
    ['--data', data && `${data}/packs`, packsOf(dump), 'set $gitcache_packs to it'],
    [
      '--reports',
      reports,
      [...dump.matchAll(/syslog:server=([^,\s;]+)\S*\s+gitcache_report\b/g)].map(
        (match) => match[1] ?? ''
      ),
      'write it into the access_log line of gitcache_report',
    ],
  ]
  const different = sides
    .filter(([, given, here]) => given !== undefined && !here.includes(given))
    .map(([flag, given, here, fix]) =>
      fail(`${flag}: nginx has ${here.join(', ') || 'nothing'}, and not ${given}`, fix)
    )
  return [...different, ...checkSecret(dump, raw)]
}

/** Neither of them is shown. */
function checkSecret(dump: string, raw: RawOptions): Finding[] {
  const file = one(raw, 'secret-file')
  const here = valuesOf(dump, 'gitcache_secret')
  return file === undefined || here.includes(readSecret(file))
    ? []
    : [fail(`--secret-file ${file}: nginx has another`, 'set $gitcache_secret to what it says')]
}

/** Whether nginx's user may open them. */
export async function checkReach(dump: string, nginx: Nginx): Promise<Finding[]> {
  return [...(await checkListens(dump)), ...checkAccess(dump, nginx)]
}

/** A socket of a sidecar that was killed stays. What we may not open tells us nothing. */
async function checkListens(dump: string): Promise<Finding[]> {
  const addresses = serversOf(dump).map((server) => server.replace(/^unix:/, ''))
  const open = await Promise.all(
    addresses.map((to) => (isUnixSocket(to) ? canAccess(to, constants.W_OK) : isAddress(to)))
  )
  const asked = addresses.filter((_, i) => open[i])
  const answer = await Promise.all(asked.map(canConnect))
  return asked
    .filter((_, i) => !answer[i])
    .map((to) => fail(`no sidecar answers at ${to}`, 'start it, and look at what it says'))
}

function checkAccess(dump: string, nginx: Nginx): Finding[] {
  const user = findUser(/^\s*user\s+([^\s;]+)/m.exec(dump)?.[1] ?? nginx.user)
  if (process.getuid?.() !== 0) {
    return [warn(`whether ${user.name} reaches socket and packs`, 'run as root to check it')]
  }
  return [
    ...socketsOf(dump).map((socket) =>
      reach(
        user.name,
        socket,
        '-w',
        `start the sidecar, with --socket-group of ${user.name}'s group`
      )
    ),
    ...packsOf(dump).map((packs) =>
      reach(
        user.name,
        packs,
        '-x',
        `start the sidecar as ${user.name}, or add ${user.name} to its group`
      )
    ),
  ]
}

/** Where nginx reaches the sidecar: `unix:/run/…`, `10.0.0.7:7418`. */
function serversOf(dump: string): string[] {
  const block = /upstream\s+gitcache_sidecar\s*\{([^}]*)\}/.exec(dump)?.[1] ?? ''
  return [...block.matchAll(/^\s*server\s+([^\s;]+)/gm)].map((match) => match[1] ?? '')
}

function socketsOf(dump: string): string[] {
  return serversOf(dump).flatMap((server) => /^unix:(.*)$/.exec(server)?.slice(1) ?? [])
}

/** Where nginx looks for answers. -T has the included files behind the one that overrules them. */
function packsOf(dump: string): string[] {
  const all = new Set(valuesOf(dump, 'gitcache_packs').filter((value) => value.startsWith('/')))
  if (all.size > 1) all.delete(`${DEFAULT_DATA}/packs`)
  return [...all]
}

/** By `set`, or as the default of a map. */
function valuesOf(dump: string, name: string): string[] {
  const value = '(?:"([^"]*)"|\'([^\']*)\'|([^\\s"\';{]+))'
  const pattern = new RegExp(`\\$${name}(?:\\s*\\{\\s*default)?\\s+${value}`, 'g')
  return [...dump.matchAll(pattern)].map(([, a, b, c]) => a ?? b ?? c ?? '')
}

function reach(name: string, file: string, access: '-w' | '-x', fix: string): Finding {
  if (!existsSync(file)) {
    return fail(`${file} is not there`, fix)
  }
  return canReach(findUser(name), file, access)
    ? ok(`${name} reaches ${file}`)
    : fail(
        `${name} cannot reach ${file}`,
        `${fix}; all of ${path.dirname(file)} must be open to it`
      )
}
