import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { docker, imageExists, runQuietly, SetupError } from './docker.ts'
import { installPackages, isRoot } from './packages.ts'
import { havePublicImage } from './registry.ts'

export type Suite = 'bookworm' | 'trixie' | 'sid'

const DEFAULT_ARCHIVE = 'http://deb.debian.org/debian'
const BOOTSTRAP_MS = 15 * 60_000
const IMPORT_MS = 5 * 60_000

/** Both of apt's formats: `deb [options] URI suite …` and `URIs: URI …`. */
const SOURCE_LINE =
  /^\s*(?:deb\s+(?:\[[^\]]*\]\s+)?|URIs:\s*(?:\S+\s+)*?)(https?:\/\/\S+?\/debian)\/?(?:\s|$)/m

/** The archive this machine itself installs from is the one that surely can be reached. */
export function debianArchive(): string {
  const files = [
    ...globSync('/etc/apt/sources.list'),
    ...globSync('/etc/apt/sources.list.d/*.{list,sources}'),
  ]
  for (const file of files) {
    const archive = SOURCE_LINE.exec(readFileSync(file, 'utf8'))?.[1]
    if (archive !== undefined) return archive
  }
  return DEFAULT_ARCHIVE
}

async function bootstrap(suite: Suite, image: string): Promise<void> {
  if (!isRoot()) {
    throw new SetupError(`cannot pull debian:${suite}: allow access to a registry, or run as root`)
  }
  await installPackages([{ command: 'debootstrap', packages: ['debootstrap'] }])
  const directory = mkdtempSync(join(tmpdir(), 'nginx-git-cache-debian-'))
  const root = join(directory, 'root')
  const archive = join(directory, 'root.tar')
  const step = (command: string, args: string[], timeoutMs: number) =>
    runQuietly({ command: 'nice', args: [command, ...args], timeoutMs })
  try {
    const options = ['--variant=minbase', '--include=ca-certificates']
    await step('debootstrap', [...options, suite, root, debianArchive()], BOOTSTRAP_MS)
    const unneeded = ['--exclude=./var/cache/apt/*.bin', '--exclude=./var/lib/apt/lists/*']
    const debs = '--exclude=./var/cache/apt/archives/*.deb'
    await step('tar', ['-C', root, ...unneeded, debs, '-cf', archive, '.'], IMPORT_MS)
    await docker(['import', '--change', 'CMD ["bash"]', archive, image], { timeoutMs: IMPORT_MS })
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/**
 * Returns the name of a Debian image on this machine. One that was once built here is preferred,
 * so that a registry that comes and goes does not change what everything else is built on.
 */
export async function ensureBaseImage(
  suite: Suite,
  report: (line: string) => void
): Promise<string> {
  const own = `nginx-git-cache-e2e/debian:${suite}`
  if (await imageExists(own)) return own
  const published = `debian:${suite}`
  if (await havePublicImage(published)) return published
  report(`no registry: bootstrapping ${own} from ${debianArchive()}`)
  await bootstrap(suite, own)
  return own
}
