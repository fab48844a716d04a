/**
 * Repositories with the shape of real ones (git.git is the model), made by git fast-import:
 * deterministic, and kept between runs. A commit changes three files of one directory, so it brings
 * six objects. Deltas are against older versions, as pushes bring them and as a repack keeps them;
 * no bitmap and no commit-graph, as in a clone: what upstream's own upkeep would make cheaper is not
 * counted for us.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'

export interface Shape {
  name: string
  commits: number
  dirs: number
  filesPerDir: number
  /** Of these, so many are ever changed: the others are stored whole. */
  livelyPerDir: number
  /** Branches with a commit of their own; and as many annotated tags. */
  refs: number
}

export const LARGE: Shape = {
  name: 'large',
  commits: 56_000,
  dirs: 100,
  filesPerDir: 50,
  livelyPerDir: 25,
  refs: 500,
}
export const SMALL: Shape = {
  name: 'small',
  commits: 1200,
  dirs: 8,
  filesPerDir: 10,
  livelyPerDir: 5,
  refs: 20,
}

/** Integers, the same everywhere (xorshift32). */
type Numbers = () => number

function numbers(seed: number): Numbers {
  let x = seed
  return () => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return x >>> 0
  }
}

/** Source text, as zlib sees it: a few words are everywhere, and most are rare. */
const LETTERS = 'etaoinshrdlcumwfgypbvk_0(); '
const WORDS = ((next: Numbers) =>
  Array.from({ length: 6000 }, () =>
    Array.from({ length: 2 + (next() % 8) }, () => LETTERS[next() % LETTERS.length]).join('')
  ))(numbers(7))

function line(next: Numbers): string {
  const words = Array.from({ length: 4 + (next() % 5) }, () => {
    const chance = next() / 2 ** 32
    return WORDS[Math.floor(chance * chance * WORDS.length)]
  })
  return `${'  '.repeat(next() % 4)}${words.join(' ')}\n`
}

const data = (text: string): string => `data ${Buffer.byteLength(text)}\n${text}\n`

/** Which files each commit changes, by their numbers. */
function changesOf(shape: Shape): number[][] {
  const next = numbers(42)
  return Array.from({ length: shape.commits }, () => {
    const dir = next() % shape.dirs
    return Array.from({ length: 3 }, () => (next() % shape.livelyPerDir) * shape.dirs + dir)
  })
}

/** One file's versions, one after the other: fast-import makes each a delta of the one before. */
function* blobs(file: number, versions: number, firstMark: number): Generator<string> {
  const next = numbers(1000 + file)
  const lines = Array.from({ length: 20 + (next() % 200) }, () => line(next))
  for (let version = 0; version < versions; version++) {
    for (let hunk = 0; hunk < 4 && version > 0; hunk++) {
      const at = next() % lines.length
      for (let i = at; i < at + 4 && i < lines.length; i++) lines[i] = line(next)
    }
    yield `blob\nmark :${firstMark + version}\n${data(lines.join(''))}`
  }
}

function* stream(shape: Shape): Generator<string> {
  const changes = changesOf(shape)
  const versions = Array(shape.dirs * shape.filesPerDir).fill(1) as number[]
  for (const i of changes.flat()) versions[i] = (versions[i] ?? 0) + 1
  const marks: number[] = []
  let mark = 1
  for (const [i, count] of versions.entries()) {
    yield* blobs(i, count, mark)
    marks.push(mark)
    mark += count
  }
  const modify = (i: number) =>
    `M 100644 :${marks[i]} d${i % shape.dirs}/f${Math.floor(i / shape.dirs)}.txt\n`
  const next = numbers(43)
  const who = (n: number) => `A <a@example.org> ${1_500_000_000 + n * 60} +0000\n`
  for (const [n, changed] of changes.entries()) {
    yield `commit refs/heads/main\nmark :${mark + n}\ncommitter ${who(n)}`
    yield data(`change ${n}: ${line(next)}`)
    if (n === 0) for (const i of marks.keys()) yield modify(i)
    for (const i of changed) {
      marks[i] = (marks[i] ?? 0) + 1
      yield modify(i)
    }
  }
  const apart = Math.floor(shape.commits / shape.refs)
  for (let i = 0; i < shape.refs; i++) {
    const at = `from :${mark + i * apart}\n`
    const when = who(i * apart)
    yield `commit refs/heads/topic-${i}\ncommitter ${when}${data(`topic ${i}`)}${at}`
    yield `M 100644 inline topics/${i}.txt\n${data(line(next))}`
    yield `tag v${i}\n${at}tagger ${when}${data(`version ${i}`)}`
  }
}

export function git(dir: string, ...args: string[]): string {
  return execFileSync('git', ['-C', dir, ...args], { encoding: 'utf8', maxBuffer: 2 ** 28 }).trim()
}

