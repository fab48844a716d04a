/** `nginx-git-cache purge REPOSITORY`: a leaked secret, a legal removal. Gone at once, also while it is read. */
import { existsSync } from 'node:fs'
import { pino } from 'pino'
import { repositoryId } from '../../../njs/src/git/repository-path.ts'
import { one, type RawOptions } from '../config.ts'
import { type Purged, purgeBySidecar, takeControl } from '../control.ts'
import { UserError } from '../errors.ts'
import { openFaults } from '../faults.ts'
import { gitLimit } from '../git-limit.ts'
import { emptyDirectory, layout } from '../layout.ts'
import { createMetrics } from '../metrics.ts'
import { openMirrors } from '../mirrors.ts'
import { openStore } from '../store.ts'

const PATH = /^(\/[A-Za-z0-9._~+@,:=-]+)+\/*$/

/** `/owner/repo.git`, or its address on upstream. Throws UserError. */
export function readRepository(text: string): string {
  const path = URL.canParse(text) ? new URL(text).pathname : text
  if (!PATH.test(path)) {
    throw new UserError(
      'GITCACHE_REPOSITORY',
      `${text.replace(/\/\/.*@/, '//***@')} is not the path of a repository`,
      'give it as upstream has it: /owner/repository.git'
    )
  }
  return repositoryId(path)
}

export async function purge(raw: RawOptions, repositories: string[]): Promise<void> {
  const data = one(raw, 'data') ?? '/var/cache/nginx-git-cache'
  if (!existsSync(layout(data).packs)) {
    throw new UserError('GITCACHE_DATA', `--data ${data} holds no cache`, "give the sidecar's")
  }
  if (repositories.length === 0) {
    throw new UserError(
      'GITCACHE_REPOSITORY',
      'purge needs a repository',
      'give it as upstream has it: /owner/repository.git'
    )
  }
  for (const repository of repositories.map(readRepository)) {
    const done = (await purgeBySidecar(data, repository)) ?? (await purgeAlone(data, repository))
    console.log(`${repository}: ${done.answers} answers and ${done.mirrors} mirrors removed`)
  }
}

/** Where no sidecar runs. */
async function purgeAlone(data: string, repository: string): Promise<Purged> {
  const control = await takeControl(data)
  try {
    const dirs = layout(data)
    await emptyDirectory(dirs.tmp)
    const log = pino({ level: 'silent' })
    const faults = openFaults(log)
    const now = <T>(work: () => T) => work()
    const mirrors = openMirrors(
      dirs,
      gitLimit(1, 1),
      now as never,
      'never',
      faults,
      createMetrics({ git: '' })
    )
    const answers = await openStore(dirs).purge(repository)
    return { answers, mirrors: await mirrors.purge(repository) }
  } finally {
    control.close()
  }
}
