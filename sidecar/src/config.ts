/** The sidecar's settings: flags and their GITCACHE_* twins, checked once, then frozen. */
import { accessSync, constants, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { UserError } from './errors.ts'

export interface Upstream {
  /** As $gitcache_upstream names it in nginx: scheme://name. */
  name: string
  /** Where git reaches it: scheme://host[:port][/prefix], no trailing slash. */
  url: string
  caFile?: string | undefined
  clientCert?: string | undefined
  clientKey?: string | undefined
  proxy?: string | undefined
}

/** Whose packs/ gitcache-http.conf has as $gitcache_packs. */
export const DEFAULT_DATA = '/var/cache/nginx-git-cache'
const DEFAULT_SOCKET = '/run/nginx-git-cache/sidecar.sock'

export type CommandName = 'run' | 'serve' | 'check' | 'purge'

interface Option {
  help: string
  /** The one command that it is for; any but purge without. */
  of?: CommandName
  value: string
  /** A file or directory, which git, nginx and the sidecar of `run` read from other directories than this. */
  isPath?: boolean
  multiple?: boolean
  default?: string
}

/** One row an option: its name is the flag; `--git-processes` is GITCACHE_GIT_PROCESSES. */
export const OPTIONS = {
  upstream: {
    value: '[NAME=]URL',
    multiple: true,
    help: 'upstream that may be contacted; NAME is $gitcache_upstream where it is not the URL',
  },
  data: {
    value: 'DIR',
    isPath: true,
    help: `packs and mirrors; default ${DEFAULT_DATA} (run by a user: ~/.cache/nginx-git-cache)`,
  },
  listen: { of: 'run', value: 'ADDRESS', help: 'where nginx listens', default: '127.0.0.1:8080' },
  'upstream-by-path': { of: 'run', value: '', help: 'the first path segment names the host' },
  socket: {
    of: 'serve',
    value: 'ADDRESS',
    help: `unix socket path, or HOST:PORT with --secret-file; default ${DEFAULT_SOCKET}`,
  },
  'socket-group': {
    of: 'serve',
    value: 'GROUP',
    help: "group of nginx's user, which may open the socket",
  },
  'secret-file': {
    of: 'serve',
    value: 'FILE',
    isPath: true,
    help: 'shared secret of at least 32 bytes, for TCP',
  },
  admin: { value: 'ADDRESS', help: 'listener of /metrics, /healthz and /readyz' },
  reports: {
    of: 'serve',
    value: 'ADDRESS',
    help: "UDP address that nginx's access_log syslog: reports to",
  },
  'ca-file': {
    value: 'FILE',
    isPath: true,
    help: 'certificates that upstreams are verified with',
  },
  'client-cert': { value: 'FILE', isPath: true, help: 'TLS client certificate for upstreams' },
  'client-key': { value: 'FILE', isPath: true, help: 'its key, where it is not in the same file' },
  proxy: { value: 'URL', help: 'HTTP proxy to reach upstreams by' },
  'git-processes': { value: 'N', help: 'git processes at once, default the number of cores' },
  'make-mirrors': {
    value: 'WHEN',
    help: 'of repositories met by shallow or partial requests: always, never, or second-miss, with another key within a day',
    default: 'second-miss',
  },
  'cache-size': {
    value: 'BYTES',
    help: 'of packs, mirrors and temporary files, like 20g; default half of the file system, 5 % of which stay free in any case',
  },
  'queue-length': {
    value: 'N',
    help: 'requests that may wait for a git process',
    default: '200',
  },
  'per-client': {
    value: 'N',
    help: 'answers that are made for one client address at once',
    default: '100',
  },
  'max-wait': {
    value: 'SECONDS',
    help: 'how long a client waits before he is passed',
    default: '120',
  },
  'commit-after': { value: 'SECONDS', help: 'keep-alives go out from then on', default: '20' },
  'stall-after': {
    value: 'SECONDS',
    help: 'upstream that says nothing for so long is given up on',
    default: '120',
  },
  drain: {
    of: 'serve',
    value: 'SECONDS',
    help: 'how long answers that are on their way may take after SIGTERM',
    default: '300',
  },
  'keep-mirrors': {
    value: 'DAYS',
    help: 'a mirror that nobody used for so long is removed',
    default: '30',
  },
  'max-body': { value: 'BYTES', help: 'largest inflated request, like 20m', default: '10m' },
  'nginx-conf': {
    of: 'check',
    value: 'FILE',
    isPath: true,
    help: 'your nginx.conf',
    default: '/etc/nginx/nginx.conf',
  },
  repository: { of: 'check', value: 'PATH', help: 'a repository that everyone may read' },
  'log-level': { value: 'LEVEL', help: 'fatal, error, warn, info, debug, silent', default: 'info' },
} satisfies Record<string, Option>

type Name = keyof typeof OPTIONS
export type RawOptions = Partial<Record<Name, string[]>>

/** Reads flags, then GITCACHE_* for what no flag gives. Throws UserError on an option that this command has not. */
export function readOptions(
  argv: string[],
  env: NodeJS.ProcessEnv,
  command: CommandName
): { raw: RawOptions; operands: string[] } {
  const options = Object.fromEntries(
    Object.entries(OPTIONS).map(([name, row]) => [
      name,
      {
        type: (row as Option).value === '' ? ('boolean' as const) : ('string' as const),
        multiple: true,
      },
    ])
  )
  const raw: RawOptions = {}
  const { values, positionals } = parseFlags(argv, options, command === 'purge')
  for (const name of Object.keys(OPTIONS) as Name[]) {
    const flag = values[name] as (string | boolean)[] | undefined
    if (flag !== undefined && !isFor(name, command)) {
      throw new UserError(
        'GITCACHE_OPTION',
        `--${name} is no option of ${command}`,
        'see nginx-git-cache --help'
      )
    }
    const value = flag?.map(String) ?? readTwin(OPTIONS[name], env[twinOf(name)])
    if (value !== undefined) raw[name] = isPath(name) ? value.map(resolved) : value
  }
  return { raw, operands: positionals }
}

function isPath(name: Name): boolean {
  const { isPath }: Option = OPTIONS[name]
  return isPath === true
}

/** What is empty is no directory, and not this one either. */
function resolved(file: string): string {
  return file === '' ? '' : path.resolve(file)
}

const OF_PURGE: Name[] = ['data', 'log-level']

/** check may be given what serve is. */
function isFor(name: Name, command: CommandName): boolean {
  const { of }: Option = OPTIONS[name]
  if (command === 'purge') return OF_PURGE.includes(name)
  return of === undefined || of === command || (command === 'check' && of === 'serve')
}

/** What is spelt as a setting in the environment, and is none. */
export function unknownTwins(env: NodeJS.ProcessEnv): string[] {
  const twins = new Set((Object.keys(OPTIONS) as Name[]).map(twinOf))
  return Object.keys(env).filter((name) => name.startsWith('GITCACHE_') && !twins.has(name))
}

/** `--git-processes` is GITCACHE_GIT_PROCESSES. */
export function twinOf(name: Name): string {
  return `GITCACHE_${name.toUpperCase().replaceAll('-', '_')}`
}

/** Only what may be given several times is split; a switch is on unless it says 0 or false. */
function readTwin(option: Option, text: string | undefined): string[] | undefined {
  const value = (text ?? '').trim()
  if (value === '' || (option.value === '' && /^(0|false|no)$/i.test(value))) {
    return undefined
  }
  return option.multiple ? value.split(/\s+/) : [value]
}

/** What a message may show of a value that can hold credentials. */
function masked(text: string): string {
  return text.replace(/^.*@/s, '***@').replace(/\?.*/s, '?***')
}

/** What parseArgs of node:util says, and what it means here. */
const PROBLEMS: [RegExp, string][] = [
  [/ambiguous/, 'needs a value (one that begins with a dash: --option=-value)'],
  [/argument missing/, 'needs a value'],
  [/does not take an argument/, 'takes no value'],
  [/positional/, 'is no option, and nothing else is taken here'],
]

function parseFlags(
  argv: string[],
  options: NonNullable<Parameters<typeof parseArgs>[0]>['options'],
  allowPositionals: boolean
) {
  try {
    return parseArgs({ args: argv, options: options ?? {}, strict: true, allowPositionals })
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    // As parseArgs shows it: `--upstream <value>`, `-x, --xyz`.
    const name = (/'([^']*)'/.exec(text)?.[1] ?? '').replace(/ <value>$/, '')
    const what = PROBLEMS.find(([said]) => said.test(text))?.[1] ?? 'no such option'
    throw new UserError('GITCACHE_OPTION', `${masked(name)}: ${what}`, 'see nginx-git-cache --help')
  }
}

