/** The sidecar's settings: its options, checked once, then frozen. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { accessSync, constants, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { z } from 'zod'
import { isAddress, isSocketName, isUnixSocket, MAX_SOCKET_NAME } from './address.ts'
import { UserError } from './errors.ts'
import {
  DEFAULT_DATA,
  DEFAULT_SOCKET,
  masked,
  type Name,
  one,
  type RawOptions,
  shortened,
} from './options.ts'
import { type Reach, readUpstreams, type Upstream } from './upstreams.ts'

/** Digits alone: not `0x10`, not `1e3`, not an empty string. */
function number(pattern: RegExp, least: number, most: number, error: string) {
  const isWithin = (value: number) => value >= least && value <= most
  return z.string().regex(pattern, error).transform(Number).refine(isWithin, error)
}

const WHOLE = /^\d{1,9}$/
const DECIMAL = /^\d{1,9}(\.\d+)?$/

const MAX_COUNT = 1e6
const count = number(WHOLE, 1, MAX_COUNT, `give a whole number from 1 to ${MAX_COUNT}`)
/** A day: timers take no more than 24 of them, and some waits are ten times a setting. */
const MAX_SECONDS = 86_400
const SECONDS = `seconds, as a number up to ${MAX_SECONDS}`
const seconds = number(DECIMAL, 0.001, MAX_SECONDS, `give ${SECONDS}`)
const days = number(DECIMAL, 0.001, 1e9, 'give days, as a number')

const address = z.string().refine(isAddress, 'give HOST:PORT, like 127.0.0.1:7420')

const readableFile = z.string().refine(isReadable, {
  error: 'cannot be read: check its path and mode',
  abort: true,
})
const certificates = readableFile.refine(holdsCertificate, 'holds no certificate in PEM')
const privateKey = readableFile.refine(
  holdsKey,
  'holds no private key in PEM, or one with a password'
)

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

/** `clientKey` is the option --client-key. Defaults that are not here are in OPTIONS. */
const schema = z.object({
  data: z.string().min(1, 'give a directory').default(DEFAULT_DATA),
  socket: z
    .union(
      [z.string().regex(/^\//).refine(isSocketName), address],
      `give a path that begins with / and has at most ${MAX_SOCKET_NAME} bytes, or HOST:PORT`
    )
    .default(DEFAULT_SOCKET),
  socketGroup: z.string().optional(),
  admin: address.optional(),
  reports: address.optional(),
  caFile: certificates.optional(),
  clientCert: certificates.optional(),
  clientKey: privateKey.optional(),
  proxy: z.url({ protocol: /^https?$/, error: 'give one like http://proxy:3128' }).optional(),
  gitProcesses: count.default(availableParallelism),
  cacheSize: bytes.nullable().default(null),
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

/** Bytes. */
const MIN_SECRET = 32

type Settings = z.infer<typeof schema>

export type Config = Readonly<
  Omit<Settings, keyof Reach> & { secret: string; upstreams: readonly Upstream[] }
>

function flagOf(setting: string): Name {
  return setting.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`) as Name
}

/** The settings of `serve`. Throws UserError that names every value that will not do. */
export function serveConfig(raw: RawOptions): Config {
  const secret = readSecret(one(raw, 'secret-file'))
  const given = Object.fromEntries(
    Object.keys(schema.shape).map((setting) => [setting, one(raw, flagOf(setting))])
  )
  // As nginx and git take one file with both.
  given.clientKey ??= given.clientCert
  const result = schema.safeParse(given)
  if (!result.success) {
    const problems = result.error.issues.map(({ path, message }) => {
      const setting = String(path[0])
      const flag = flagOf(setting)
      return `--${flag} ${shown(flag, given[setting] ?? '')}: ${message}`
    })
    throw new UserError('GITCACHE_CONFIG', problems.join('; '), 'see nginx-git-cache --help')
  }
  if (raw['client-key'] !== undefined && raw['client-cert'] === undefined) {
    throw new UserError('GITCACHE_CONFIG', '--client-key without --client-cert', 'give both')
  }
  const { caFile, clientCert, clientKey, proxy, ...settings } = result.data
  const reach = { caFile, clientCert, clientKey, proxy }
  const config = { ...settings, secret, upstreams: readUpstreams(raw.upstream ?? [], reach) }
  if (one(raw, 'secret-file') !== undefined && Buffer.byteLength(secret) < MIN_SECRET) {
    throw new UserError(
      'GITCACHE_SECRET',
      `--secret-file ${one(raw, 'secret-file')} holds less than ${MIN_SECRET} bytes`,
      'make one: head -c 32 /dev/urandom | base64 > FILE'
    )
  }
  if (!isUnixSocket(config.socket) && secret === '') {
    throw new UserError(
      'GITCACHE_SECRET',
      `--socket ${config.socket} is TCP without a secret`,
      'whoever can call the sidecar can read every mirror; give --secret-file or a unix socket'
    )
  }
  return Object.freeze(config)
}

/** A proxy's address may hold a password. */
function shown(name: Name, value: string): string {
  return name === 'proxy' ? masked(value) : shortened(value)
}

function isReadable(file: string): boolean {
  return succeeds(() => accessSync(file, constants.R_OK))
}

function holdsCertificate(file: string): boolean {
  return succeeds(() => new X509Certificate(readFileSync(file)))
}

function holdsKey(file: string): boolean {
  return succeeds(() => createPrivateKey(readFileSync(file)))
}

function succeeds(work: () => unknown): boolean {
  try {
    work()
    return true
  } catch {
    return false
  }
}

/** Throws UserError. */
export function readSecret(file: string | undefined): string {
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