/** The repository under `root`, made on the first run: minutes for the large one. */
export async function repositoryOf(root: string, shape: Shape): Promise<string> {
  const dir = path.join(root, `${shape.name}.git`)
  if (!existsSync(dir)) {
    const tmp = `${dir}.tmp`
    rmSync(tmp, { recursive: true, force: true })
    git(root, 'init', '-q', '--bare', '--template=', '-b', 'main', tmp)
    git(tmp, 'config', 'uploadpack.allowFilter', 'true')
    git(tmp, 'config', 'transfer.hideRefs', 'refs/bench')
    const child = spawn('git', ['-C', tmp, 'fast-import', '--quiet'], {
      stdio: ['pipe', 'inherit', 'inherit'],
    })
    let batch: string[] = []
    for (const part of stream(shape)) {
      batch.push(part)
      if (batch.length < 2000) continue
      if (!child.stdin.write(batch.join(''))) await once(child.stdin, 'drain')
      batch = []
    }
    child.stdin.end(batch.join(''))
    await once(child, 'close')
    git(tmp, 'update-ref', 'refs/bench/base', 'refs/heads/main')
    git(tmp, '-c', 'repack.writeBitmaps=false', 'repack', '-q', '-a', '-d')
    git(tmp, 'pack-refs', '--all')
    writeFileSync(path.join(tmp, 'git-daemon-export-ok'), '')
    renameSync(tmp, dir)
  }
  reset(dir)
  return dir
}

/** One blob of 100 kB that does not compress. */
export const TINY = 'tiny.git'
/** The others are as long as a depth-1 answer of the large one: V8 compiles what it meets that often. */
export const WARM_UPS = [TINY, 'warm-1.git', 'warm-2.git', 'warm-3.git']

/** The repositories that a sidecar has answered for before it is measured. */
export function makeWarmUps(repos: string): void {
  for (const name of WARM_UPS) makeBlob(path.join(repos, name), name === TINY ? 1e5 : 15e6)
}

function makeBlob(dir: string, size: number): void {
  if (existsSync(dir)) return
  git(path.dirname(dir), 'init', '-q', '--bare', '--template=', '-b', 'main', dir)
  const script = `head -c ${size} /dev/urandom | git hash-object -w --stdin > oid
tree=$(printf '100644 blob %s\\tx\\n' "$(cat oid)" | git mktree)
git update-ref refs/heads/main "$(git commit-tree -m x "$tree")"`
  execFileSync('sh', ['-ec', script], { cwd: dir, env: { ...process.env, ...WHO } })
}

/** A repository of so many commits, each with a ref and nothing in common; their ids. */
export function manyCommits(dir: string, count: number): string[] {
  if (!existsSync(dir)) {
    git(path.dirname(dir), 'init', '-q', '--bare', '--template=', '-b', 'main', dir)
    const commits = Array.from(
      { length: count },
      (_, i) =>
        `commit refs/heads/${i === 0 ? 'main' : `c${i}`}\ncommitter A <a@example.org> ${1_500_000_000 + i} +0000\n${data(`${i}`)}`
    )
    execFileSync('git', ['-C', dir, 'fast-import', '--quiet'], { input: commits.join('') })
    git(dir, 'pack-refs', '--all')
  }
  return git(dir, 'for-each-ref', '--format=%(objectname)').split('\n')
}

/** What an earlier run has pushed is gone. */
export function reset(dir: string): void {
  git(dir, 'update-ref', 'refs/heads/main', 'refs/bench/base')
  // New commits are loose, and nothing else is.
  const objects = path.join(dir, 'objects')
  const loose = readdirSync(objects).filter((name) => /^[0-9a-f]{2}$/.test(name))
  for (const name of loose) rmSync(path.join(objects, name), { recursive: true })
}

const WHO = {
  GIT_AUTHOR_NAME: 'A',
  GIT_AUTHOR_EMAIL: 'a@example.org',
  GIT_COMMITTER_NAME: 'A',
  GIT_COMMITTER_EMAIL: 'a@example.org',
}
let serial = 0

/** So many new commits on main, each with a file of its own; the new tip. */
export function commit(dir: string, count = 1): string {
  let tip = git(dir, 'rev-parse', 'refs/heads/main')
  for (let i = 0; i < count; i++) {
    serial += 1
    const run = (args: string[], input: string) =>
      execFileSync('git', ['-C', dir, ...args], {
        input,
        encoding: 'utf8',
        env: { ...process.env, ...WHO },
      }).trim()
    const blob = run(['hash-object', '-w', '--stdin'], `new ${serial} ${Date.now()}\n`)
    const tree = run(
      ['mktree'],
      `${git(dir, 'ls-tree', tip)
        .split('\n')
        .filter((entry) => !entry.endsWith('\tnew.txt'))
        .join('\n')}\n100644 blob ${blob}\tnew.txt\n`
    )
    tip = run(['commit-tree', '-p', tip, '-m', `new ${serial}`, tree], '')
  }
  git(dir, 'update-ref', 'refs/heads/main', tip)
  return tip
}
