/**
 * What clients do: the rows of the table. A script runs in an empty directory with $GIT (git with
 * the protocol version), $URL (scheme, host and first segment) and $DIRECT (the same on upstream,
 * for what goes before the measured step); it leaves its clone in ./c.
 */

export interface Operation {
  name: string
  script: string
  /** How the clone is compared. */
  state?: 'full' | 'partial' | 'none'
  /** How each fetch is answered the second time, by protocol family; `hit` where it does not say. */
  v2?: Expected
  v0?: Expected
}

/** A pattern that all results together match, joined by commas. */
type Expected = RegExp

const HIT = /^hit$/
const HITS = /^hit(,hit)*$/
const NONE = /^$/
/** Rounds that bring no pack are `nak` or pass; each that brings one is a hit. */
const ROUNDS = /^((nak|pass; reason=not-ready|hit),)*hit$/
const V0_DEPTH = /^pass; reason=v0-no-done,hit$/
const V0_HAVES = /^(pass; reason=v0-(haves|no-done),?)+$/
const V0_DEPTH_HAVES = /^(pass; reason=v0-(no-done|haves),?)+$/

const clone = (name: string, options: string, more: Partial<Operation> = {}): Operation => ({
  name,
  script: `$GIT clone -q ${options} $URL/main.git c`,
  v2: HIT,
  v0: HIT,
  ...more,
})

/** A client that has `from` and fetches from `to`. */
const fetch = (
  name: string,
  from: string,
  to: string,
  step: string,
  more: Partial<Operation>
): Operation => ({
  name,
  script: `git clone -q ${from.startsWith('-') ? from : `$DIRECT/${from}`} c && git -C c remote set-url origin $URL/${to} && ${step}`,
  ...more,
})

