/** Runs git. The only file that spawns git, so that its environment is closed in one place. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { PassThrough, Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { killAllGroups, killGroup, track } from './process-groups.ts'

export interface GitOptions {
  /** Read from standard input, then end of file. */
  input?: string | AsyncIterable<Buffer>
  env?: Record<string, string>
  /** Upkeep: gives way to everything else on the machine. */
  idle?: boolean
  /**
   * Ended when it has said nothing, on either stream, for so many milliseconds. Not by its whole
   * time: a first fetch may take an hour. Not by http.lowSpeedLimit: upstream may count for minutes.
   */
  stallAfter?: number
  /** The same until it says its first word, where that is sooner. Milliseconds. */
  beginWithin?: number
}

export interface GitResult {
  /** Exit status; -1 where git was not started, was killed, or met a limit of the machine. */
  code: number
  stdout: string
  stderr: string
  /** It was ended before it had said a word. */
  silent: boolean
}

export interface GitProcess {
  stdin: Writable
  stdout: Readable
  /** Settles when git has exited and its output is closed; never rejects. */
  done: Promise<GitEnd>
  kill(): void
}

type GitEnd = Omit<GitResult, 'stdout'>

/** gitcredentials(7), git-config(1): nothing of the machine's, no prompt, no hook, no helper. */
const ENVIRONMENT = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  LC_ALL: 'C',
  HOME: '/nonexistent',
  XDG_CONFIG_HOME: '/nonexistent',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_TERMINAL_PROMPT: '0',
  GIT_ASKPASS: '/bin/false',
  GIT_ALLOW_PROTOCOL: 'http:https',
  GIT_NO_LAZY_FETCH: '1',
  GIT_NO_REPLACE_OBJECTS: '1',
}

const CONFIG = [
  'credential.helper=',
  'core.hooksPath=/dev/null',
  'core.logAllRefUpdates=false',
  'safe.directory=*',
  'gc.auto=0',
  'maintenance.auto=false',
  'fetch.unpackLimit=1',
  'fetch.writeCommitGraph=false',
  'transfer.fsckObjects=false',
  'transfer.bundleURI=false',
  'http.followRedirects=false',
  'protocol.version=2',
  'uploadpack.allowFilter=true',
  'uploadpack.allowAnySHA1InWant=true',
  'uploadpack.keepAlive=5',
].flatMap((setting) => ['-c', setting])

const CHRT = ['chrt', '--idle', '0']
let idleCommand: string[] | null = null

/** nice(1), and where the machine has it, and allows it (seccomp), chrt(1) with the idle scheduling class. */
function idleGit(): string[] {
  if (idleCommand === null) {
    const [command = '', ...args] = CHRT
    const { status } = spawnSync(command, [...args, 'true'], { env: ENVIRONMENT })
    idleCommand = ['nice', '-n', '19', ...(status === 0 ? CHRT : []), 'git']
  }
  return idleCommand
}

const STDERR_KEPT = 8192

/**
 * git exits with 128 for this as for a damaged repository; only its words tell them apart. A child of
 * its own is ended by the kernel for want of memory.
 */
export const STARVED =
  /died of signal (9|15)\b|out of memory|cannot allocate memory|cannot fork|cannot create async|unable to create thread|resource temporarily unavailable|too many open files|no space left|quota exceeded/i

let ended = false

/** None runs and none is started any more: a place in the queue that is free now is nobody's. */
export function endAllGit(): void {
  ended = true
  killAllGroups()
}

/** What spawn(2) by Node opens: three pairs of sockets and a pipe. */
const DESCRIPTORS = 8

/**
 * Where the pipe cannot be had, Node forgets the three sockets that it has opened already: out of
 * descriptors once, it never had enough again. So they are asked for first.
 */
function canSpawn(): boolean {
  const opened: number[] = []
  try {
    for (let i = 0; i < DESCRIPTORS; i++) opened.push(openSync('/dev/null', 'r'))
    return true
  } catch {
    return false
  } finally {
    for (const descriptor of opened) closeSync(descriptor)
  }
}

/** A git that was not started. */
function notStarted(done: Promise<GitEnd>): GitProcess {
  return { stdin: new PassThrough(), stdout: Readable.from([]), done, kill: () => {} }
}

