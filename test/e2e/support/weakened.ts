/**
 * A build with one guard taken out, in nginx and in the sidecar, beside the real one: what its rows
 * say then shows that they can fail.
 */
import { mkdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { Plugin } from 'esbuild'
import { bundleForNjs } from '../../../njs/build.mjs'
import { buildSidecar } from '../../../sidecar/build.mjs'
import { startPair } from './pair.ts'
import { stack } from './servers.ts'
import type { Suite } from './stack.ts'

export interface Weakening {
  name: string
  /** File below the repository's root, what stands there, and what stands there instead. */
  edits: [file: string, from: string, to: string][]
}

const ROOT = path.resolve(import.meta.dirname, '../../..')
const SUITE: Suite = 'trixie'

/** Replaces text in sources; a guard that has moved fails the build instead of passing unseen. */
function weaken(edits: Weakening['edits']): Plugin {
  return {
    name: 'weaken',
    setup(build) {
      build.onLoad({ filter: /\.ts$/ }, ({ path: file }) => {
        const name = path.relative(ROOT, file)
        const mine = edits.filter(([edited]) => edited === name)
        if (mine.length === 0) return undefined
        let contents = readFileSync(file, 'utf8')
        for (const [, from, to] of mine) {
          if (!contents.includes(from)) throw new Error(`${name} no longer has: ${from}`)
          contents = contents.replace(from, to)
        }
        return { contents, loader: 'ts' }
      })
    },
  }
}

export interface WeakServer {
  /** Its data directory on this machine. */
  data: string
  /** Of its nginx in the network; add a first segment and a repository. */
  url: string
  log: string
  stop(): Promise<void>
}

export async function startWeakened({ name, edits }: Weakening): Promise<WeakServer> {
  const { dir } = stack()
  const home = path.join(dir, 'weak', name)
  mkdirSync(home, { recursive: true })
  const plugin = weaken(edits)
  const builds = {
    njs: path.join(home, 'gitcache.js'),
    sidecar: path.join(home, 'nginx-git-cache.mjs'),
  }
  await bundleForNjs(path.join(ROOT, 'njs/src/main.ts'), builds.njs, [plugin])
  await buildSidecar(builds.sidecar, [plugin])
  const pair = await startPair({ name: `weak-${name}`, suite: SUITE, builds })
  return { ...pair, data: pair.dataHere }
}
