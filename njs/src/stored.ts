/** Stored answers: their files, as the sidecar names them. */
import crypto from 'crypto'
import fs from 'fs'
import { holdName } from './git/retry-after.ts'

export function sha256(text: string): string {
  return crypto.createHash('sha256').update(text).digest('hex') as string
}

export function packFile(packs: string, key: string): string {
  return packs + '/' + key.substring(0, 2) + '/' + key
}

/** Not by an exception: to make one costs njs a millisecond, five times a hit. */
const QUIET = { throwIfNoEntry: false }

/** Whether upstream has asked to be left alone, and that is not over. */
export function isHeld(packs: string, upstream: string): boolean {
  try {
    const held = fs.statSync(packs + '/' + holdName(upstream), QUIET)
    return held !== undefined && held.mtimeMs > Date.now()
  } catch {
    return false
  }
}

export function isStored(packs: string, key: string): boolean {
  try {
    return fs.statSync(packFile(packs, key), QUIET) !== undefined
  } catch {
    return false
  }
}