export const OPERATIONS: Operation[] = [
  clone('clone', ''),
  clone('clone --bare', '--bare'),
  clone('clone --mirror', '--mirror'),
  clone('clone --depth 1', '--depth 1', { v0: V0_DEPTH }),
  clone('clone --depth 5 --no-single-branch', '--depth 5 --no-single-branch', { v0: V0_DEPTH }),
  clone('clone --single-branch', '--single-branch'),
  clone('clone --single-branch --branch topic/a', '--single-branch --branch topic/a'),
  clone('clone --no-tags', '--no-tags --single-branch'),
  clone('clone --shallow-since', '--shallow-since=1600150000', {
    v2: /^(miss|join)$/,
    v0: /^pass; reason=v0-no-done,(miss|join)$/,
  }),
  clone('clone --shallow-exclude', '--shallow-exclude=v6', {
    v2: /^pass; reason=deepen-not$/,
    v0: /^(pass; reason=deepen-not,?)+$/,
  }),
  {
    name: 'clone --filter=blob:none, checkout',
    script:
      '$GIT clone -q --no-checkout --filter=blob:none $URL/main.git c && $GIT -C c checkout -q main',
    state: 'partial',
    v2: HITS,
    v0: HITS,
  },
  clone('clone --filter=blob:none --bare', '--filter=blob:none --bare', { state: 'partial' }),
  // Without tags on trees: whether these come along depends on the server's bitmaps.
  {
    name: 'clone --filter=tree:0',
    script: '$GIT clone -q --filter=tree:0 $URL/small.git c',
    state: 'partial',
    v2: HITS,
    v0: HITS,
  },
  clone('clone --filter=blob:limit', '--filter=blob:limit=1k', {
    state: 'partial',
    v2: HITS,
    v0: HITS,
  }),
  clone('clone --filter=combine:', '--filter=combine:blob:none+tree:3 --bare', {
    state: 'partial',
  }),
  {
    name: 'clone --filter that upstream refuses',
    script: '$GIT clone -q --filter=blob:none $URL/nofilter.git c',
    v2: HIT,
    v0: HIT,
  },
  {
    name: 'fetch by sha, depth 1',
    script:
      'git init -q c && oid=$($GIT ls-remote $DIRECT/main.git refs/heads/side-3 | cut -f1) && $GIT -C c fetch -q --no-tags --depth 1 $URL/main.git $oid && git -C c update-ref refs/heads/x FETCH_HEAD',
    v2: HIT,
    v0: V0_DEPTH,
  },
  {
    name: 'fetch of a pull request, then --unshallow',
    script:
      'git init -q c && git -C c remote add origin $URL/main.git && $GIT -C c fetch -q --no-tags --depth 1 origin refs/pull/1/head:refs/heads/pr && $GIT -C c fetch -q --no-tags --unshallow origin refs/pull/1/head:refs/heads/pr',
    v2: /^hit,(pass; reason=[a-z-]+,)*hit$/,
    v0: /^pass; reason=v0-no-done,hit,(pass; reason=v0-[a-z-]+,?)+$/,
  },
  fetch('incremental fetch', 'inc-old.git', 'inc-new.git', '$GIT -C c fetch -q', {
    v2: ROUNDS,
    v0: V0_HAVES,
  }),
  fetch(
    'incremental fetch with 20 unpushed commits',
    'inc-old.git',
    'inc-new.git',
    'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do GIT_AUTHOR_DATE="1700000000 +0000" GIT_COMMITTER_DATE="1700000000 +0000" git -C c commit -q --allow-empty -m $i; done && $GIT -C c fetch -q',
    { v2: ROUNDS, v0: V0_HAVES }
  ),
  fetch('fetch after a force push', 'forced-old.git', 'forced-new.git', '$GIT -C c fetch -q', {
    v2: ROUNDS,
    v0: V0_HAVES,
  }),
  fetch(
    'fetch of haves that upstream has pruned',
    'forced-old.git',
    'pruned-new.git',
    '$GIT -C c fetch -q',
    {
      v2: ROUNDS,
      v0: V0_HAVES,
    }
  ),
  fetch(
    'shallow workspace whose boundary upstream has pruned',
    '--depth 1 $DIRECT/forced-old.git',
    'pruned-new.git',
    '$GIT -C c fetch -q --depth 1 origin main',
    { v2: ROUNDS, v0: V0_DEPTH_HAVES }
  ),
  fetch(
    'fetch --deepen',
    '--depth 2 $DIRECT/main.git',
    'main.git',
    '$GIT -C c fetch -q --deepen 3',
    {
      v2: /^pass; reason=deepen-relative(,.*)?$/,
      v0: /^(pass; reason=(deepen-relative|v0-[a-z-]+),?)+$/,
    }
  ),
  fetch(
    'fetch --unshallow',
    '--depth 2 $DIRECT/main.git',
    'main.git',
    '$GIT -C c fetch -q --unshallow',
    {
      v2: ROUNDS,
      v0: V0_DEPTH_HAVES,
    }
  ),
  {
    name: 'fetch --refetch',
    script:
      'git clone -q $DIRECT/small.git c && git -C c remote set-url origin $URL/main.git && $GIT -C c fetch -q --refetch',
    v2: HITS,
    v0: HITS,
  },
  {
    name: 'clone --recurse-submodules',
    script:
      '$GIT clone -q --recurse-submodules $URL/super.git c && git -C c/sub rev-parse HEAD > /dev/null',
    v2: /^hit,hit$/,
    v0: /^hit,hit$/,
  },
  {
    name: 'clone of an empty repository',
    script: '$GIT clone -q $URL/empty.git c',
    v2: NONE,
    v0: NONE,
  },
  {
    name: 'clone of a detached HEAD',
    script: '$GIT clone -q $URL/detached.git c',
    v2: HIT,
    v0: HIT,
  },
  { name: 'clone, sha256', script: '$GIT clone -q $URL/sha256.git c', v2: HIT, v0: HIT },
  {
    name: 'clone --depth 1, sha256',
    script: '$GIT clone -q --depth 1 $URL/sha256.git c',
    v2: HIT,
    v0: V0_DEPTH,
  },
  {
    name: 'clone of a shallow upstream',
    script: '$GIT clone -q $URL/shallow.git c',
    v2: /^pass; reason=shallow-upstream$/,
    // Until it is found out, others share the answer that the first gets.
    v0: /^(pass; reason=shallow-upstream|join|miss)$/,
  },
  {
    name: 'clone with 2,000 branches',
    script: '$GIT clone -q $URL/branches.git c',
    v2: HIT,
    v0: HIT,
  },
  {
    name: 'fetch of 1,111 branches',
    script: `git init -q c && git -C c remote add origin $URL/branches.git && $GIT -C c fetch -q origin 'refs/heads/b1*:refs/remotes/origin/b1*'`,
    v2: HIT,
    v0: HIT,
  },
  {
    name: 'clone with 24,000 tags',
    script: '$GIT clone -q $URL/tags.git c',
    v2: /^(pass; reason=empty,)?hit$/,
    v0: /^(pass; reason=empty,)?hit$/,
  },
  {
    name: 'clone --depth 1 with 24,000 tags',
    script: '$GIT clone -q --depth 1 $URL/tags.git c',
    v2: /^pass; reason=tag(s-limit|-state)$/,
    v0: /^pass; reason=v0-no-done,pass; reason=tag(s-limit|-state)$/,
  },
  {
    name: 'clone of what is not there',
    script: '$GIT clone -q $URL/absent.git c',
    v2: NONE,
    v0: NONE,
  },
  {
    name: 'fetch of what upstream does not have',
    script:
      'git init -q c && $GIT -C c fetch -q --depth 1 $URL/main.git 1234567890123456789012345678901234567890',
    v2: /^(pass; reason=refused)?$/,
    v0: /^$/,
  },
]

export { HIT, HITS, ROUNDS }
