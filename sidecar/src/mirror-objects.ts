/** Which objects a repository has, and what a mirror lacks for an answer: as git says it. */
import type { FetchRequest } from '../../njs/src/git/fetch-request.ts'
import { type GitResult, runGitIn } from './git.ts'
import { Pass } from './protocol.ts'

/** A disk that hangs must not hold a place in the queue for ever. Milliseconds. */
const LOOK_STALLS = 60_000

/** A short question about object ids. Throws Pass where git cannot tell. */
export async function ask(dir: string, args: string[], oids: string[]): Promise<GitResult> {
  const input = `${oids.join('\n')}\n`
  const result = await runGitIn(dir, args, { input, stallAfter: LOOK_STALLS })
  if (result.code === -1) throw new Pass('generate', result.stderr)
  return result
}

/** Object types by id; a missing object has none. git-cat-file(1). */
export async function objectTypes(dir: string, oids: string[]): Promise<Map<string, string>> {
  const batch = ['cat-file', '--batch-check=%(objectname) %(objecttype)']
  const { stdout } = await ask(dir, batch, oids)
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
  /** There are haves, and it has none: who has most of a history would be sent all of it. */
  haves: boolean
  /** A tag of the tag state is missing. */
  tags: boolean
}

/**
 * What the mirror must hold to give the same answer as upstream: wants and shallows, and `tags`, the
 * ids in the tag state. Commits and tags that are wanted reachable from a ref, not merely present: a
 * failed fetch leaves commits without history. One git looks for all, since each takes 9 ms to begin.
 */
export async function lacking(
  dir: string,
  request: FetchRequest,
  tags: string[]
): Promise<Lacking> {
  const { haves } = request
  const oids = [...new Set([...request.wants, ...request.shallows])]
  const types = await objectTypes(dir, [...oids, ...haves, ...tags])
  const missing = oids.filter((oid) => !types.has(oid))
  const history = oids.filter((oid) => /^(commit|tag)$/.test(types.get(oid) ?? ''))
  const trees = oids.filter((oid) => types.get(oid) === 'tree')
  const unreachable = (await reachable(dir, history)) ? [] : await unreachableOf(dir, history)
  const whole = trees.length === 0 || (await treesAreWhole(dir, trees, request.filter))
  return {
    oids: [...missing, ...unreachable],
    contents: !whole,
    haves: haves.length > 0 && !haves.some((oid) => types.has(oid)),
    tags: tags.some((oid) => !types.has(oid)),
  }
}

/** git 2.39's `--stdin` takes no `--not` lines, so they are arguments. git-rev-list(1). */
async function reachable(dir: string, oids: string[]): Promise<boolean> {
  if (oids.length === 0) {
    return true
  }
  const walk = ['rev-list', '--max-count=1', '--stdin', '--not', '--all']
  const { code, stdout } = await ask(dir, walk, oids)
  return code === 0 && stdout === ''
}

const ONE_BY_ONE = 16

async function unreachableOf(dir: string, oids: string[]): Promise<string[]> {
  if (oids.length > ONE_BY_ONE) {
    return oids
  }
  const unreachable: string[] = []
  for (const oid of oids) {
    if (!(await reachable(dir, [oid]))) unreachable.push(oid)
  }
  return unreachable
}

/** A walk of these trees alone finds all that the filter leaves in. */
async function treesAreWhole(
  dir: string,
  trees: string[],
  filter: string | null
): Promise<boolean> {
  const filters = filter === null ? [] : [`--filter=${filter}`]
  const walk = ['rev-list', '--objects', '--quiet', ...filters, '--stdin']
  const { code } = await ask(dir, walk, trees)
  return code === 0
}

/** Which of these are there at all. */
export async function present(dir: string, oids: string[]): Promise<string[]> {
  const types = await objectTypes(dir, oids)
  return oids.filter((oid) => types.has(oid))
}
