/**
 * Shells that stay open in the containers: `docker exec` takes a tenth of a second each time, and now
 * and then cuts a long output. Scripts and outputs are files in the directory that the containers share.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import path from 'node:path'
import { createInterface } from 'node:readline'

export interface Ran {
  code: number
  out: string
}

interface Shell {
  child: ChildProcess
  /** Runs a line; resolves with the exit status that it prints. */
  run(line: string): Promise<number>
}

const idle = new Map<string, Shell[]>()
let serial = 0

function open(container: string): Shell {
  const child = spawn('docker', ['exec', '--interactive', container, 'sh'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let waiting: { resolve(code: number): void; reject(error: Error): void } | null = null
  createInterface(child.stdout).on('line', (line) => waiting?.resolve(Number(line)))
  // The container was killed, as a story does: nobody gets this shell any more.
  child.on('close', () => {
    idle.set(
      container,
      (idle.get(container) ?? []).filter((shell) => shell.child !== child)
    )
    waiting?.reject(new Error(`a shell in ${container} has ended`))
  })
  child.stdin.on('error', () => {})
  // It ends with this process, which need not wait for it.
  child.unref()
  for (const stream of [child.stdin, child.stdout]) (stream as Socket).unref()
  return {
    child,
    run: (line) =>
      new Promise((resolve, reject) => {
        waiting = { resolve, reject }
        child.stdin.write(`${line}\n`)
      }),
  }
}

/** Runs a script as root; `shared` is what the container has as /w. Both streams are in `out`. */
export async function runScript(
  container: string,
  shared: string,
  script: string,
  timeoutMs: number
): Promise<Ran> {
  serial += 1
  const name = `${process.pid}-${serial}`
  const file = path.join(shared, 'exec', name)
  writeFileSync(file, script)
  const shell = idle.get(container)?.pop() ?? open(container)
  const timer = setTimeout(() => shell.child.kill(), timeoutMs)
  try {
    const code = await shell.run(
      `setsid --wait sh /w/exec/${name} > /w/exec/${name}.out 2>&1 < /dev/null; echo $?`
    )
    idle.set(container, [...(idle.get(container) ?? []), shell])
    return { code, out: readFileSync(`${file}.out`, 'utf8').trimEnd() }
  } catch (error) {
    throw new Error(`${String(error)}:\n${script}`)
  } finally {
    clearTimeout(timer)
    for (const one of [file, `${file}.out`]) rmSync(one, { force: true })
  }
}