/** Digits alone: not `0x10`, not `1e3`, not an empty string. */
function number(pattern: RegExp, least: number, most: number, error: string) {
  const isWithin = (value: number) => value >= least && value <= most
  return z.string().regex(pattern, error).transform(Number).refine(isWithin, error)
}

const WHOLE = /^\d{1,9}$/
const DECIMAL = /^\d{1,9}(\.\d+)?$/

const count = number(WHOLE, 1, 1e9, 'give a whole number from 1 on')
/** A day: timers take no more than 24 of them, and some waits are ten times a setting. */
const MAX_SECONDS = 86_400
const SECONDS = `seconds, as a number up to ${MAX_SECONDS}`
const seconds = number(DECIMAL, 0.001, MAX_SECONDS, `give ${SECONDS}`)
const days = number(DECIMAL, 0.001, 1e9, 'give days, as a number')

const address = z.string().refine(isAddress, 'give HOST:PORT, like 127.0.0.1:7420')

const readableFile = z.string().refine(isReadable, 'cannot be read: check its path and mode')

/** `20g` is 20 * 1024 ** 3. */
function bytesOf(text: string): number {
  const unit = ' kmgt'.indexOf(text.slice(-1).toLowerCase())
  return parseInt(text, 10) * 1024 ** Math.max(0, unit)
}

