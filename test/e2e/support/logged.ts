/**
 * A client has its answer's last byte before the server has written the log's line: on a busy machine
 * it can be put aside in between (seen: 1 of 1,000). One that sleeps has written it.
 */
import { readdirSync, readFileSync } from 'node:fs'

const BOUND = 2000
const STEP = 2

const SERVERS = ['nginx\n', 'apache2\n']

/** The letter of proc(5)'s /proc/PID/task/TID/stat. */
function isAwake(task: string): boolean {
  try {
    const stat = readFileSync(`${task}/stat`, 'utf8')
    return /^[RD]$/.test(stat.slice(stat.lastIndexOf(')') + 2)[0] ?? '')
  } catch {
    return false
  }
}

/** The threads of all web servers of this machine, those in containers too. */
function threads(): string[] {
  return readdirSync('/proc').flatMap((pid) => {
    try {
      if (!/^\d+$/.test(pid) || !SERVERS.includes(readFileSync(`/proc/${pid}/comm`, 'utf8')))
        return []
      return readdirSync(`/proc/${pid}/task`).map((tid) => `/proc/${pid}/task/${tid}`)
    } catch {
      return []
    }
  })
}

/** Waits until each of them has slept since the call. */
export function untilLogged(): void {
  const awake = new Set(threads())
  for (let waited = 0; waited < BOUND; waited += STEP) {
    for (const task of awake) if (!isAwake(task)) awake.delete(task)
    if (awake.size === 0) return
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, STEP)
  }
}
