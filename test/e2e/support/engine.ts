import { spawn } from 'node:child_process'
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { dockerSucceeds, SetupError } from './docker.ts'
import { installPackages, isRoot, onPath } from './packages.ts'
import { havePublicImage } from './registry.ts'

export { SetupError }

const START_MS = 60_000

/** The one testcontainers 12.2 starts to remove what a killed run leaves behind. */
const RYUK_IMAGE = process.env.RYUK_CONTAINER_IMAGE ?? 'testcontainers/ryuk:0.14.0'

function engineAnswers(): Promise<boolean> {
  return dockerSucceeds(['info'], 10_000)
}

function missingEngine(): string | undefined {
  if (process.env.DOCKER_HOST) {
    return `no Docker engine answers at DOCKER_HOST=${process.env.DOCKER_HOST}: start it, or unset DOCKER_HOST`
  }
  if (!isRoot()) {
    return 'no Docker engine answers: install and start one (https://docs.docker.com/engine/install/), or run as root on Debian, where it is installed for you'
  }
  return undefined
}

async function installEngine(): Promise<void> {
  await installPackages([
    { command: 'dockerd', packages: ['docker.io'] },
    { command: 'iptables', packages: ['iptables'] },
    { command: 'debootstrap', packages: ['debootstrap'] },
  ])
  // From Debian 13 on the command line client is a package of its own.
  if (!onPath('docker')) await installPackages([{ command: 'docker', packages: ['docker-cli'] }])
}

/** The daemon outlives this run on purpose: what it has built is the next run's head start. */
async function startEngine(): Promise<void> {
  const logFile = join(mkdtempSync(join(tmpdir(), 'nginx-git-cache-dockerd-')), 'dockerd.log')
  const log = openSync(logFile, 'a')
  const daemon = spawn('dockerd', [], { detached: true, stdio: ['ignore', log, log] })
  closeSync(log)
  let ended = false
  for (const event of ['error', 'exit']) daemon.once(event, () => (ended = true))
  daemon.unref()
  for (const deadline = Date.now() + START_MS; Date.now() < deadline && !ended; ) {
    if (await engineAnswers()) return
    await sleep(500)
  }
  // It may have ended because another run was faster.
  if (await engineAnswers()) return
  const tail = readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-1)[0] ?? ''
  throw new SetupError(`dockerd does not start, see ${logFile}: ${tail}`)
}

/**
 * Inside a container testcontainers takes the engine to be outside of it, and reaches for the
 * gateway. Where the daemon's own pid file is, it runs right here.
 */
function pointTestcontainersHere(): void {
  if (!process.env.DOCKER_HOST && existsSync('/var/run/docker.pid')) {
    process.env.TESTCONTAINERS_HOST_OVERRIDE ??= '127.0.0.1'
  }
}

/** After this, docker commands and testcontainers work; throws SetupError where they cannot. */
export async function ensureDockerEngine(): Promise<void> {
  if (!(await engineAnswers())) {
    const missing = missingEngine()
    if (missing !== undefined) throw new SetupError(missing)
    await installEngine()
    await startEngine()
  }
  pointTestcontainersHere()
  if (process.env.TESTCONTAINERS_RYUK_DISABLED !== undefined) return
  if (!(await havePublicImage(RYUK_IMAGE))) process.env.TESTCONTAINERS_RYUK_DISABLED = 'true'
}
