import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { runQuietly, SetupError } from './docker.ts'

const INSTALL_MS = 10 * 60_000

/** Debian's own switch against packages that start their service when installed. */
const POLICY = '/usr/sbin/policy-rc.d'

type Requirement = { command: string; packages: string[] }

export function isRoot(): boolean {
  return process.getuid?.() === 0
}

export function onPath(command: string): boolean {
  const directories = `${process.env.PATH ?? ''}${delimiter}/usr/sbin${delimiter}/sbin`
  return directories.split(delimiter).some((directory) => existsSync(join(directory, command)))
}

async function withoutServices(install: () => Promise<void>): Promise<void> {
  if (existsSync(POLICY)) return install()
  writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    await install()
  } finally {
    rmSync(POLICY, { force: true })
  }
}

function aptGet(args: string[]): Promise<void> {
  return runQuietly({
    command: 'apt-get',
    args: ['-o', 'Acquire::Retries=3', ...args],
    timeoutMs: INSTALL_MS,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  })
}

/** Installs the Debian packages of those commands that are not there yet. */
export async function installPackages(requirements: Requirement[]): Promise<void> {
  const absent = requirements.filter(({ command }) => !onPath(command))
  if (absent.length === 0) return
  const packages = absent.flatMap((requirement) => requirement.packages)
  if (!isRoot() || !onPath('apt-get')) {
    throw new SetupError(`missing ${packages.join(', ')}: install with your package manager`)
  }
  await withoutServices(async () => {
    await aptGet(['update'])
    await aptGet(['install', '--yes', '--no-install-recommends', ...packages])
  })
}
