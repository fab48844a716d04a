/** `nginx-git-cache purge REPOSITORY`: a leaked secret, a legal removal. Gone at once, also while it is read. */
import { statSync } from 'node:fs'
import { parseRepositoryPath, repositoryId } from '../../../njs/src/git/repository-path.ts'
import { type Purged, purgeBySidecar, takeControl } from '../control.ts'
import { UserError } from '../errors.ts'
import { emptyDirectory, layout } from '../layout.ts'
import { discardMirror, mirrorsOf } from '../mirror-places.ts'
import { DEFAULT_DATA, one, type RawOptions } from '../options.ts'
import { openStore } from '../store.ts'
import { otherOwner } from './users.ts'

/** `/owner/repo.git`, or its address on upstream. Throws UserError. */
export function readRepository(text: string): string {
  const given = URL.canParse(text) ? new URL(text).pathname : text
  const plain = given.replace(/^\/*/, '/').replace(/\/+$/, '')
  const path = parseRepositoryPath(`${plain}/git-upload-pack`)
  if (path === null) {
    throw new UserError(
      'GITCACHE_REPOSITORY',
      `${text.replace(/\/\/.*@/, '//***@')} is not the path of a repository`,
      'give it as upstream has it: /owner/repository.git'
    )
  }
  return repositoryId(path)
}

export async function purge(raw: RawOptions, repositories: string[]): Promise<void> {
  const data = one(raw, 'data') ?? DEFAULT_DATA
  checkData(data)
  if (repositories.length === 0) {
    throw new UserError(
      'GITCACHE_REPOSITORY',
      'purge needs a repository',
      'give it as upstream has it: /owner/repository.git'
    )
  }
  const unknown: string[] = []
  for (const repository of repositories.map(readRepository)) {
    const done = (await purgeBySidecar(data, repository)) ?? (await purgeAlone(data, repository))
    const cut = done.cut > 0 ? `, ${done.cut} on their way cut off` : ''
    console.log(`${repository}: ${done.answers} answers and ${done.mirrors} mirrors removed${cut}`)
    if (done.answers + done.mirrors + done.cut === 0) unknown.push(repository)
  }
  // Whoever removes a leaked secret must not go home over a slip of the pen.
  if (unknown.length > 0) {
    throw new UserError(
      'GITCACHE_REPOSITORY',
      `nothing was kept of ${unknown.join(', ')}`,
      'look at the spelling: give it as upstream has it'
    )
  }
}

/** Whoever may not look into it does not know that nothing is there. */
function checkData(data: string): void {
  try {
    statSync(layout(data).packs)
  } catch (error) {
    const isThere = (error as NodeJS.ErrnoException).code === 'EACCES'
    throw isThere
      ? new UserError(
          'GITCACHE_DATA',
          `--data ${data} cannot be entered`,
          "run it as the sidecar's user, or as root"
        )
      : new UserError('GITCACHE_DATA', `--data ${data} holds no cache`, "give the sidecar's")
  }
}

/** Where no sidecar runs. */
async function purgeAlone(data: string, repository: string): Promise<Purged> {
  const owner = [data, ...Object.values(layout(data))].map(otherOwner).find((one) => one !== null)
  if (owner !== undefined) {
    throw new UserError(
      'GITCACHE_USER',
      `no sidecar runs, and --data ${data} belongs to ${owner}, by whose links root could be led elsewhere`,
      `purge as that user: setpriv --reuid=${owner} --regid=${owner} --clear-groups nginx-git-cache purge …`
    )
  }
  const control = await takeControl(data)
  try {
    const dirs = layout(data)
    await emptyDirectory(dirs.tmp)
    const mirrors = await mirrorsOf(dirs, repository)
    for (const dir of mirrors) await discardMirror(dirs, dir)
    return { answers: await openStore(dirs).purge(repository), mirrors: mirrors.length, cut: 0 }
  } finally {
    control.close()
  }
}
