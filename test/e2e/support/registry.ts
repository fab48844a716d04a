import { spawn } from 'node:child_process'
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { imageExists } from './docker.ts'

/** How long the registry may take to answer at all; a download that has begun may take longer. */
const ANSWER_MS = 10_000
const DOWNLOAD_MS = 10 * 60_000

/** A machine without a registry should not pay for finding that out on every run. */
const REMEMBER_MS = 60 * 60_000
const STATE_DIR = join(import.meta.dirname, '../../../node_modules/.cache/nginx-git-cache')
const UNREACHABLE = join(STATE_DIR, 'registry-unreachable')

function knownUnreachable(): boolean {
  const state = statSync(UNREACHABLE, { throwIfNoEntry: false })
  return state !== undefined && Date.now() - state.mtimeMs < REMEMBER_MS
}

function rememberUnreachable(): void {
  mkdirSync(STATE_DIR, { recursive: true })
  writeFileSync(UNREACHABLE, '')
}

function pull(image: string): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn('docker', ['pull', image], { stdio: ['ignore', 'pipe', 'ignore'] })
    let timer = setTimeout(() => child.kill(), ANSWER_MS)
    // The first line ("trixie: Pulling from …") is printed once the registry has answered.
    child.stdout.once('data', () => {
      clearTimeout(timer)
      timer = setTimeout(() => child.kill(), DOWNLOAD_MS)
    })
    child.stdout.resume()
    const done = (pulled: boolean) => {
      clearTimeout(timer)
      resolve(pulled)
    }
    child.on('error', () => done(false))
    child.on('close', (code) => done(code === 0))
  })
}

/** True if the image is on this machine afterwards. After one failure nothing is asked for an hour. */
export async function havePublicImage(image: string): Promise<boolean> {
  if (await imageExists(image)) return true
  if (knownUnreachable()) return false
  if (await pull(image)) {
    rmSync(UNREACHABLE, { force: true })
    return true
  }
  rememberUnreachable()
  return false
}

/** An image somebody named explicitly is asked for even where the usual registry was not there. */
export async function haveNamedImage(image: string): Promise<boolean> {
  return (await imageExists(image)) || (await pull(image))
}
