import { execFile, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Something the machine lacks and the tests cannot supply: the runner prints it and exits 2. */
export class SetupError extends Error {
  override name = 'SetupError'
}

/** Debian's engine comes without buildx, so the classic builder is used everywhere alike. */
const ENVIRONMENT = { ...process.env, DOCKER_BUILDKIT: '0', DOCKER_CLI_HINTS: 'false' }

const TAIL_LINES = 40

type Options = { timeoutMs?: number; env?: Record<string, string> }

/** Runs the docker CLI and returns what it printed; MUST be bounded in time. */
export async function docker(args: string[], options: Options = {}): Promise<string> {
  const { timeoutMs = 60_000, env } = options
  const { stdout } = await run('docker', args, {
    env: { ...ENVIRONMENT, ...env },
    maxBuffer: 64 << 20,
    timeout: timeoutMs,
  })
  return stdout.trim()
}

/** For questions: a failing command is the answer no. */
export async function dockerSucceeds(args: string[], timeoutMs = 20_000): Promise<boolean> {
  return docker(args, { timeoutMs }).then(
    () => true,
    () => false
  )
}

export function imageExists(image: string): Promise<boolean> {
  return dockerSucceeds(['image', 'inspect', image])
}

type LongCommand = { command: string; args: string[]; timeoutMs: number; env?: NodeJS.ProcessEnv }

/** A build prints thousands of lines: only the end of them matters, and only if it fails. */
export function runQuietly({ command, args, timeoutMs, env = ENVIRONMENT }: LongCommand) {
  return new Promise<void>((resolve, reject) => {
    const tail: string[] = []
    const keep = (line: string) => {
      tail.push(line)
      if (tail.length > TAIL_LINES) tail.shift()
    }
    const child = spawn(command, args, {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
    })
    createInterface(child.stdout).on('line', keep)
    createInterface(child.stderr).on('line', keep)
    child.on('error', reject)
    child.on('close', (code, signal) => {
      if (code === 0) return resolve()
      const title = `${[command, ...args].join(' ')}: ${signal ?? `exit ${code}`}`
      reject(new Error([title, ...tail].join('\n')))
    })
  })
}

export function dockerQuietly(args: string[], timeoutMs: number): Promise<void> {
  return runQuietly({ command: 'docker', args, timeoutMs })
}
