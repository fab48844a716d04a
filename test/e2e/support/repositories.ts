/** Repositories of a story's own: made on upstream, changed between two requests, waited for. */
import { client, dataOf, must, results, sh, stack, uniqueId, untilMirrored } from './servers.ts'
import type { Suite } from './stack.ts'

const LIBRARY = `
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_AUTHOR_DATE='1650000000 +0000'
export GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@example.org GIT_COMMITTER_DATE='1650000000 +0000'
# commit BRANCH NAME [root]: one more file on the branch; with root, a history that begins anew.
commit() {
  parent=$(git rev-parse -q --verify "refs/heads/$1" || true)
  [ "\${3:-}" = root ] && parent=
  blob=$({ seq 1 40; echo "$2"; } | git hash-object -w --stdin)
  tree=$({ [ -n "$parent" ] && git ls-tree "$parent"; printf '100644 blob %s\\t%s\\n' "$blob" "$2"; } | git mktree)
  git update-ref "refs/heads/$1" "$(git commit-tree \${parent:+-p "$parent"} -m "$2" "$tree")"
}
prune() {
  git reflog expire --expire=now --all && git repack -q -a -d && git prune --expire=now
}`

/** Runs a script inside a repository of upstream; it knows \`commit BRANCH NAME [root]\` and \`prune\`. */
export async function onUpstream(repository: string, script: string): Promise<string> {
  const dir = `/w/repos/${repository}`
  return must(
    stack().upstream,
    `mkdir -p ${dir} && cd ${dir} || exit 9
${LIBRARY}
( set -e; ${script}
); code=$?
chown -R www-data /w/repos/${repository.split('/')[0]}
exit $code`
  )
}

const CREATE = `git init -q --bare --template= --initial-branch=main .
git config uploadpack.allowFilter true
git config http.receivepack true
git config receive.denyDeleteCurrent ignore
`

/** A script for `copyOf`: what `slow-pack` and `cut-pack` of upstream/pack-hook.sh can cut in two. */
export const BIG =
  'git update-ref refs/tags/big $(head -c 300000 /dev/urandom | git hash-object -w --stdin)'

/** A script for `makeRepository`: a packed file is damaged, and upstream sends it under a right checksum. */
export const ROTTEN = `head -c 200000 /dev/urandom > random
blob=$(git hash-object -w random)
tree=$(printf '100644 blob %s\\tfile\\n' $blob | git mktree)
git update-ref refs/heads/main $(git commit-tree -m rotten $tree)
git repack -adq
pack=$(echo objects/pack/*.pack)
at=$(git verify-pack -v $pack | awk -v blob=$blob '$1 == blob { print $5 }')
chmod u+w $pack; cp $pack sound
printf '\\001\\002\\003\\004' | dd of=$pack bs=1 seek=$((at + 100000)) conv=notrunc status=none`
/** And then it is sound. */
export const REPAIRED = 'cp sound objects/pack/*.pack'

/** A new repository; its path below /w/repos. `parent` is a folder for it. */
export async function makeRepository(prefix: string, script: string, name = ''): Promise<string> {
  const id = uniqueId(prefix)
  const repository = name === '' ? `${id}.git` : `${id}/${name}`
  await onUpstream(repository, CREATE + script)
  return repository
}

/** A copy of a fixture that no cache has seen, after a script inside it. */
export async function copyOf(fixture: string, script = ':'): Promise<string> {
  const name = `${uniqueId('copy')}.git`
  await must(stack().upstream, `cp -a /w/repos/${fixture}.git /w/repos/${name}`)
  await onUpstream(name, script)
  return name
}

export async function recreate(repository: string, script: string): Promise<void> {
  await must(stack().upstream, `rm -rf /w/repos/${repository}`)
  await onUpstream(repository, CREATE + script)
}

export async function oidOf(repository: string, revision: string): Promise<string> {
  return onUpstream(repository, `git rev-parse '${revision}'`)
}

/** nginx of a suite. */
export function cacheOf(suite: Suite): string {
  return `http://nginx-${suite}:8080`
}

export const DIRECT = 'http://upstream'

/** Clones until the answer is a hit and there is a mirror, for what comes next. `options` go before `clone`: \`-c …\`. */
export async function warmUp(suite: Suite, path: string, options = ''): Promise<void> {
  const how: string[] = []
  for (let i = 0; i < 75; i++) {
    const id = uniqueId('warm')
    const dir = `/w/work/${id}`
    await must(
      client(suite),
      `git -c http.extraHeader=X-Test:${id} ${options} clone -q --bare ${cacheOf(suite)}${path} ${dir}; code=$?; rm -rf ${dir}; exit $code`
    )
    how.push(results(suite, id).join())
    if (how.at(-1) === 'hit') return untilMirrored(dataOf(suite), path)
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  throw new Error(`${path} does not get warm: ${how.join(' | ')}`)
}

export interface Cloned {
  code: number
  /** What git said, and the state of the clone. */
  out: string
  /** How nginx answered; empty straight from upstream. */
  how: string
}

/** Clones a public repository; `log`: of an nginx other than the shared one. */
export async function cloneState(
  suite: Suite,
  origin: string,
  repository: string,
  options: string,
  log?: string
): Promise<Cloned> {
  const id = uniqueId('clone')
  const ran = await sh(
    client(suite),
    `. /w/state.sh; mkdir /w/work/${id} && cd /w/work/${id} && git -c http.extraHeader=X-Test:${id} clone -q ${options} ${origin}/pub/${repository} c; code=$?; [ -d c ] && state c full; rm -rf /w/work/${id}; exit $code`
  )
  return { ...ran, how: results(suite, id, log).join() }
}

/** Whether any mirror of this sidecar holds an object. */
export async function mirrored(suite: Suite, oid: string): Promise<boolean> {
  const script = `for m in /w/data/${suite}/mirrors/*/*.git; do git -c safe.directory='*' -C "$m" cat-file -e ${oid} 2> /dev/null && exit 0; done; exit 1`
  return (await sh(client(suite), script)).code === 0
}

/** Credentials as git takes them on its command line. */
export function basic(user: string, password = `${user}-secret`): string {
  return `Authorization: Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}
