/**
 * The process groups that run, one for each git and what it starts: they are ended together, and what a
 * SIGKILL of ours leaves is ended by the next life.
 */
import type { EventEmitter } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'

/** Where they are written down while they run. */
let groups: string | null = null

/** Ends what a SIGKILL of the last life left behind (git-remote-https outlives its parent), and writes down from now on. */
export function trackProcessGroups(directory: string): void {
  mkdirSync(directory, { recursive: true })
  for (const name of readdirSync(directory)) {
    const file = path.join(directory, name)
    if (readFileSync(file, 'utf8') === startTime(Number(name))) {
      killGroup(Number(name))
    }
    rmSync(file, { force: true })
  }
  groups = directory
}

/** Field 22 of proc_pid_stat(5): tells a process from a later one with the same id. */
function startTime(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null
  } catch {
    return null
  }
}

export function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // It is gone already.
  }
}

/** Process groups and their arguments. */
const running = new Map<number, string[]>()

export function killAllGroups(): void {
  for (const pid of running.keys()) killGroup(pid)
}

/** All that works on a directory: what goes on in one that was moved away makes it anew. */
export function killGroupsIn(dir: string): void {
  for (const [pid, args] of running) if (args.includes(dir)) killGroup(pid)
}

/** As long as it runs; `args`: by which killGroupsIn finds it. */
export function track(child: EventEmitter & { pid?: number | undefined }, args: string[]): void {
  const { pid } = child
  if (pid === undefined) {
    return
  }
  running.set(pid, args)
  const file = groups === null ? null : path.join(groups, String(pid))
  if (file !== null) {
    quietly(() => writeFileSync(file, startTime(pid) ?? ''))
  }
  child.once('exit', () => {
    running.delete(pid)
    if (file !== null) quietly(() => rmSync(file, { force: true }))
  })
}

/** A full disk stops no git; what is not written down outlives a SIGKILL of ours, that is all. */
function quietly(work: () => void): void {
  try {
    work()
  } catch {
    // The store will say what is wrong with the disk.
  }
}
