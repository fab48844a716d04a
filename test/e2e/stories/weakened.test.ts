/**
 * The rows can fail: with one guard taken out, what a client gets is no longer what it gets straight
 * from upstream; with the guard in place, on the same requests, it is.
 */
import { expect, test } from 'vitest'
import { GUARDS, PKT } from '../support/attacks.ts'
import { docker } from '../support/docker.ts'
import {
  client,
  dataOf,
  must,
  results,
  sh,
  stack,
  uniqueId,
  untilMirrored,
} from '../support/servers.ts'
import { startWeakened, type Weakening } from '../support/weakened.ts'

const DIRECT = 'http://upstream'
const REAL = 'http://nginx-trixie:8080'

interface Row extends Weakening {
  /** Prepares repositories on upstream; $R is a fresh name below /w/repos. */
  prepare?: string
  /** Fetches that fill the cache, with $URL; repeated until there is a mirror. */
  warm: string
  /** Between the two, on upstream. */
  change?: string
  /** What is compared: its output, straight from upstream and through the cache. */
  attack: string
}

const GIT = 'git -c protocol.version=2'
const ALICE = 'http.extraHeader="Authorization: Basic $(printf alice:alice-secret | base64)"'
const POST = `curl -s -H 'content-type: application/x-git-upload-pack-request' -H 'git-protocol: version=2' --data-binary @-`
const HISTORY = `git init -q --bare --template= -b main $R && cd $R && git config uploadpack.allowFilter true
c() { git commit-tree -m "$1" $2 $3 "$(git hash-object -t tree -w /dev/null)" ; }
export GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
base=$(c base) && s1=$(c secret1 -p $base) && s2=$(c secret2 -p $s1) && git update-ref refs/heads/main $base && git update-ref refs/heads/leak $s2
echo $s1 > s1; echo $s2 > s2; echo $base > base; cd ..; chown -R www-data $R`
const PRUNE = `cd $R && git update-ref -d refs/heads/leak && git reflog expire --expire=now --all && git prune --expire=now && cd .. && chown -R www-data $R`

const ROWS: Row[] = [
  {
    name: 'probe-off',
    edits: GUARDS.probe,
    warm: `${GIT} -c ${ALICE} clone -q --bare $URL/priv/main.git c`,
    attack: `V=2; ${PKT}; { pkt command=fetch; printf 0001; pkt "want $(git -C /w/repos/main.git rev-parse main)"; pkt done; printf 0000; } | ${POST} -o /dev/null -w '%{http_code}' $URL/priv/main.git/git-upload-pack`,
  },
  {
    name: 'key-without-repository',
    edits: GUARDS['repository in the key'],
    warm: `git init -q --bare c && ${GIT} -C c fetch -q --no-tags $URL/pub/main.git main`,
    attack: `git init -q --bare c && ${GIT} -C c fetch -q --no-tags $URL/pub/shallow.git main && git -C c rev-list --count FETCH_HEAD`,
  },
  {
    name: 'haves-unfiltered',
    edits: GUARDS['haves that upstream acknowledged'],
    prepare: HISTORY,
    warm: `${GIT} clone -q --bare $URL/pub/$NAME c`,
    change: PRUNE,
    attack: `V=2; ${PKT}; { pkt command=fetch; printf 0001; pkt thin-pack; pkt "want $(cat /w/repos/$NAME/base)"; pkt "have $(cat /w/repos/$NAME/base)"; pkt "have $(cat /w/repos/$NAME/s2)"; printf 0000; } | ${POST} $URL/pub/$NAME/git-upload-pack | grep -ac "ACK $(cat /w/repos/$NAME/s2)" || true`,
  },
  {
    name: 'shallow-not-probed',
    edits: GUARDS['shallows probed as wants'],
    prepare: HISTORY,
    warm: `${GIT} clone -q --bare $URL/pub/$NAME c`,
    change: PRUNE,
    attack: `V=2; ${PKT}; { pkt command=fetch; printf 0001; pkt "shallow $(cat /w/repos/$NAME/s2)"; pkt 'deepen 2147483647'; pkt "want $(cat /w/repos/$NAME/base)"; pkt done; printf 0000; } | ${POST} $URL/pub/$NAME/git-upload-pack | grep -ac "unshallow $(cat /w/repos/$NAME/s2)" || true`,
  },
  {
    name: 'tags-of-the-mirror',
    edits: GUARDS['view with the tag state'],
    prepare: `${HISTORY}; git -C $R -c user.name=a -c user.email=a@example.org tag -a -m old old main; chown -R www-data $R`,
    warm: `${GIT} clone -q --bare $URL/pub/$NAME c`,
    change: 'git -C $R tag -d old',
    attack: `${GIT} clone -q --depth 1 $URL/pub/$NAME c && git -C c cat-file --batch-check --batch-all-objects | grep -c ' tag ' || true`,
  },
  {
    name: 'rounds-without-common',
    edits: [
      [
        'njs/src/git/authorize.ts',
        'acknowledged.length === 0 && !asked.done',
        'acknowledged.length < 0',
      ],
    ],
    warm: `${GIT} clone -q --bare $URL/pub/main.git c`,
    attack: `${GIT} clone -q $URL/pub/small.git c && ${GIT} -C c fetch -q $URL/pub/main.git main && echo fetched`,
  },
]

async function runIn(url: string, name: string, id: string, script: string): Promise<string> {
  const { code, out } = await sh(
    client('trixie'),
    `export GIT_TERMINAL_PROMPT=0; rm -rf /w/work/${id}; mkdir -p /w/work/${id}; cd /w/work/${id}; ( ${script} ); code=$?; rm -rf /w/work/${id}; exit $code`,
    {
      URL: url,
      NAME: name,
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'http.extraHeader',
      GIT_CONFIG_VALUE_0: `X-Test: ${id}`,
    }
  )
  return `${out.replaceAll(url, 'URL').trim()} exit ${code}`
}

interface Cache {
  url: string
  log: string
  data: string
}

/** Runs a row's first fetch, which the cache must answer, and waits for the mirror of its repository. */
async function warmUp({ url, log, data }: Cache, name: string, script: string): Promise<void> {
  const id = uniqueId('weak-warm')
  await runIn(url, name, id, script)
  expect(results('trixie', id, log).join()).toMatch(/hit|miss|join/)
  const path = /\$URL(\/\S+)/.exec(script)?.[1] ?? ''
  await untilMirrored(data, path.replace('$NAME', name))
}

test.each(ROWS)('without its guard: $name', async (row) => {
  const name = `${uniqueId('weak')}.git`
  const upstream = stack().upstream
  const env = { R: `/w/repos/${name}` }
  if (row.prepare) await must(upstream, `cd /w/repos; ${row.prepare}`, env)
  const weak = await startWeakened(row)
  try {
    await warmUp(weak, name, row.warm)
    await warmUp({ url: REAL, log: 'nginx-trixie.log', data: dataOf('trixie') }, name, row.warm)
    if (row.change) await must(upstream, `cd /w/repos; ${row.change}`, env)
    const expected = await runIn(DIRECT, name, uniqueId('direct'), row.attack)
    expect(await runIn(REAL, name, uniqueId('real'), row.attack)).toBe(expected)
    expect(await runIn(weak.url, name, uniqueId('weak'), row.attack)).not.toBe(expected)
  } finally {
    await weak.stop()
    await docker(['exec', upstream, 'rm', '-rf', `/w/repos/${name}`])
  }
})
