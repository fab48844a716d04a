/** `nginx-git-cache check`: what is wrong with a set-up, before nginx is reloaded, and its fix. */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { request } from 'undici'
import { SERVICE } from '../../../njs/src/git/classify.ts'
import { emptyRequest } from '../../../njs/src/git/fetch-request.ts'
import { crashesInSubrequests } from '../../../njs/src/git/njs-version.ts'
import { readProbeAnswer, writeProbe } from '../../../njs/src/git/probe.ts'
import { serveConfig } from '../config.ts'
import { UserError } from '../errors.ts'
import { DEFAULT_DATA, one, type RawOptions } from '../options.ts'
import { askKept } from '../upstream-http.ts'
import type { Upstream } from '../upstreams.ts'
import { VERSION } from '../version.ts'
import { askNjsVersion } from './ask-njs.ts'
import { checkPlaces } from './check-places.ts'
import { findNginx, type Nginx } from './find-nginx.ts'
import { usableGit } from './git-version.ts'
import { canReach, findUser } from './users.ts'

export interface Finding {
  level: 'ok' | 'warn' | 'fail'
  text: string
  fix?: string
}

export async function check(raw: RawOptions): Promise<void> {
  const nginx = findNginx()
  const conf = one(raw, 'nginx-conf') ?? ''
  // What serve would refuse is said at once.
  const { upstreams } = serveConfig(raw)
  const dump = dumpConfiguration(nginx, conf)
  const findings: Finding[] = [
    await checkGit(),
    ...(typeof dump === 'string' ? await checkNginx(dump, nginx, upstreams, raw) : [dump]),
    ...(upstreams.length === 0 ? [NO_UPSTREAM] : []),
    ...(await Promise.all(upstreams.map((one) => checkUpstream(one, raw)))),
  ]
  const lines = findings.map(
    ({ level, text, fix }) => `${level.padEnd(5)}${text}${fix ? `: ${fix}` : ''}`
  )
  // Several places have one upstream.
  for (const line of new Set(lines)) console.log(line)
  const failed = findings.filter((finding) => finding.level === 'fail').length
  if (failed > 0) {
    throw new UserError(
      'GITCACHE_CHECK',
      `${failed} of ${findings.length} checks failed`,
      'see above'
    )
  }
}

const NO_UPSTREAM: Finding = {
  level: 'warn',
  text: 'no upstream was asked',
  fix: 'give --upstream as the sidecar has it',
}

/** What nginx takes, and may be wrong all the same. */
async function checkNginx(
  dump: string,
  nginx: Nginx,
  upstreams: readonly Upstream[],
  raw: RawOptions
): Promise<Finding[]> {
  const configuration = withoutComments(dump)
  return [
    checkNjs(await askNjsVersion(nginx), configuration),
    checkVersions(dump),
    ...checkConfiguration(configuration, upstreams),
    ...checkBothSides(configuration, raw),
    ...checkPlaces(dump),
    ...checkReach(configuration, nginx),
  ]
}

