/** Real git for the tests: nothing of the machine's configuration, fixed dates, small repositories. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

const ENVIRONMENT = {
  PATH: process.env.PATH,
  LC_ALL: 'C',
  HOME: '/nonexistent',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_TERMINAL_PROMPT: '0',
}

export interface GitRun {
  status: number
  stdout: Buffer
  stderr: string
}

/** Runs git to its end; a status other than 0 is a result. */
export function tryGit(
  args: string[],
  input: string | Uint8Array = '',
  env: Record<string, string> = {}
): GitRun {
  const run = spawnSync('git', args, {
    input,
    env: { ...ENVIRONMENT, ...env },
    maxBuffer: 64 * 1024 * 1024,
  })
  if (run.error) throw run.error
  return { status: run.status ?? -1, stdout: run.stdout, stderr: run.stderr.toString() }
}

export function git(
  args: string[],
  input: string | Uint8Array = '',
  env: Record<string, string> = {}
): string {
  const { status, stdout, stderr } = tryGit(args, input, env)
  if (status !== 0) throw new Error(`git ${args.join(' ')}: ${stderr}`)
  return stdout.toString().trim()
}

/** A directory that the caller removes with the function beside it. */
export function scratch(): { dir: string; remove: () => void } {
  const dir = mkdtempSync(path.join(tmpdir(), 'gitcache-test-'))
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) }
}

const COMMITS = 12

/**
 * A bare repository by git-fast-import(1), the same ids each time: twelve commits on main, a branch
 * `side` from the sixth, an annotated tag every four commits, and a lightweight one.
 */
export function makeRepository(dir: string, format: 'sha1' | 'sha256' = 'sha1'): void {
  git(['init', '--bare', '--quiet', '--initial-branch=main', `--object-format=${format}`, dir])
  git(['--git-dir', dir, 'fast-import', '--quiet', '--done'], history())
  for (const name of ['uploadpack.allowFilter', 'uploadpack.allowAnySHA1InWant']) {
    git(['--git-dir', dir, 'config', name, 'true'])
  }
}

function history(): string {
  const commands: string[] = []
  for (let i = 1; i <= COMMITS; i++) {
    commands.push(commit('main', i, `M 100644 inline file\n${data(lines(i))}`))
    if (i % 4 === 0) commands.push(tag(i))
    if (i === 6) commands.push('reset refs/heads/side\nfrom refs/heads/main\n')
  }
  commands.push(commit('side', 20, `M 100644 inline dir/other\n${data(lines(3))}`))
  commands.push('reset refs/tags/light\nfrom refs/heads/side\n')
  return `${commands.join('\n')}\ndone\n`
}

function lines(count: number): string {
  return Array.from({ length: count }, (_, i) => `line ${i} of ${count}\n`).join('')
}

function when(i: number): string {
  return `Tester <tester@example.org> ${1_700_000_000 + i * 86_400} +0000`
}

function commit(branch: string, i: number, changes: string): string {
  return `commit refs/heads/${branch}\ncommitter ${when(i)}\n${data(`Change ${i}\n`)}${changes}`
}

function tag(i: number): string {
  return `tag v${i}\nfrom refs/heads/main\ntagger ${when(i)}\n${data(`Version ${i}\n`)}`
}

function data(text: string): string {
  return `data ${Buffer.byteLength(text)}\n${text}`
}

export function oidOf(dir: string, name: string): string {
  return git(['--git-dir', dir, 'rev-parse', name])
}

/** What `git upload-pack` answers to the body of one POST. */
export function uploadPack(dir: string, family: 0 | 2, body: string | Uint8Array): Buffer {
  const version = family === 2 ? 'version=2' : ''
  return tryGit(['upload-pack', '--stateless-rpc', dir], body, { GIT_PROTOCOL: version }).stdout
}

/** A commit on top of main, on a new branch or, where that is null, on none. Returns its object id. */
export function newCommit(dir: string, branch: string | null, message: string): string {
  const who = ['-c', 'user.name=A', '-c', 'user.email=a@example.org', '--git-dir', dir]
  const oid = git([...who, 'commit-tree', '-p', 'main', '-m', message, 'main^{tree}'])
  if (branch !== null) git([...who, 'update-ref', `refs/heads/${branch}`, oid])
  return oid
}
