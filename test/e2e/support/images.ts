import { createHash } from 'node:crypto'
import { cpSync, globSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { debianArchive, ensureBaseImage, type Suite } from './base-images.ts'
import { dockerQuietly, imageExists, SetupError } from './docker.ts'
import { fetchParts } from './fetch-parts.ts'
import { haveNamedImage, havePublicImage } from './registry.ts'

export type ImageName = 'nginx-bookworm' | 'nginx-trixie' | 'nginx-sid' | 'toolbox' | 'gitea'

type Recipe = {
  directory: string
  suite: Suite
  /** Has parts from npm, PyPI or the Go proxy, which a build container cannot always reach. */
  fetches?: boolean
  /** The project's own image, which saves building it. */
  published?: string
}

const RECIPES: Record<ImageName, Recipe> = {
  'nginx-bookworm': { directory: 'nginx', suite: 'bookworm' },
  'nginx-trixie': { directory: 'nginx', suite: 'trixie' },
  'nginx-sid': { directory: 'nginx', suite: 'sid' },
  toolbox: { directory: 'toolbox', suite: 'trixie', fetches: true },
  gitea: {
    directory: 'gitea',
    suite: 'trixie',
    fetches: true,
    published: 'gitea/gitea:1.26.0',
  },
}

export const IMAGE_NAMES = Object.keys(RECIPES) as ImageName[]

/** Part of every image: git's settings, for any user. */
const SHARED_DIRECTORY = 'git'

const IMAGES_DIR = join(import.meta.dirname, '../images')
const PROXIES = ['http_proxy', 'https_proxy', 'no_proxy']
const BUILD_MS = 20 * 60_000

type Report = (line: string) => void

/** Every input of the build, so that an image is built once per machine and never stale. */
function inputsHash(directories: string[], base: string): string {
  const hash = createHash('sha256').update(base)
  for (const directory of [SHARED_DIRECTORY, ...directories]) {
    for (const path of globSync(`${directory}/**/*`, { cwd: IMAGES_DIR }).sort()) {
      const state = statSync(join(IMAGES_DIR, path))
      if (!state.isFile()) continue
      const content = readFileSync(join(IMAGES_DIR, path))
      hash.update(`\0${path}\0${state.mode & 0o111}\0${content.length}\0`).update(content)
    }
  }
  return hash.digest('hex').slice(0, 12)
}

async function build(context: string, tag: string, base: string): Promise<void> {
  const settings = ['--build-arg', `BASE=${base}`, '--build-arg', `ARCHIVE=${debianArchive()}`]
  const proxies = PROXIES.filter((name) => process.env[name]).flatMap((name) => [
    '--build-arg',
    name,
  ])
  // Tests and a person's own work go before a build.
  await dockerQuietly(
    ['build', '--force-rm', '--cpu-shares', '256', ...settings, ...proxies, '--tag', tag, context],
    BUILD_MS
  )
}

async function buildOnce(
  name: string,
  directory: string,
  base: string,
  tag: string,
  report: Report,
  prepare: (context: string) => Promise<void> = async () => {}
): Promise<void> {
  if (await imageExists(tag)) return
  const started = performance.now()
  report(`building ${name}`)
  const context = mkdtempSync(join(tmpdir(), 'nginx-git-cache-context-'))
  try {
    for (const source of [SHARED_DIRECTORY, directory]) {
      cpSync(join(IMAGES_DIR, source), context, { recursive: true })
    }
    await prepare(context)
    await build(context, tag, base)
  } finally {
    rmSync(context, { recursive: true, force: true })
  }
  report(`built ${name} in ${((performance.now() - started) / 1000).toFixed(0)} s as ${tag}`)
}

async function ensureBuilder(base: string, report: Report): Promise<string> {
  const tag = `nginx-git-cache-e2e/builder:${inputsHash(['builder'], base)}`
  await buildOnce('builder', 'builder', base, tag, report)
  return tag
}

async function ensureBuilt(name: ImageName, report: Report): Promise<string> {
  const { directory, suite, fetches, published } = RECIPES[name]
  const base = await ensureBaseImage(suite, report)
  const inputs = fetches ? ['builder', directory] : [directory]
  const tag = `nginx-git-cache-e2e/${name}:${inputsHash(inputs, base)}`
  if (await imageExists(tag)) return tag
  if (published !== undefined && (await havePublicImage(published))) return published
  await buildOnce(name, directory, base, tag, report, async (context) => {
    if (fetches) await fetchParts(await ensureBuilder(base, report), context)
  })
  return tag
}

async function ensureImage(name: ImageName, report: Report): Promise<string | null> {
  const chosen = name === 'gitea' ? process.env.GITEA_IMAGE : undefined
  if (chosen) {
    if (await haveNamedImage(chosen)) return chosen
    throw new SetupError(`GITEA_IMAGE=${chosen} cannot be pulled: load it, or unset GITEA_IMAGE`)
  }
  try {
    return await ensureBuilt(name, report)
  } catch (error) {
    // Debian's development suite is at times not installable, which is no fault of this project.
    if (RECIPES[name].suite !== 'sid' || error instanceof SetupError) throw error
    report(`!!! NO ${name}: Debian sid cannot be built today, ITS TESTS WILL NOT RUN: ${error}`)
    return null
  }
}

/** Builds what is missing, one at a time; null stands for an image Debian sid does not give today. */
export async function ensureImages<Name extends ImageName>(
  names: Name[],
  report: Report
): Promise<Record<Name, string | null>> {
  const images: Partial<Record<Name, string | null>> = {}
  for (const name of names) images[name] = await ensureImage(name, report)
  return images as Record<Name, string | null>
}
