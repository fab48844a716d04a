/** Repositories of a first run: one that everyone may read, one that needs a password. */
import path from 'node:path'
import { UserError } from '../errors.ts'
import { runGit } from '../git.ts'
import { exists } from '../mirror.ts'

const COMMITS = 200

/** A history by git-fast-import(1): a growing file, a tag every 50 commits. */
function sampleHistory(title: string): string {
  const lines = [`# ${title}\n`]
  const commands: string[] = []
  for (let i = 1; i <= COMMITS; i++) {
    lines.push(`Line ${i} of ${title}.\n`)
    const content = lines.join('')
    const when = `Sample <sample@example.org> ${1_700_000_000 + i * 3600} +0000`
    commands.push(
      `commit refs/heads/main\ncommitter ${when}\n${data(`Change ${i}\n`)}M 100644 inline README.md\n${data(content)}`
    )
    if (i % 50 === 0) {
      commands.push(
        `tag v${i / 50}\nfrom refs/heads/main\ntagger ${when}\n${data(`Version ${i / 50}\n`)}`
      )
    }
  }
  return `${commands.join('')}done\n`
}

function data(text: string): string {
  return `data ${Buffer.byteLength(text)}\n${text}\n`
}

export async function makeSampleRepository(dir: string): Promise<void> {
  if (await exists(dir)) {
    return
  }
  await must(['init', '--bare', '--quiet', '--initial-branch=main', dir])
  await must(
    ['--git-dir', dir, 'fast-import', '--quiet', '--done'],
    sampleHistory(path.basename(dir))
  )
}

async function must(args: string[], input = ''): Promise<void> {
  const { code, stderr } = await runGit(args, { input })
  if (code !== 0) {
    throw new UserError('GITCACHE_SAMPLE', stderr.trim(), 'give an --upstream of your own')
  }
}
