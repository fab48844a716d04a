/**
 * Repositories with the shape of real ones, made by git fast-import: deterministic, and kept between
 * runs. A commit changes three files of one directory, so it brings six objects.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'

export interface Shape {
  name: string
  commits: number
  dirs: number
  filesPerDir: number
  /** Files of 30 kB that hardly compress and never change: most of a depth-1 clone. */
  assets: number
}

export const LARGE: Shape = {
  name: 'large',
  commits: 56_000,
  dirs: 100,
  filesPerDir: 50,
  assets: 150,
}
export const SMALL: Shape = { name: 'small', commits: 1200, dirs: 8, filesPerDir: 10, assets: 20 }

/** xorshift32: the same numbers everywhere. */
function numbers(seed: number): () => number {
  let x = seed
  return () => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return x >>> 0
  }
}

function line(next: () => number): string {
  let text = ''
  for (let i = 0; i < 8; i++) text += next().toString(36).padStart(7, 'x')
  return text
}

const data = (text: string): string => `data ${Buffer.byteLength(text)}\n${text}\n`

function* stream(shape: Shape): Generator<string> {
  const next = numbers(42)
  const files: string[][] = []
  const count = shape.dirs * shape.filesPerDir
  for (let i = 0; i < count; i++) files.push(Array.from({ length: 40 }, () => line(next)))
  const name = (i: number) => `d${i % shape.dirs}/f${Math.floor(i / shape.dirs)}.txt`
  for (let n = 1; n <= shape.commits; n++) {
    yield `commit refs/heads/main\nmark :${n}\ncommitter A <a@example.org> ${1_500_000_000 + n * 60} +0000\n`
    yield data(`change ${n}: ${line(next)}`)
    if (n === 1) {
      for (let i = 0; i < shape.assets; i++) {
        const asset = Array.from({ length: 560 }, () => line(next)).join('')
        yield `M 100644 inline assets/a${i}.bin\n${data(asset)}`
      }
      for (let i = 0; i < count; i++) yield `M 100644 inline ${name(i)}\n${data(text(files[i]))}`
    }
    const dir = next() % shape.dirs
    for (let k = 0; k < 3; k++) {
      const i = ((next() % shape.filesPerDir) * shape.dirs + dir) % count
      const file = files[i] as string[]
      for (let j = 0; j < 8; j++) file[next() % file.length] = line(next)
      yield `M 100644 inline ${name(i)}\n${data(text(file))}`
    }
  }
  for (let b = 1; b <= 50; b++) {
    yield `reset refs/heads/b${b}\nfrom :${Math.max(1, shape.commits - b * 7)}\n\n`
  }
}

function text(lines: string[] | undefined): string {
  return `${(lines ?? []).join('\n')}\n`
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
    git(tmp, 'repack', '-q', '-a', '-d', '-f', '--window=10')
    git(tmp, 'gc', '-q')
    writeFileSync(path.join(tmp, 'git-daemon-export-ok'), '')
    renameSync(tmp, dir)
  }
  reset(dir)
  return dir
}

/** What an earlier run has pushed is gone. */
export function reset(dir: string): void {
  git(dir, 'update-ref', 'refs/heads/main', 'refs/bench/base')
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