/** Node throws where memory runs out, and tells of most else by an event. */
function started(command: string, args: string[], { env }: GitOptions): ChildProcess | Error {
  if (ended || !canSpawn()) {
    return new Error(ended ? 'the sidecar ends' : 'too many open files')
  }
  try {
    return spawn(command, args, {
      env: { ...ENVIRONMENT, ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    })
  } catch (error) {
    return error as Error
  }
}

export function spawnGit(args: string[], options: GitOptions = {}): GitProcess {
  const [command = '', ...before] = options.idle ? idleGit() : ['git']
  const child = started(command, [...before, ...CONFIG, ...args], options)
  if (child instanceof Error) {
    return notStarted(Promise.resolve({ code: -1, stderr: child.message, silent: false }))
  }
  const { stallAfter, beginWithin } = options
  const silent = stallAfter === undefined ? never : endWhenSilent(child, stallAfter, beginWithin)
  const done = finished(child, silent)
  // Out of file descriptors all the same: Node gives no streams then, whatever its types say.
  const { stdin, stdout } = child
  if (!stdin || !stdout) {
    return notStarted(done)
  }
  track(child, args)
  if (options.idle) idleSession(child)
  const kill = () => child.pid !== undefined && killGroup(child.pid)
  // A child that exits early closes its end; its exit status says what there is to say.
  stdin.on('error', () => {})
  if (typeof options.input === 'string') {
    stdin.end(options.input)
  } else if (options.input !== undefined) {
    // An input that breaks off leaves git without its end: it fails by itself.
    pipeline(options.input, stdin).catch(() => stdin.destroy())
  }
  return { stdin, stdout, done, kill }
}

/** The kernel takes this from any one user but ten times a second. Milliseconds. */
const ASK_AGAIN = 200

/**
 * Each git has a session of its own, and with autogroups, sched(7), sessions share the processors
 * alike, whatever the class of what runs in them: what is idle has to say so for its session too.
 */
function idleSession(child: ChildProcess, tries = 3): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) {
    return
  }
  try {
    writeFileSync(`/proc/${child.pid}/autogroup`, '19')
  } catch (error) {
    const busy = (error as NodeJS.ErrnoException).code === 'EAGAIN'
    if (busy && tries > 1) setTimeout(idleSession, ASK_AGAIN, child, tries - 1).unref()
  }
}

const never = () => false

/** Returns whether it was ended so before its first word. */
function endWhenSilent(
  child: ChildProcess,
  stallAfter: number,
  beginWithin = stallAfter
): () => boolean {
  let spoke = false
  let silent = false
  const end = () => {
    silent = !spoke
    if (child.pid !== undefined) killGroup(child.pid)
  }
  let timer = setTimeout(end, Math.min(beginWithin, stallAfter))
  const heard = () => {
    spoke = true
    clearTimeout(timer)
    timer = setTimeout(end, stallAfter)
  }
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', heard)
  child.once('close', () => clearTimeout(timer))
  return () => silent
}

/** `silent`: whether it was ended before its first word. */
function finished(child: ChildProcess, silent: () => boolean): Promise<GitEnd> {
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-STDERR_KEPT)
  })
  return new Promise((resolve) => {
    child.once('error', (error) => resolve({ code: -1, stderr: error.message, silent: false }))
    child.once('close', (code) =>
      resolve({ code: statusOf(code, stderr), stderr, silent: silent() })
    )
  })
}

function statusOf(code: number | null, stderr: string): number {
  const ended = code === null || (code !== 0 && STARVED.test(stderr))
  return ended ? -1 : code
}

/** Runs git to its end; a status other than 0 is a result, not an error. */
export async function runGit(args: string[], options: GitOptions = {}): Promise<GitResult> {
  const git = spawnGit(args, { input: '', ...options })
  const chunks: Buffer[] = []
  git.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
  const ended = await git.done
  return { ...ended, stdout: Buffer.concat(chunks).toString('utf8') }
}

/** The same on a repository. */
export function runGitIn(dir: string, args: string[], options?: GitOptions): Promise<GitResult> {
  return runGit(['--git-dir', dir, ...args], options)
}

/** `2.39.5` from `git version 2.39.5 (Apple Git-154)`; null where there is no git. */
export async function gitVersion(): Promise<string | null> {
  const { code, stdout } = await runGit(['version'])
  return code === 0 ? (/(\d+\.\d+\.\d+)/.exec(stdout)?.[1] ?? null) : null
}

/** Runs `git http-backend`, the CGI program; source: git-http-backend(1), RFC 3875. */
export function spawnHttpBackend(env: Record<string, string>): GitProcess {
  return spawnGit(['http-backend'], { env })
}