const bytes = z
  .string()
  .regex(
    /^[1-9][0-9]{0,14}[kmgt]?$/i,
    'give bytes, or a number with k, m, g or t behind it, as 20g'
  )
  .transform(bytesOf)

/** Of a unix socket: unix(7), less the zero at the end. */
export const MAX_SOCKET_NAME = 107

function isSocketName(file: string): boolean {
  return Buffer.byteLength(file) <= MAX_SOCKET_NAME
}

const schema = z.object({
  data: z.string().min(1, 'give a directory'),
  socket: z.union(
    [z.string().regex(/^\//).refine(isSocketName), address],
    `give a path that begins with / and has at most ${MAX_SOCKET_NAME} bytes, or HOST:PORT`
  ),
  socketGroup: z.string().optional(),
  secret: z.string(),
  admin: address.optional(),
  reports: address.optional(),
  caFile: readableFile.optional(),
  clientCert: readableFile.optional(),
  clientKey: readableFile.optional(),
  proxy: z.url({ protocol: /^https?$/, error: 'give one like http://proxy:3128' }).optional(),
  gitProcesses: count,
  cacheSize: bytes.nullable(),
  makeMirrors: z.enum(['always', 'second-miss', 'never']),
  queueLength: count,
  perClient: count,
  maxWait: seconds,
  commitAfter: seconds,
  stallAfter: seconds,
  drain: number(DECIMAL, 0, MAX_SECONDS, `give ${SECONDS}`),
  keepMirrors: days,
  maxBody: bytes,
  logLevel: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'silent']),
})

export type Config = Readonly<z.infer<typeof schema> & { upstreams: readonly Upstream[] }>

