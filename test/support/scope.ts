/** The key as nginx and the sidecar make it, under a scope that tests vary. */
import { hash } from 'node:crypto'
import type { FetchRequest } from '../../njs/src/git/fetch-request.ts'
import { type KeyScope, keyText } from '../../njs/src/git/key.ts'
import { GOLDEN_SCOPE } from './cases.ts'

export function sha256(text: string): string {
  return hash('sha256', text)
}

export function keyOf(request: FetchRequest, scope: Partial<KeyScope> = {}): string {
  return sha256(keyText(request, { ...GOLDEN_SCOPE, ...scope }))
}
