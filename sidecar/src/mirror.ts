/** One mirror: a bare repository of one upstream repository. Git's part; who waits is mirrors.ts. */
import { rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { ObjectFormat } from '../../njs/src/git/fetch-request.ts'
import { canAccess } from './can-access.ts'
import { type GitResult, runGit, runGitIn } from './git.ts'
import { present } from './mirror-objects.ts'
import { Pass } from './protocol.ts'

export interface MirrorName {
  upstream: string
  /** What may choose among the hosts that answer there. */
  vhost: string
  repository: string
  format: ObjectFormat
}

/** Who answers for a repository, whichever it is. */
export function siteOf({ upstream, vhost }: MirrorName): string {
  return `${upstream}\n${vhost}`
}

/** In each mirror: whose it is. When it was last written, the mirror was last used, or an hour before. */
export const NAME_FILE = 'gitcache.json'

export interface FetchSource {
  url: string
  /** Credentials and TLS: from `gitEnvironment`. */
  env: Record<string, string>
  /** Upstream that has said nothing at all for so many milliseconds is silent. */
  beginWithin: number
  /** A fetch that says nothing for so many milliseconds is ended. */
  stallAfter: number
}

/** Not refs/*: forges advertise 100,000 refs of pull requests. git-fetch(1). */
const REFSPECS = ['+refs/heads/*:refs/heads/*', '+refs/tags/*:refs/tags/*']

/**
 * No --prune: a fetch by a user who sees less must not take away what another needs. No
 * --update-shallow: a tip whose history upstream does not have is then refused, and never held.
 */
const FETCH = [
  'fetch',
  '--progress',
  '--force',
  '--no-tags',
  '--no-write-fetch-head',
  '--no-auto-maintenance',
  '--no-recurse-submodules',
]

/**
 * `overloaded`: upstream said 429 or 5xx, `silent`: nothing; every client's affair and not this one's.
 * `broken`: what the mirror should hold already is not there.
 */
export type FetchOutcome = 'ok' | 'shallow' | 'overloaded' | 'silent' | 'broken' | 'failed'

export interface Fetched {
  outcome: FetchOutcome
  /** Why it failed, in git's own words: upstream's may name a client. */
  words: string
}

const BROKEN =
  /bad object|did not send all necessary objects|not point to a valid object|failed to load pack|is corrupt|not a git repository|bad config|(?:unexpected|unterminated) line in/

/** Whether it is a repository. */
export function exists(dir: string): Promise<boolean> {
  return canAccess(path.join(dir, 'HEAD'))
}

/** An empty repository that is to become a mirror. */
export async function initMirror(format: ObjectFormat, tmp: string): Promise<boolean> {
  const option = `--object-format=${format}`
  const init = await runGit(['init', '--bare', '--quiet', '--template=', option, tmp])
  return init.code === 0
}

/** So much more patience where it has the objects: git walks them all, at idle priority, without a word. */
const SEEDED = 10

/**
 * Fetches all refs into it and moves it to `dir`. Where it has the objects already, upstream is
 * asked for its refs alone (git finds them connected).
 */
export async function finishMirror(
  name: MirrorName,
  source: FetchSource,
  tmp: string,
  dir: string,
  idle: boolean
): Promise<Fetched> {
  // Upstream may count long before its first word, and nobody waits for it here.
  const patience = source.stallAfter * (idle ? SEEDED : 1)
  const patient = { ...source, beginWithin: patience, stallAfter: patience }
  const fetched = await fetch(tmp, patient, REFSPECS, idle)
  if (fetched.outcome !== 'ok') {
    return fetched
  }
  await runGitIn(tmp, ['pack-refs', '--all'])
  await writeFile(path.join(tmp, NAME_FILE), JSON.stringify(name))
  // What a git left behind that was killed with the mirror before: rename(2) wants it empty.
  if (!(await exists(dir))) await rm(dir, { recursive: true, force: true })
  await rename(tmp, dir)
  return fetched
}

/** `broken`: links lead out of the pack. `unknown`: git met a limit of the machine. */
export type PackState = 'sound' | 'broken' | 'damaged' | 'unknown'

/** Indexes a pack in `dir`, whose trailer git checks. With `whole`, each link must stay in the pack. */
export async function indexPack(
  dir: string,
  pack: AsyncIterable<Buffer>,
  { whole, idle }: { whole: boolean; idle: boolean }
): Promise<PackState> {
  const check = whole ? ['--check-self-contained-and-connected'] : []
  const args = ['index-pack', '--stdin', ...check]
  const { code, stderr } = await runGitIn(dir, args, { input: pack, idle })
  if (code === -1) {
    return 'unknown'
  }
  const broken = code === 1 || /did not receive expected object/.test(stderr)
  return code === 0 ? 'sound' : broken ? 'broken' : 'damaged'
}

const DAY = 24 * 3600 * 1000
const WITH_BITMAP = ['--write-midx', '--write-bitmap-index']

/** What makes generation cheap: bitmaps, a commit-graph, refs in one file. git-repack(1), git-commit-graph(1). */
export async function improve(dir: string): Promise<GitResult> {
  const repacked = await repack(dir, ['--geometric=2'])
  return repacked.code === 0 ? runGitIn(dir, ['pack-refs', '--all'], { idle: true }) : repacked
}

/** Drops what no ref has reached for `age`, as git-repack(1) means `--cruft-expiration`. */
export function prune(dir: string, age: string): Promise<GitResult> {
  return repack(dir, ['--cruft', `--cruft-expiration=${age}`])
}

/** The commit-graph afterwards: it must not name a commit that has gone. */
async function repack(dir: string, how: string[]): Promise<GitResult> {
  const idle = { idle: true }
  const repacked = await runGitIn(dir, ['repack', '--quiet', '-d', ...how, ...WITH_BITMAP], idle)
  const graph = await runGitIn(dir, ['commit-graph', 'write', '--reachable'], idle)
  return repacked.code === 0 ? graph : repacked
}

/** Refs that keep what was fetched by id: `refs/keep/2026-11-23/<oid>`, the day it was. */
export const KEEP = 'refs/keep'

function keepRef(oid: string, now = new Date()): string {
  return `${KEEP}/${now.toISOString().slice(0, 10)}/${oid}`
}

/** Those of days that end before this time, milliseconds since the epoch. */
export async function keepRefsBefore(dir: string, time: number): Promise<string[]> {
  const { stdout } = await runGitIn(dir, ['for-each-ref', '--format=%(refname)', KEEP])
  const isOld = (ref: string) => !(Date.parse(ref.split('/')[2] ?? '') + DAY > time)
  return stdout.split('\n').filter(Boolean).filter(isOld)
}

export function deleteRefs(dir: string, refs: string[]): Promise<GitResult> {
  const input = refs.map((ref) => `delete ${ref}\n`).join('')
  return runGitIn(dir, ['update-ref', '--stdin'], { input })
}

export function fetchRefs(dir: string, source: FetchSource): Promise<Fetched> {
  return fetch(dir, source, REFSPECS)
}

/** Each ref can be read and names an object that is there. Throws where git cannot tell. */
export async function refsAreWhole(dir: string): Promise<boolean> {
  const refs = await runGitIn(dir, ['for-each-ref', '--format=%(objectname)'])
  if (refs.code === -1) throw new Pass('generate', refs.stderr)
  const oids = refs.stdout.split('\n').filter(Boolean)
  const whole = refs.code === 0 && refs.stderr === ''
  return whole && (await present(dir, [...new Set(oids)])).length === new Set(oids).size
}

/** Every object that a ref needs is there. Throws where git cannot tell. git-fsck(1). */
export async function isConnected(dir: string): Promise<boolean> {
  const { code, stderr } = await runGitIn(dir, ['fsck', '--connectivity-only', '--no-dangling'], {
    idle: true,
  })
  if (code === -1) throw new Pass('generate', stderr)
  return code === 0
}

/** Objects that no ref gives (merges of pull requests, pins of submodules), kept by a ref each. */
export function fetchByOid(dir: string, source: FetchSource, oids: string[]): Promise<Fetched> {
  return fetch(
    dir,
    source,
    oids.map((oid) => `${oid}:${keepRef(oid)}`)
  )
}

async function fetch(
  dir: string,
  source: FetchSource,
  specs: string[],
  idle = false
): Promise<Fetched> {
  const result = await runGitIn(dir, [...FETCH, source.url, ...specs], {
    env: source.env,
    idle,
    beginWithin: source.beginWithin,
    stallAfter: source.stallAfter,
  })
  const outcome = outcomeOf(result)
  return { outcome, words: outcome === 'ok' ? '' : complaints(result.stderr) }
}

function outcomeOf({ code, stderr, silent }: GitResult): FetchOutcome {
  if (/shallow roots are not allowed/.test(stderr)) {
    return 'shallow'
  }
  if (silent) {
    return 'silent'
  }
  if (code !== 0 && /The requested URL returned error: (429|5\d\d)/.test(stderr)) {
    return 'overloaded'
  }
  if (code > 0 && BROKEN.test(ownWords(stderr))) {
    return 'broken'
  }
  return code === 0 ? 'ok' : 'failed'
}

const MAX_WORDS = 300

/** The lines that say why, and no progress. */
function complaints(stderr: string): string {
  const lines = ownWords(stderr).split(/[\r\n]+/)
  const said = lines.filter((line) => /^(?:fatal|error|warning): /.test(line))
  // What follows an ERR is upstream's.
  const own = said.map((line) => line.replace(/^(fatal: remote error):.*/, '$1'))
  return own.join('; ').slice(-MAX_WORDS)
}

/** Without upstream's, which are not about this mirror. */
function ownWords(stderr: string): string {
  return stderr
    .split('\n')
    .filter((line) => !line.startsWith('remote: '))
    .join('\n')
}
