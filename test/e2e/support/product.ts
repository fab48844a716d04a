/** The command as npm installs it, for a story that runs it where Debian's own Node is missing or too old. */
import { cpSync, existsSync } from 'node:fs'
import path from 'node:path'
import { stack } from './servers.ts'

const ROOT = path.resolve(import.meta.dirname, '../../..')

/** Puts it where the containers see it, once; the words that start it there. */
export function layOutProduct(): string {
  const here = path.join(stack().dir, 'product')
  if (!existsSync(here)) {
    for (const name of ['dist', 'nginx']) {
      cpSync(path.join(ROOT, name), path.join(here, name), { recursive: true })
    }
    cpSync(process.execPath, path.join(here, 'node'))
  }
  return '/w/product/node /w/product/dist/nginx-git-cache.mjs'
}
