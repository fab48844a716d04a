/** The options of all commands: flags and their GITCACHE_* twins, read and not yet checked. */
import path from 'node:path'
import { parseArgs } from 'node:util'
import { UserError } from './errors.ts'

/** Whose packs/ gitcache-http.conf has as $gitcache_packs. */
export const DEFAULT_DATA = '/var/cache/nginx-git-cache'
export const DEFAULT_SOCKET = '/run/nginx-git-cache/sidecar.sock'

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

export type Name = keyof typeof OPTIONS
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
    const value = flag?.map(String) ?? readTwin(name, env[twinOf(name)])
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
export function isFor(name: Name, command: CommandName): boolean {
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

/** Only what may be given several times is split. Throws UserError on a switch that is neither on nor off. */
function readTwin(name: Name, text: string | undefined): string[] | undefined {
  const option: Option = OPTIONS[name]
  const value = (text ?? '').trim()
  if (value === '') {
    return undefined
  }
  if (option.value !== '') {
    return option.multiple ? value.split(/\s+/) : [value]
  }
  if (!/^(1|on|true|yes|0|off|false|no)$/i.test(value)) {
    throw new UserError('GITCACHE_OPTION', `${twinOf(name)} ${value} is no switch`, 'give 1 or 0')
  }
  return /^(1|on|true|yes)$/i.test(value) ? ['true'] : undefined
}

/** The last value of an option, or its default. */
export function one(raw: RawOptions, name: Name): string | undefined {
  return raw[name]?.at(-1) ?? (OPTIONS[name] as Option).default
}

/** For a line that people read, one line. */
export function shortened(text: string): string {
  const plain = text.replace(/\p{Cc}/gu, '?')
  return plain.length > 200 ? `${plain.slice(0, 200)}…` : plain
}

/** What a message may show of a value that can hold credentials. */
export function masked(text: string): string {
  return shortened(text.replace(/^.*@/s, '***@').replace(/\?.*/s, '?***'))
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
