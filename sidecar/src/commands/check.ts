/** `nginx-git-cache check`: what is wrong with a set-up, before nginx is reloaded, and its fix. */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { emptyRequest } from '../../../njs/src/git/fetch-request.ts'
import { readProbeAnswer, writeProbe } from '../../../njs/src/git/probe.ts'
import { DEFAULT_DATA, one, type RawOptions, readUpstreams, type Upstream } from '../config.ts'
import { UserError } from '../errors.ts'
import { gitVersion } from '../git.ts'
import { VERSION } from '../version.ts'
import { findNginx, type Nginx } from './find-nginx.ts'
import { canReach, findUser } from './users.ts'

export interface Finding {
  level: 'ok' | 'warn' | 'fail'
  text: string
  fix?: string
}

export async function check(raw: RawOptions): Promise<void> {
  const nginx = findNginx()
  const conf = one(raw, 'nginx-conf') ?? '/etc/nginx/nginx.conf'
  const dump = dumpConfiguration(nginx, conf)
  const findings: Finding[] = [
    await checkGit(),
    ...(typeof dump === 'string' ? checkConfiguration(dump) : [dump]),
    ...(typeof dump === 'string' ? checkReach(dump, nginx, raw) : []),
    ...(await Promise.all(readUpstreams(raw).map((one) => checkUpstream(one, raw)))),
  ]
  for (const { level, text, fix } of findings) {
    console.log(`${level.padEnd(5)}${text}${fix ? `: ${fix}` : ''}`)
  }
  const failed = findings.filter((finding) => finding.level === 'fail').length
  if (failed > 0) {
    throw new UserError(
      'GITCACHE_CHECK',
      `${failed} of ${findings.length} checks failed`,
      'see above'
    )
  }
}

async function checkGit(): Promise<Finding> {
  const version = await gitVersion()
  return version === null
    ? { level: 'fail', text: 'git was not found', fix: 'apt-get install git' }
    : { level: 'ok', text: `git ${version}` }
}

/** nginx -T: the configuration with all its includes, or what nginx says against it. */
function dumpConfiguration(nginx: Nginx, conf: string): string | Finding {
  const { status, stdout, stderr } = spawnSync(nginx.binary, ['-T', '-q', '-c', conf], {
    encoding: 'utf8',
  })
  if (status === 0) {
    return stdout
  }
  const line = stderr.split('\n').find((text) => /\[emerg\]|\[alert\]/.test(text)) ?? stderr.trim()
  return {
    level: 'fail',
    text: `nginx -t: ${line.replace(/^.*\] (\d+#\d+: )?/, '')}`,
    fix: fixOf(line),
  }
}

/** nginx's own words, and what they mean here. */
function fixOf(line: string): string {
  const fixes: [RegExp, string][] = [
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

/** What a configuration that nginx takes can still have wrong. */
export function checkConfiguration(dump: string): Finding[] {
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
  return [checkVersions(dump), ...checkUpstreamNames(dump), checkReports(dump)]
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
function checkUpstreamNames(dump: string): Finding[] {
  const values = [
    ...dump.matchAll(/set\s+\$gitcache_upstream\s+"?([^\s";]+)/g),
    ...[...dump.matchAll(/map\s[^{]*\$gitcache_upstream\s*\{([^}]*)\}/g)].flatMap((match) => [
      ...(match[1] ?? '').matchAll(/(https?:\/\/[^\s";]+)/g),
    ]),
  ].map((match) => match[1] ?? '')
  if (values.filter(Boolean).length === 0) {
    return [
      {
        level: 'fail',
        text: '$gitcache_upstream is not set: everything passes',
        fix: 'set $gitcache_upstream http://NAME; in the server, as in your proxy_pass',
      },
    ]
  }
  return values.filter(Boolean).map((value) => checkName(value, dump))
}

function checkName(value: string, dump: string): Finding {
  const host = value.replace(/^https?:\/\//, '').replace(/:\d+$/, '')
  const escaped = host.replace(/[.[\]]/g, '\\$&')
  const known =
    /^[\d.]+$|^\[|^unix:/.test(host) ||
    new RegExp(`upstream\\s+"?${escaped}"?\\s*\\{`).test(dump) ||
    new RegExp(`proxy_pass\\s+https?://${escaped}[:/;]`).test(dump) ||
    /^\s*resolver\s/m.test(dump)
  return known
    ? { level: 'ok', text: `$gitcache_upstream ${value} needs no resolver` }
    : {
        level: 'fail',
        text: `$gitcache_upstream ${value} needs a resolver`,
        fix: `write upstream ${host} { server …; }, or a resolver line`,
      }
}

function checkReports(dump: string): Finding {
  return dump.includes('gitcache_report if=')
    ? { level: 'ok', text: 'hits are reported to the sidecar' }
    : {
        level: 'warn',
        text: 'no access_log reports to the sidecar',
        fix: 'its metrics stay at 0; see "Metrics" in the README',
      }
}

function checkReach(dump: string, nginx: Nginx, raw: RawOptions): Finding[] {
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
  const socket = /server\s+unix:(\S*sidecar\S*?)[\s;]/.exec(dump)?.[1] ?? one(raw, 'socket')
  return [
    reach(
      user.name,
      socket,
      '-w',
      `start the sidecar, with --socket-group of ${user.name}'s group`
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

/** Where nginx looks for answers. -T has the included files behind the one that overrules them. */
function packsOf(dump: string): string[] {
  const pattern = /\$gitcache_packs(?:\s*\{\s*default)?\s+"?(\/[^\s";]+)/g
  const all = new Set([...dump.matchAll(pattern)].map((match) => match[1] ?? ''))
  if (all.size > 1) all.delete(`${DEFAULT_DATA}/packs`)
  return [...all]
}

function reach(name: string, file: string | undefined, access: '-w' | '-x', fix: string): Finding {
  if (file === undefined || !existsSync(file)) {
    return { level: 'fail', text: `${file ?? 'socket'} is not there`, fix }
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
    const refs = await fetch(`${base}/info/refs?service=git-upload-pack`)
    const oid = /([0-9a-f]{40}) HEAD/.exec(await refs.text())?.[1]
    if (refs.status !== 200 || oid === undefined) {
      return {
        level: 'fail',
        text: `${base}/info/refs: ${refs.status}`,
        fix: 'give a --repository that everyone may read and that has a commit',
      }
    }
    return await probeUpstream(base, oid)
  } catch (error) {
    const why = error instanceof Error && error.cause instanceof Error ? error.cause.message : error
    return { level: 'fail', text: `${base}: ${why}`, fix: 'check the address and the certificate' }
  }
}

async function probeUpstream(base: string, oid: string): Promise<Finding> {
  const request = { ...emptyRequest(2), wants: [oid], done: true }
  const answer = await fetch(`${base}/git-upload-pack`, {
    method: 'POST',
    redirect: 'manual',
    headers: {
      'content-type': 'application/x-git-upload-pack-request',
      'git-protocol': 'version=2',
    },
    body: writeProbe(request, randomBytes(20).toString('hex')),
  })
  const said = readProbeAnswer(request, await answer.text())
  return said.kind === 'yes'
    ? { level: 'ok', text: `${base} answers the probe` }
    : {
        level: 'fail',
        text: `${base} does not answer the probe (${answer.status}, ${said.kind})`,
        fix: 'its fetches will all pass; nothing breaks',
      }
}
