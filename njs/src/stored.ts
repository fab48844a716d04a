/** Stored answers: their files, as the sidecar names them. */
import crypto from 'crypto'
import fs from 'fs'

export function sha256(text: string): string {
  return crypto.createHash('sha256').update(text).digest('hex') as string
}

export function packFile(packs: string, key: string): string {
  return packs + '/' + key.substring(0, 2) + '/' + key
}

export function isStored(packs: string, key: string): boolean {
  try {
    fs.statSync(packFile(packs, key))
    return true
  } catch {
    return false
  }
}
