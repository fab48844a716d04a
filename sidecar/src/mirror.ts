/** One mirror: a bare repository of one upstream repository. Git's part; who waits is mirrors.ts. */
import { access, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { FetchRequest, ObjectFormat } from '../../njs/src/git/fetch-request.ts'
import { type GitOptions, type GitResult, runGit } from './git.ts'

export interface MirrorName {
  upstream: string
  repository: string
  format: ObjectFormat
}

export interface FetchSource {
  url: string
  /** Credentials and TLS: from `gitEnvironment`. */
  env: Record<string, string>
}

/** Not refs/*: forges advertise 100,000 refs of pull requests. git-fetch(1). */
const REFSPECS = ['+refs/heads/*:refs/heads/*', '+refs/tags/*:refs/tags/*']

/**
 * No --prune: a fetch by a user who sees less must not take away what another needs. No
 * --update-shallow: a tip whose history upstream does not have is then refused, and never held.
 */
const FETCH = [
  'fetch',
  '--quiet',
  '--force',
  '--no-tags',
  '--no-write-fetch-head',
  '--no-auto-maintenance',
  '--no-recurse-submodules',
]

/** A mirror is made with a file a ref, 24,000 of them, each synced; packed right after, in one synced file. */
const FAST_REFS = ['-c', 'core.fsync=committed,-reference']

export type FetchOutcome = 'ok' | 'shallow' | 'failed'

function git(dir: string, args: string[], options: GitOptions = {}): Promise<GitResult> {
  return runGit(['--git-dir', dir, ...args], options)
}

export async function exists(dir: string): Promise<boolean> {
  return access(path.join(dir, 'HEAD')).then(
    () => true,
    () => false
  )
}

/** Makes a whole mirror under `tmp` and moves it to `dir`; nothing is left where it fails. */
export async function makeMirror(
  name: MirrorName,
  source: FetchSource,
  tmp: string,
  dir: string
): Promise<FetchOutcome> {
  const init = await runGit([
    'init',
    '--bare',
    '--quiet',
    '--template=',
    `--object-format=${name.format}`,
    tmp,
  ])
  const outcome = init.code === 0 ? await fetch(tmp, source, REFSPECS, FAST_REFS) : 'failed'
  if (outcome === 'ok') await git(tmp, ['pack-refs', '--all'])
  if (outcome !== 'ok') {
    await rm(tmp, { recursive: true, force: true })
    return outcome
  }
  await writeFile(path.join(tmp, 'gitcache.json'), JSON.stringify(name))
  await rename(tmp, dir)
  return 'ok'
}

export function fetchRefs(dir: string, source: FetchSource): Promise<FetchOutcome> {
  return fetch(dir, source, REFSPECS)
}

/** Objects that no ref gives (merges of pull requests, pins of submodules), kept by a ref each. */
export function fetchByOid(
  dir: string,
  source: FetchSource,
  oids: string[]
): Promise<FetchOutcome> {
  return fetch(
    dir,
    source,
    oids.map((oid) => `${oid}:refs/keep/${oid}`)
  )
}

async function fetch(
  dir: string,
  source: FetchSource,
  specs: string[],
  settings: string[] = []
): Promise<FetchOutcome> {
  const args = [...settings, ...FETCH, source.url, ...specs]
  const { code, stderr } = await git(dir, args, { env: source.env })
  if (/shallow roots are not allowed/.test(stderr)) {
    return 'shallow'
  }
  return code === 0 ? 'ok' : 'failed'
}

/** Object types by id; a missing object has none. git-cat-file(1). */
async function objectTypes(dir: string, oids: string[]): Promise<Map<string, string>> {
  const { stdout } = await git(dir, ['cat-file', '--batch-check=%(objectname) %(objecttype)'], {
    input: `${oids.join('\n')}\n`,
  })
  const types = new Map<string, string>()
  for (const line of stdout.split('\n')) {
    const [oid, type] = line.split(' ')
    if (oid && type && type !== 'missing') types.set(oid, type)
  }
  return types
}

/** What of these the mirror lacks: objects by kind, since each kind is brought in another way. */
export interface Lacking {
  /** Commits and tags that no ref of the mirror reaches, and objects that are not there at all. */
  oids: string[]
  /** A blob or tree is missing: it cannot be fetched by itself and kept. */
  contents: boolean
}

/**
 * What the mirror must hold to give the same answer as upstream: wants and shallows. Commits and
 * tags reachable from a ref, not merely present: a failed fetch leaves commits without history.
 */
export async function lacking(dir: string, request: FetchRequest): Promise<Lacking> {
  const oids = [...new Set([...request.wants, ...request.shallows])]
  const types = await objectTypes(dir, oids)
  const missing = oids.filter((oid) => !types.has(oid))
  const history = oids.filter((oid) => /^(commit|tag)$/.test(types.get(oid) ?? ''))
  const trees = oids.filter((oid) => types.get(oid) === 'tree')
  const unreachable = (await reachable(dir, history)) ? [] : await unreachableOf(dir, history)
  const whole = trees.length === 0 || (await treesAreWhole(dir, trees, request.filter))
  return { oids: [...missing, ...unreachable], contents: !whole }
}

/** git 2.39's `--stdin` takes no `--not` lines, so they are arguments. git-rev-list(1). */
async function reachable(dir: string, oids: string[]): Promise<boolean> {
  if (oids.length === 0) {
    return true
  }
  const { code, stdout } = await git(
    dir,
    ['rev-list', '--max-count=1', '--stdin', '--not', '--all'],
    {
      input: `${oids.join('\n')}\n`,
    }
  )
  return code === 0 && stdout === ''
}

const ONE_BY_ONE = 16

async function unreachableOf(dir: string, oids: string[]): Promise<string[]> {
  if (oids.length > ONE_BY_ONE) {
    return oids
  }
  const states = await Promise.all(oids.map((oid) => reachable(dir, [oid])))
  return oids.filter((_, i) => !states[i])
}

/** A walk of these trees alone finds all that the filter leaves in. */
async function treesAreWhole(
  dir: string,
  trees: string[],
  filter: string | null
): Promise<boolean> {
  const filters = filter === null ? [] : [`--filter=${filter}`]
  const { code } = await git(dir, ['rev-list', '--objects', '--quiet', ...filters, '--stdin'], {
    input: `${trees.join('\n')}\n`,
  })
  return code === 0
}

/** Which of these are there at all. */
export async function present(dir: string, oids: string[]): Promise<string[]> {
  const types = await objectTypes(dir, oids)
  return oids.filter((oid) => types.has(oid))
}
