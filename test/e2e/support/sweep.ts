import { randomUUID } from 'node:crypto'
import { Network, type StartedNetwork } from 'testcontainers'
import { docker } from './docker.ts'

/** On every container of the tests, so that a later run can tell its own. */
export const TEST_LABEL = 'org.nginx-git-cache.test'

/** Networks that testcontainers makes cannot be labelled, only named. */
const NETWORK_PREFIX = 'nginx-git-cache-e2e-'

const LABELLED = ['--filter', `label=${TEST_LABEL}=1`]
const NAMED = ['--filter', `name=^${NETWORK_PREFIX}`]

function words(text: string): string[] {
  return text.split(/\s+/).filter(Boolean)
}

/** A network that a later run can find again. */
export function startTestNetwork(): Promise<StartedNetwork> {
  return new Network({ nextUuid: () => `${NETWORK_PREFIX}${randomUUID()}` }).start()
}

/** Removes what a killed run has left behind. MUST NOT be called while another run is under way. */
export async function sweepContainers(): Promise<void> {
  const containers = words(await docker(['ps', '--all', '--quiet', ...LABELLED]))
  if (containers.length > 0) await docker(['rm', '--force', '--volumes', ...containers])
  const networks = new Set<string>()
  for (const filter of [LABELLED, NAMED]) {
    const found = await docker(['network', 'ls', '--quiet', ...filter])
    for (const network of words(found)) networks.add(network)
  }
  if (networks.size > 0) await docker(['network', 'rm', ...networks])
  const volumes = words(await docker(['volume', 'ls', '--quiet', ...LABELLED]))
  if (volumes.length > 0) await docker(['volume', 'rm', '--force', ...volumes])
}

/** A small file system in memory that several containers can see: to be filled up. */
export async function createSmallVolume(bytes: number, inodes: number): Promise<string> {
  const name = `${NETWORK_PREFIX}small-${randomUUID()}`
  const options = ['type=tmpfs', 'device=tmpfs', `o=size=${bytes},nr_inodes=${inodes},mode=1777`]
  const label = ['--label', `${TEST_LABEL}=1`]
  await docker(['volume', 'create', ...label, ...options.flatMap((o) => ['--opt', o]), name])
  return name
}
