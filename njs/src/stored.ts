/** Stored answers: their key and their file, as the sidecar names them. */
import crypto from 'crypto'
import fs from 'fs'
import type { Verdict } from './git/authorize.ts'
import { keyText } from './git/key.ts'
import { repositoryId } from './git/repository-path.ts'

export type Yes = Extract<Verdict, { kind: 'yes' }>

export function keyOf(upstream: string, path: string, yes: Yes): string {
  const scope = {
    upstream,
    repository: repositoryId(path),
    tagState: yes.tags === null ? '' : sha256(yes.tags.join('\n')),
  }
  return sha256(keyText(yes.request, scope))
}

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
