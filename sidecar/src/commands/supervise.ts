/** Keeps a child process running: restarted with growing pauses, stopped for good on request. */
import { type ChildProcess, spawn } from 'node:child_process'
import { withResolvers } from '../resolvers.ts'
import type { User } from './users.ts'

const FIRST_PAUSE = 250
const LONGEST_PAUSE = 30_000
/** A child that lived this long starts over with the first pause. Milliseconds. */
const STABLE = 60_000
const KILL_AFTER = 5000

/** Exit status of a command that will not start as it was given: main.ts. */
const REFUSED = 2

export interface Supervised {
  stop(): Promise<void>
  /** Resolves where its first life ends with REFUSED: it is not tried again. */
  refused: Promise<'refused'>
}

export function supervise(
  start: () => ChildProcess,
  report: (line: string) => void,
  onStart: (pid: number) => void
): Supervised {
  const state = {
    stopped: false,
    pause: FIRST_PAUSE,
    timer: undefined as NodeJS.Timeout | undefined,
  }
  let child: ChildProcess | null = null
  let lives = 0
  const refused = withResolvers<'refused'>()
  launch()

  /** Whatever goes wrong here, nginx goes on: it is tried again. */
  function launch(): void {
    const begun = Date.now()
    child = null
    lives += 1
    try {
      child = start()
      child.once('exit', (code, signal) => {
        if (code === REFUSED && lives === 1) refused.resolve('refused')
        else again(begun, `ended (${signal ?? code})`)
      })
      // Where it could not be started there is no exit.
      child.on('error', ({ message }) => {
        if (child?.pid === undefined) again(begun, `does not start (${message})`)
      })
      if (child.pid !== undefined) onStart(child.pid)
    } catch (error) {
      report(`sidecar: ${error instanceof Error ? error.message : error}`)
      if (child === null) again(begun, 'does not start')
    }
  }

  function again(begun: number, what: string): void {
    if (state.stopped) return
    state.pause = Date.now() - begun > STABLE ? FIRST_PAUSE : state.pause
    report(`sidecar ${what}, again in ${state.pause} ms; nginx goes on passing`)
    state.timer = setTimeout(launch, state.pause)
    state.pause = Math.min(state.pause * 2, LONGEST_PAUSE)
  }

  return {
    refused: refused.promise,
    stop: async () => {
      state.stopped = true
      clearTimeout(state.timer)
      if (child !== null) await stopChild(child, 'SIGTERM')
    },
  }
}

export async function stopChild(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) {
    return
  }
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const timer = setTimeout(() => child.kill('SIGKILL'), KILL_AFTER)
  child.kill(signal)
  await exited
  clearTimeout(timer)
}

/** A child in a group of its own: a terminal's Ctrl-C reaches the supervisor alone. */
export function spawnChild(
  command: string,
  args: string[],
  env: NodeJS.ProcessEnv,
  user: User | null = null
): ChildProcess {
  const who = user === null ? {} : { uid: user.uid, gid: user.gid, cwd: '/' }
  return spawn(command, args, {
    env,
    stdio: ['ignore', 'inherit', 'inherit'],
    detached: true,
    ...who,
  })
}
