/** The recorded requests: `<protocol>-<story>.bin`, inflated; `.bin.gz` as it was sent. */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'

const directory = path.join(import.meta.dirname, '../fixtures/requests')

export const README = readFileSync(path.join(directory, 'README.md'), 'utf8')

export function fixtureNames(): string[] {
  return readdirSync(directory).filter((name) => name !== 'README.md')
}

export function fixture(name: string): Buffer {
  return readFileSync(path.join(directory, name))
}

/** The Git-Protocol header that came with it. */
export function protocolOf(name: string): string {
  return name.startsWith('v2-') ? 'version=2' : name.startsWith('v1-') ? 'version=1' : ''
}

export interface Recorded {
  name: string
  protocol: string
  body: string
}

export const RECORDED: Recorded[] = fixtureNames()
  .filter((name) => name.endsWith('.bin'))
  .map((name) => ({ name, protocol: protocolOf(name), body: fixture(name).toString('latin1') }))