/** What is commented out is not set. */
export function withoutComments(dump: string): string {
  return dump.replace(/(^|\s)#.*$/gm, '')
}

async function checkGit(): Promise<Finding> {
  try {
    return { level: 'ok', text: `git ${await usableGit()}` }
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    return { level: 'fail', text: error.message, fix: error.hint }
  }
}

/** `version`: null where njs did not say. */
export function checkNjs(version: string | null, dump: string): Finding {
  if (version === null) {
    return { level: 'warn', text: 'the version of njs is not known', fix: 'run as root to ask it' }
  }
  if (!crashesInSubrequests(version) || /\$gitcache_njs_override\s+"?on\b/.test(dump)) {
    return { level: 'ok', text: `njs ${version}` }
  }
  return {
    level: 'fail',
    text: `njs ${version} may crash nginx's workers: every request passes`,
    fix: 'install another (README, "Compatibility"), or set $gitcache_njs_override on; at your own risk',
  }
}

/** nginx -T: the configuration with all its includes, or what nginx says against it. */
function dumpConfiguration(nginx: Nginx, conf: string): string | Finding {
  const { status, stdout, stderr } = spawnSync(nginx.binary, ['-T', '-q', '-c', conf], {
    encoding: 'utf8',
  })
  if (status === 0) {
    return stdout
  }
  const said = stderr.trim().split('\n')
  const line = said.find((text) => /\[emerg\]|\[alert\]/.test(text)) ?? said[0] ?? ''
  return {
    level: 'fail',
    text: `nginx -t: ${line.replace(/^.*\] (\d+#\d+: )?/, '')}`,
    fix: fixOf(line),
  }
}

/** nginx's own words, and what they mean here. */
export function fixOf(line: string): string {
  const fixes: [RegExp, string][] = [
    [/Permission denied/, 'run the check as root, as nginx is started'],
    [
      /not allowed here in .*gitcache-location\.conf/,
      'include it in a location with proxy_pass, not in a server',
    ],
    [
      /unknown directive "js_/,
      'load_module modules/ngx_http_js_module.so; at the top (apt-get install libnginx-mod-http-js)',
    ],
    [
      /unknown "gitcache_|no imports defined/,
      'include gitcache-http.conf in http {} before the location',
    ],
    [
      /host not found in upstream/,
      'the name does not resolve: check it, or write an upstream {} with an address',
    ],
    [
      /SyntaxError|js.*module|failed to/i,
      'copy gitcache.js of this version beside the include files',
    ],
  ]
  return fixes.find(([pattern]) => pattern.test(line))?.[1] ?? 'mend it, then check again'
}

/** What a configuration that nginx takes can still have wrong. `upstreams`: as the sidecar is given them. */
export function checkConfiguration(dump: string, upstreams: readonly Upstream[] = []): Finding[] {
  if (!dump.includes('js_import gitcache ')) {
    return [
      { level: 'fail', text: 'gitcache-http.conf is not included', fix: 'include it in http {}' },
    ]
  }
  if (!dump.includes('js_content gitcache.uploadPack')) {
    return [
      {
        level: 'fail',
        text: 'gitcache-location.conf is not included',
        fix: 'include it in the location with proxy_pass',
      },
    ]
  }
  const names = upstreams.map(({ name }) => name)
  return checkUpstreamNames(dump, names)
}

function checkVersions(dump: string): Finding {
  const found = [...dump.matchAll(/^# nginx-git-cache (\d\S*):/gm)].map((match) => match[1] ?? '')
  const others = found.filter((version) => version !== VERSION)
  return found.length === 0 || others.length > 0
    ? {
        level: 'fail',
        text: `include files of version ${others[0] ?? 'unknown'}, this is ${VERSION}`,
        fix: 'copy the files of this version',
      }
    : { level: 'ok', text: `include files of version ${VERSION}` }
}

/** proxy_pass with a variable asks a resolver, except for addresses and names that nginx knows. */
function checkUpstreamNames(dump: string, names: string[]): Finding[] {
  const values = [
    ...dump.matchAll(/set\s+\$gitcache_upstream\s+"?([^\s";]+)/g),
    ...[...dump.matchAll(/map\s[^{]*\$gitcache_upstream\s*\{([^}]*)\}/g)].flatMap((match) => [
      ...(match[1] ?? '').matchAll(/(https?:\/\/[^\s";]+)/g),
    ]),
  ].map((match) => match[1] ?? '')
  const given = values.filter(Boolean)
  if (given.length === 0) {
    // For each place where it is wanted: checkPlaces.
    return []
  }
  // What has a variable in it is known only to nginx.
  const unknown = names.filter(
    (name) => !given.some((value) => value === name || value.includes('$'))
  )
  return [
    ...given.map((value) => checkName(value, dump)),
    ...unknown.map((name) => unknownName(name, given)),
  ]
}

/** nginx and the sidecar compare byte for byte. */
function unknownName(name: string, given: string[]): Finding {
  return {
    level: 'fail',
    text: `--upstream ${name} is no $gitcache_upstream of nginx (${given.join(', ')})`,
    fix: 'give NAME=URL with one of those, or all of its requests pass',
  }
}

/** What nginx takes without a resolver: ngx_http_upstream_create, ngx_http_upstream.c. */
function checkName(value: string, dump: string): Finding {
  const [, scheme = '', host = '', port] = /^(https?):\/\/(.*?)(?::(\d+))?$/.exec(value) ?? []
  const escaped = host.replace(/[.[\]]/g, '\\$&')
  const portOf = (given: string | undefined, https: boolean) => given ?? (https ? '443' : '80')
  const literals = dump.matchAll(
    new RegExp(`proxy_pass\\s+http(s?)://${escaped}(?::(\\d+))?[/;]`, 'g')
  )
  const known =
    /^[\d.]+$|^\[|^unix:/.test(host) ||
    // Its name matches one without a port alone.
    (port === undefined && new RegExp(`upstream\\s+"?${escaped}"?\\s*\\{`).test(dump)) ||
    [...literals].some(
      ([, s, given]) => portOf(given, s === 's') === portOf(port, scheme === 'https')
    ) ||
    /^\s*resolver\s/m.test(dump)
  return known
    ? { level: 'ok', text: `$gitcache_upstream ${value} needs no resolver` }
    : {
        level: 'fail',
        text: `$gitcache_upstream ${value} needs a resolver`,
        fix: `write upstream ${host} { server …; } and ${scheme}://${host} without a port, or a resolver line`,
      }
}

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
  return sides
    .filter(([, given, here]) => given !== undefined && !here.includes(given))
    .map(([flag, given, here, fix]) => ({
      level: 'fail',
      text: `${flag}: nginx has ${here.join(', ') || 'nothing'}, and not ${given}`,
      fix,
    }))
}

function checkReach(dump: string, nginx: Nginx): Finding[] {
  const user = findUser(/^\s*user\s+([^\s;]+)/m.exec(dump)?.[1] ?? nginx.user)
  if (process.getuid?.() !== 0) {
    return [
      {
        level: 'warn',
        text: `whether ${user.name} reaches socket and packs`,
        fix: 'run as root to check it',
      },
    ]
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
  const pattern = /\$gitcache_packs(?:\s*\{\s*default)?\s+"?(\/[^\s";]+)/g
  const all = new Set([...dump.matchAll(pattern)].map((match) => match[1] ?? ''))
  if (all.size > 1) all.delete(`${DEFAULT_DATA}/packs`)
  return [...all]
}

function reach(name: string, file: string, access: '-w' | '-x', fix: string): Finding {
  if (!existsSync(file)) {
    return { level: 'fail', text: `${file} is not there`, fix }
  }
  return canReach(findUser(name), file, access)
    ? { level: 'ok', text: `${name} reaches ${file}` }
    : {
        level: 'fail',
        text: `${name} cannot reach ${file}`,
        fix: `${fix}; all of ${path.dirname(file)} must be open to it`,
      }
}

/** Asks as a client without credentials would: which refs, and then for one of them. */
async function checkUpstream(upstream: Upstream, raw: RawOptions): Promise<Finding> {
  const repository = one(raw, 'repository')
  if (repository === undefined) {
    return {
      level: 'warn',
      text: `${upstream.url} was not asked`,
      fix: 'give --repository PATH of one that everyone may read',
    }
  }
  const base = `${upstream.url}/${repository.replace(/^\/+/, '')}`
  try {
    const refs = await ask(upstream, `${base}/info/refs?service=git-upload-pack`)
    const oid = /([0-9a-f]{64}|[0-9a-f]{40}) HEAD/.exec(refs.text)?.[1]
    if (refs.status !== 200 || oid === undefined) {
      return {
        level: 'fail',
        text: `${base}/info/refs: ${refs.status}`,
        fix: 'give a --repository that everyone may read and that has a commit',
      }
    }
    return await probeUpstream(upstream, base, oid)
  } catch (error) {
    const why = error instanceof Error ? error.message : error
    return { level: 'fail', text: `${base}: ${why}`, fix: 'check the address and the certificate' }
  }
}

/** Milliseconds. */
const PATIENCE = 10_000

/** With its certificates and by its proxy, as the sidecar asks it. Rejects where no answer comes. */
async function ask(
  upstream: Upstream,
  url: string,
  body?: string
): Promise<{ status: number; text: string }> {
  const signal = AbortSignal.timeout(PATIENCE)
  const answer = await askKept(upstream, (dispatcher) =>
    request(url, {
      method: body === undefined ? 'GET' : 'POST',
      dispatcher,
      headers:
        body === undefined
          ? {}
          : {
              'content-type': SERVICE.contentType,
              'git-protocol': 'version=2',
            },
      body: body ?? null,
      signal,
    })
  )
  return { status: answer.statusCode, text: await answer.body.text() }
}

async function probeUpstream(upstream: Upstream, base: string, oid: string): Promise<Finding> {
  const format = oid.length === 64 ? ('sha256' as const) : ('sha1' as const)
  const asked = { ...emptyRequest(2), format, wants: [oid], done: true }
  const unknown = randomBytes(oid.length / 2).toString('hex')
  const answer = await ask(upstream, `${base}/git-upload-pack`, writeProbe(asked, unknown))
  const said = readProbeAnswer(asked, answer.text)
  return said.kind === 'yes'
    ? { level: 'ok', text: `${base} answers the probe` }
    : {
        level: 'fail',
        text: `${base} does not answer the probe (${answer.status}, ${said.kind})`,
        fix: 'its fetches will all pass; nothing breaks',
      }
}
