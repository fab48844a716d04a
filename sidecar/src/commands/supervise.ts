/** Keeps a child process running: restarted with growing pauses, stopped for good on request. */
import { type ChildProcess, spawn } from 'node:child_process'
import type { User } from './users.ts'

const FIRST_PAUSE = 250
const LONGEST_PAUSE = 30_000
/** A child that lived this long starts over with the first pause. Milliseconds. */
const STABLE = 60_000
const KILL_AFTER = 5000

export interface Supervised {
  stop(): Promise<void>
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
  let child = launch()

  function launch(): ChildProcess {
    const begun = Date.now()
    const started = start()
    if (started.pid !== undefined) onStart(started.pid)
    started.once('exit', (code, signal) => {
      if (state.stopped) return
      state.pause = Date.now() - begun > STABLE ? FIRST_PAUSE : state.pause
      report(`sidecar ended (${signal ?? code}), again in ${state.pause} ms; nginx goes on passing`)
      state.timer = setTimeout(() => {
        child = launch()
      }, state.pause)
      state.pause = Math.min(state.pause * 2, LONGEST_PAUSE)
    })
    return started
  }

  return {
    stop: () => {
      state.stopped = true
      clearTimeout(state.timer)
      return stopChild(child, 'SIGTERM')
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
