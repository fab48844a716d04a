/**
 * What the objects of upstream's answer say once git has indexed them: whether it will still be the
 * answer to the same request tomorrow. A right checksum says nothing of that.
 */
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { type FetchRequest, isWhole } from '../../njs/src/git/fetch-request.ts'
import { runGitIn } from './git.ts'
import { ask, objectTypes, present } from './mirror-objects.ts'
import { Pass } from './protocol.ts'

export type Doubt =
  /** Upstream is itself shallow: history ends before the depth that was asked for. */
  | 'shallow'
  /** It is older than the tag state in its key: upstream has a cache of packs (Gitaly's lives five minutes). */
  | 'tags'
  /** An object that is reached from the wants is not in it: index-pack looks at each by itself. */
  | 'incomplete'

/**
 * Of a request without haves and shallows. `tags`: the lines of the tag state; `shallows`: the boundary
 * that the answer names. `idle`: nobody waits for it. Throws Pass where git cannot tell.
 */
export async function doubtOf(
  dir: string,
  request: FetchRequest,
  tags: readonly string[],
  shallows: readonly string[],
  idle: boolean
): Promise<Doubt | null> {
  if (isWhole(request)) {
    // index-pack has found it connected, and this will be the mirror.
    return (await lacksTags(dir, tags)) ? 'tags' : null
  }
  await writeFile(path.join(dir, 'shallow'), shallows.map((oid) => `${oid}\n`).join(''))
  if (await endsEarly(dir, request, shallows)) {
    return 'shallow'
  }
  if (await lacksTags(dir, tags)) {
    return 'tags'
  }
  return (await isIncomplete(dir, request, idle)) ? 'incomplete' : null
}

/** Under a filter objects are missing. Without a bound: it may walk for minutes, and says nothing. git-rev-list(1). */
async function isIncomplete(dir: string, request: FetchRequest, idle: boolean): Promise<boolean> {
  if (request.filter !== null) {
    return false
  }
  const input = `${request.wants.join('\n')}\n`
  const { code, stderr } = await runGitIn(dir, WALK, { input, idle })
  if (code === -1) {
    throw new Pass('generate', stderr)
  }
  return code !== 0
}

const WALK = ['rev-list', '--objects', '--quiet', '--stdin']

/**
 * The annotated tags of what is wanted itself. With include-tag upload-pack sends each whose object
 * is in the pack: pack-objects.c, add_ref_tag.
 */
export function tagsOf(wants: readonly string[], tags: readonly string[]): string[] {
  const wanted = new Set(wants)
  return annotated(tags)
    .filter(({ peeled }) => wanted.has(peeled))
    .map(({ oid }) => oid)
}

function annotated(tags: readonly string[]): { oid: string; peeled: string }[] {
  return tags
    .map((line) => line.split(' '))
    .filter(({ length }) => length === 3)
    .map(([oid = '', , peeled = '']) => ({ oid, peeled }))
}

async function lacksTags(dir: string, tags: readonly string[]): Promise<boolean> {
  const rows = annotated(tags)
  if (rows.length === 0) {
    return false
  }
  const there = new Set(await present(dir, rows.flatMap(Object.values)))
  return rows.some(({ oid, peeled }) => there.has(peeled) && !there.has(oid))
}

function depthOf({ deepen }: FetchRequest): number {
  return deepen === null ? Number.POSITIVE_INFINITY : Number(deepen.slice('deepen '.length))
}

/**
 * Not at depth 1, where the wants are the boundary whatever upstream has; not of a whole clone, which
 * index-pack finds connected or not; nor where v2 says so without being asked (isUnaskedShallow in cold.ts).
 */
function mayEndEarly(request: FetchRequest): boolean {
  const isSaid = request.family === 2 && request.deepen === null
  return !isSaid && depthOf(request) !== 1 && !isWhole(request)
}

/** False where the commits that would tell are filtered out. */
export function canTell(request: FetchRequest): boolean {
  return !mayEndEarly(request) || !request.filter?.includes('object:type=')
}

/** Whether a commit is a boundary that is not as deep as was asked. */
async function endsEarly(
  dir: string,
  request: FetchRequest,
  shallows: readonly string[]
): Promise<boolean> {
  if (!mayEndEarly(request)) {
    return false
  }
  // A parent that is neither there nor behind the boundary.
  if (shallows.length === 0) return !(await isWholeHistory(dir, request.wants))
  const parents = await history(dir, request.wants)
  if (parents === null) {
    return true
  }
  const depths = await depthsFrom(await commitsOf(dir, request.wants), parents)
  const depth = depthOf(request)
  return shallows.some((oid) => (depths.get(oid) ?? Number.POSITIVE_INFINITY) < depth)
}

async function isWholeHistory(dir: string, wants: string[]): Promise<boolean> {
  return (await ask(dir, ['rev-list', '--quiet', '--stdin'], wants)).code === 0
}

/** So many commits are read at once: 300,000 would hold up everyone for a second. */
const SLICE = 5000

/** Parents of each commit that is there; null where one is neither there nor behind the boundary. */
async function history(dir: string, wants: string[]): Promise<Map<string, string[]> | null> {
  const { code, stdout } = await ask(dir, ['rev-list', '--parents', '--stdin'], wants)
  if (code !== 0) {
    return null
  }
  const found = new Map<string, string[]>()
  for (const line of stdout.split('\n').filter(Boolean)) {
    const [commit = '', ...parents] = line.split(' ')
    found.set(commit, parents)
    if (found.size % SLICE === 0) await setImmediate()
  }
  return found
}

/** Of wants that are tags, the commits behind them. */
async function commitsOf(dir: string, wants: string[]): Promise<string[]> {
  const types = await objectTypes(
    dir,
    wants.map((oid) => `${oid}^{commit}`)
  )
  return [...types.keys()]
}

/** The wants have depth 1. */
async function depthsFrom(
  wants: string[],
  parents: Map<string, string[]>
): Promise<Map<string, number>> {
  const depths = new Map<string, number>()
  let row = wants
  for (let depth = 1; row.length > 0; depth++) {
    const fresh = [...new Set(row)].filter((oid) => !depths.has(oid))
    for (const oid of fresh) {
      depths.set(oid, depth)
      if (depths.size % SLICE === 0) await setImmediate()
    }
    row = fresh.flatMap((oid) => parents.get(oid) ?? [])
  }
  return depths
}
