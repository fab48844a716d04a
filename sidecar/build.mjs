/** Bundles the sidecar and its command line into dist/nginx-git-cache.mjs, for Node >= 20.19. */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const { version } = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8'))

/** Bundles the command; `plugins` are esbuild's, for builds that tests weaken on purpose. */
export async function buildSidecar(outfile, plugins = []) {
  await build({
    entryPoints: [path.join(root, 'sidecar/src/main.ts')],
    outfile,
    plugins,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20.19',
    logLevel: 'error',
    define: { GITCACHE_VERSION: JSON.stringify(version) },
    // Libraries that are CommonJS call require.
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
    },
  })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await buildSidecar(path.join(root, 'dist/nginx-git-cache.mjs'))
}
