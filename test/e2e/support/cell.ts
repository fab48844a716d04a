/** One cell of the table: an operation by a client, straight from upstream and twice through a cache. */

import type { Operation } from './operations.ts'
import { client, dataOf, must, type Ran, sh, uniqueId, untilMirrored } from './servers.ts'
import type { Suite } from './stack.ts'

export interface Cell {
  nginx: Suite
  git: Suite
  protocol: 0 | 1 | 2
  operation: Operation
}

export interface CellRun extends Ran {
  id: string
}

const DIRECT = 'http://upstream/pub'

export function through(nginx: Suite): string {
  return `http://nginx-${nginx}:8080/pub`
}

/** Runs the cell's script against `url`, and prints the state of the clone that it leaves. */
export async function runCell(cell: Cell, url: string, run: string): Promise<CellRun> {
  const id = uniqueId(run)
  const { operation } = cell
  const git = `git -c gc.auto=0 -c maintenance.auto=false -c protocol.version=${cell.protocol} -c http.extraHeader=X-Test:${id}`
  const script = `
. /w/state.sh
export GIT_TERMINAL_PROMPT=0
mkdir -p /w/work/${id} && cd /w/work/${id} || exit 9
( set -e; ${operation.script} ); code=$?
${operation.state === 'none' ? '' : `[ -d c ] && state c ${operation.state ?? 'full'}`}
cd / && rm -rf /w/work/${id}
exit $code`
  const env = { GIT: git, URL: url, DIRECT }
  const { code, out } = await sh(client(cell.git), script, env)
  return { id, code, out: normalise(out, url) }
}

/** The addresses differ, and so does what a client says of how fast it went. */
function normalise(out: string, url: string): string {
  return out
    .replaceAll(url, 'URL')
    .replaceAll(DIRECT, 'URL')
    .replaceAll(new URL(url).origin, 'HOST')
    .replaceAll('http://upstream', 'HOST')
}

/** Clones each repository, and waits until there is a mirror of it. */
export async function warm(nginx: Suite, repositories: string[]): Promise<void> {
  for (const repository of repositories) {
    const dir = `/w/work/${uniqueId('warm')}`
    const url = `${through(nginx)}/${repository}`
    await must(
      client(nginx),
      `git clone -q --bare ${url} ${dir}; code=$?; rm -rf ${dir}; exit $code`
    )
    await untilMirrored(dataOf(nginx), `/pub/${repository}`)
  }
}