/** The settings of `serve`. Throws UserError that names every value that will not do. */
export function serveConfig(raw: RawOptions): Config {
  const data = one(raw, 'data') ?? DEFAULT_DATA
  const result = schema.safeParse({
    data,
    socket: one(raw, 'socket') ?? DEFAULT_SOCKET,
    socketGroup: one(raw, 'socket-group'),
    secret: readSecret(one(raw, 'secret-file')),
    admin: one(raw, 'admin'),
    reports: one(raw, 'reports'),
    caFile: one(raw, 'ca-file'),
    clientCert: one(raw, 'client-cert'),
    clientKey: one(raw, 'client-key'),
    proxy: one(raw, 'proxy'),
    gitProcesses: one(raw, 'git-processes') ?? String(availableParallelism()),
    cacheSize: one(raw, 'cache-size') ?? null,
    makeMirrors: one(raw, 'make-mirrors'),
    queueLength: one(raw, 'queue-length'),
    perClient: one(raw, 'per-client'),
    maxWait: one(raw, 'max-wait'),
    commitAfter: one(raw, 'commit-after'),
    stallAfter: one(raw, 'stall-after'),
    drain: one(raw, 'drain'),
    keepMirrors: one(raw, 'keep-mirrors'),
    maxBody: one(raw, 'max-body'),
    logLevel: one(raw, 'log-level'),
  })
  if (!result.success) {
    const problems = result.error.issues.map((issue) => {
      const flag = String(issue.path[0]).replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)
      return `--${flag} ${shown(flag as Name, one(raw, flag as Name) ?? '')}: ${issue.message}`
    })
    throw new UserError('GITCACHE_CONFIG', problems.join('; '), 'see nginx-git-cache --help')
  }
  const config = { ...result.data, upstreams: readUpstreams(raw) }
  if (!isUnixSocket(config.socket) && config.secret.length < 32) {
    throw new UserError(
      'GITCACHE_SECRET',
      `--socket ${config.socket} is TCP without a secret of at least 32 bytes`,
      'whoever can call the sidecar can read every mirror; give --secret-file or a unix socket'
    )
  }
  return Object.freeze(config)
}

/** A proxy's address may hold a password. */
function shown(name: Name, value: string): string {
  return name === 'proxy' ? masked(value) : value
}

function isReadable(file: string): boolean {
  try {
    accessSync(file, constants.R_OK)
    return true
  } catch {
    return false
  }
}

export function isUnixSocket(address: string): boolean {
  return address.startsWith('/')
}

/** `127.0.0.1:8080`, `[::1]:8080`. What is neither has no host, and no number for a port. */
export function splitAddress(text: string): [host: string, port: number] {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text)
  return match === null ? ['', Number.NaN] : [match[1] ?? match[2] ?? '', Number(match[3])]
}

/** That one can listen at. */
export function isAddress(text: string): boolean {
  const [host, port] = splitAddress(text)
  return host !== '' && port > 0 && port < 65_536
}

/** The last value of an option, or its default. */
export function one(raw: RawOptions, name: Name): string | undefined {
  return raw[name]?.at(-1) ?? (OPTIONS[name] as Option).default
}

function readSecret(file: string | undefined): string {
  if (file === undefined) {
    return ''
  }
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    throw new UserError(
      'GITCACHE_SECRET',
      `--secret-file ${file} cannot be read`,
      'check its path and mode'
    )
  }
}

/** Without a name, the address is the name, byte for byte, as nginx compares them. */
export function readUpstreams(raw: RawOptions): Upstream[] {
  const upstreams = (raw.upstream ?? []).map((text) => {
    const named = /^(https?:\/\/[A-Za-z0-9._:[\]-]+)=(.+)$/.exec(text)
    const url = checkedUrl(named?.[2] ?? text)
    return {
      name: named?.[1] ?? text.replace(/\/+$/, ''),
      url,
      caFile: one(raw, 'ca-file'),
      clientCert: one(raw, 'client-cert'),
      // As nginx and git take one file with both.
      clientKey: one(raw, 'client-key') ?? one(raw, 'client-cert'),
      proxy: one(raw, 'proxy'),
    }
  })
  const names = upstreams.map(({ name }) => name)
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) {
    throw new UserError(
      'GITCACHE_UPSTREAM',
      `--upstream is given twice for ${masked(twice)}`,
      'give each NAME once'
    )
  }
  return upstreams
}

function checkedUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null
  const good =
    url !== null && /^https?:$/.test(url.protocol) && url.search === '' && url.hash === ''
  if (!good || url.username !== '' || url.password !== '') {
    throw new UserError(
      'GITCACHE_UPSTREAM',
      `--upstream ${masked(text)} is not a plain http or https address`,
      'give one like https://git.example.org, without credentials or query'
    )
  }
  if (url.pathname.includes('=')) {
    throw new UserError(
      'GITCACHE_UPSTREAM',
      `--upstream ${masked(text)} has a name that is not scheme://name`,
      'give NAME as $gitcache_upstream has it, like http://forge=http://10.0.0.5:3000'
    )
  }
  return url.href.replace(/\/+$/, '')
}
