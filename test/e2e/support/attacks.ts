/**
 * Ways to read what one may not read: the guards, each with the edits that take it out of a build;
 * the scenes, repositories of which the cache holds more than upstream gives this client; and the
 * table, a row an attack. A script of a client runs in an empty directory with $URL (scheme and
 * host), $ID (the scene's folder below /w/repos), $V (the protocol version) and SHELL before it.
 */
import type { Weakening } from './weakened.ts'

const AUTHORIZE = 'njs/src/git/authorize.ts'
const PROBE = 'njs/src/git/probe.ts'
const KEY = 'njs/src/git/key.ts'
const FILTER = 'njs/src/git/filter-spec.ts'

/** The key's text without one part of what is asked for. */
const keyWithout = (part: string): Weakening['edits'] => [
  [
    KEY,
    'writeCanonicalRequest(request)',
    `writeCanonicalRequest(Object.assign({}, request, { ${part} }))`,
  ],
]

export const GUARDS = {
  probe: [
    [AUTHORIZE, "if (typeof body !== 'string') {", 'if (body === undefined) {'],
    [
      AUTHORIZE,
      'const answer = readProbeAnswer(asked, body)',
      "const answer = { kind: 'yes', acknowledged: asked.haves }",
    ],
  ],
  'a refusal is no yes': [
    [
      PROBE,
      "return { kind: 'not-our-ref', oid: refused }",
      "return { kind: 'yes', acknowledged: [] }",
    ],
  ],
  'a yes is a 200 in packets': [
    ['njs/src/nginx/upstream.ts', 'if (reply.status !== 200) {', 'if (reply.status === 0) {'],
    ['njs/src/nginx/upstream.ts', 'undefined || !isYes', 'undefined'],
    [
      PROBE,
      "if (pkts === null || pkts.length === 0) {\n    return { kind: 'no' }",
      "if (pkts === null || pkts.length === 0) {\n    return { kind: 'yes', acknowledged: [] }",
    ],
  ],
  'nothing unprobed but from upstream': [
    [
      'sidecar/src/make-answer.ts',
      'if (!work.probed) {\n    throw new ProbeFirst()\n  }\n  try {\n    await answerFromMirror',
      'try {\n    await answerFromMirror',
    ],
  ],
  'probe of large requests': [
    [
      'sidecar/src/large-request.ts',
      'await authorize(request, source)',
      "{ kind: 'yes', request, tags: null }",
    ],
  ],
  'haves that upstream acknowledged': [
    [AUTHORIZE, '{ haves: acknowledged }', '{ haves: asked.haves }'],
  ],
  'shallows probed as wants': [[PROBE, 'request.wants.concat(request.shallows)', 'request.wants']],
  'closed table of filters': [
    [FILTER, 'return SIMPLE.test(spec)', 'return true'],
    [FILTER, '.every((part) => SIMPLE.test(part))', '.every((part) => part)'],
  ],
  'no ref is resolved by the mirror': [
    [
      'njs/src/git/fetch-request.ts',
      "case 'deepen-since':",
      "case 'deepen-since':\n    case 'deepen-not':",
    ],
  ],
  'view with the tag state': [
    [
      'sidecar/src/warm.ts',
      'const view = work.tags === null ? null : temporaryName',
      'const view = work.tags !== undefined ? null : temporaryName',
    ],
  ],
  'tag state in the key': [[KEY, "(request.includeTag ? scope.tagState : '')", "''"]],
  'repository in the key': [[KEY, "'\\nrepository ' + scope.repository", "'\\nrepository '"]],
  'path as it is spelt': [
    [
      'njs/src/git/repository-path.ts',
      'path.substring(0, end)',
      "path.replace(/\\.git\\/.*$/, '').toLowerCase()",
    ],
  ],
  'one mirror a repository': [
    [
      'sidecar/src/mirror-places.ts',
      '[name.upstream, name.vhost, name.repository, name.format]',
      '[name.upstream, name.vhost, name.format]',
    ],
  ],
  'key of the order': [
    [
      'njs/src/nginx/upload-pack.ts',
      'keyOf(sha256, request, tags, asked)',
      "keyOf(sha256, request, tags, Object.assign({}, asked, { path: '' }))",
    ],
    [
      'sidecar/src/work.ts',
      'readRequest(config, asked, headers)\n  if (work.key !== order.key)',
      "{ ...readRequest(config, asked, headers), key: order.key }\n  if (order.key === '')",
    ],
  ],
  'wants in the key': keyWithout('wants: []'),
  'shallows in the key': keyWithout('shallows: []'),
  'deepen in the key': keyWithout('deepen: null'),
  'filter in the key': keyWithout('filter: null'),
  'haves in the key': keyWithout('haves: []'),
  'done in the key': keyWithout('done: true'),
  'options in the key': keyWithout('thinPack: false, includeTag: false, ofsDelta: false'),
  'protocol in the key': keyWithout('family: 2'),
} satisfies Record<string, Weakening['edits']>

export type Guard = keyof typeof GUARDS

/** A line of a request of version $V as a packet, as git ends it. */
export const PKT = `pkt() {
  case "$V$1" in
    "2want "*|"2have "*|2done|0*|1*) printf '%04x%s\\n' $((\${#1} + 5)) "$1" ;;
    *) printf '%04x%s' $((\${#1} + 4)) "$1" ;;
  esac
}`

/**
 * What a client's scripts know. Requests: `fetch PATH LINE...` asks for a pack, `post PATH` sends its
 * input; both say what came back: `said LINE` for packets, `got OID` for each object of the pack.
 */
export const SHELL = `
GIT="git -c protocol.version=$V"
PROTOCOL=version=$V
[ "$V" = 0 ] && PROTOCOL=
TYPE=content-type:application/x-git-upload-pack-request
CURL="-sS -m 20 --path-as-is --http1.1 -H $TYPE -H x-test:$TEST"
HOST=\${URL#http://}; PORT=\${HOST#*:}; HOST=\${HOST%%:*}; [ "$PORT" = "$HOST" ] && PORT=80
: > curlrc
REFUSED=/w/repos/$ID/a.git/git-upload-pack.refused
oid() { cat "/w/repos/$ID/oids/$1"; }
with() { printf 'header = "%s"\\n' "$1" >> curlrc; }
as() { printf 'user = "%s"\\n' "$1" >> curlrc; }
url() { echo "$URL" | sed "s,//,//$1@,"; }
# In git's order, too: what reads git's requests at once reads these.
${PKT}
some() { kind=$1; shift; for line; do case "$line" in $kind*) pkt "$line" ;; esac; done; }
others() { for line; do case "$line" in shallow*|deepen*|filter*|want*|have*) ;; *) pkt "$line" ;; esac; done; }
in_order() { others "$@"; for kind in shallow deepen filter want have; do some $kind "$@"; done; }
many() { awk -v n="$1" -v oid="$2" 'BEGIN { while (n--) printf "0032want %s\\n", oid }'; }
begin() { pkt command=fetch; printf 0001; pkt ofs-delta; }
request() {
  if [ "$V" = 2 ]; then
    begin; in_order "$@"; pkt done; printf 0000
  else
    pkt "$1 side-band-64k ofs-delta no-progress filter $CAPS"; shift
    for line; do pkt "$line"; done; printf 0000; pkt done
  fi
}
round() { begin; in_order "$@"; printf 0000; }
post() {
  cat > in; path=$1; shift
  curl $CURL -K curlrc -o out -w '%{http_code} %{content_type}\\n' \${PROTOCOL:+-H "git-protocol:$PROTOCOL"} "$@" --data-binary @in "$URL$path/git-upload-pack" && show < out
}
fetch() { path=$1; shift; request "$@" | post "$path"; }
# Two requests on one connection: the options of the first and its body, and a second with the body \`in\`.
twice() {
  curl $CURL $1 -o /dev/null -w '%{http_code}\\n' \${PROTOCOL:+-H "git-protocol:$PROTOCOL"} --data-binary "$2" "$URL$3/git-upload-pack" --next $CURL -o out -w '%{http_code} %{num_connects}\\n' \${PROTOCOL:+-H "git-protocol:$PROTOCOL"} --data-binary @in "$URL$4/git-upload-pack" && show < out
}
# A head by hand, PATH and more lines of it; then whatever a script sends.
head_of() {
  printf 'POST %s/git-upload-pack HTTP/1.1\\r\\nHost: x\\r\\nContent-Type: application/x-git-upload-pack-request\\r\\nGit-Protocol: version=2\\r\\n' "$1"
  shift; for line; do printf '%s\\r\\n' "$line"; done; printf '\\r\\n'
}
raw() {
  bash -c 'exec 3<> "/dev/tcp/$0/$1"; cat >&3; timeout 4 cat <&3' "$HOST" "$PORT" > out 2> /dev/null
  grep -aoE 'HTTP/1.1 [0-9]{3}' out; echo "packs $(grep -ac PACK out)"
}
show() {
  rm -rf pack repository
  perl -0777 -ne '
    if (!/^[0-9a-f]{4}/) { print; exit }
    open my $pack, ">", "pack";
    while (length) {
      my $digits = substr $_, 0, 4;
      my $size = hex $digits;
      my $line = $size > 4 ? substr $_, 4, $size - 4 : $digits;
      $_ = $size < length($_) ? substr $_, $size < 4 ? 4 : $size : "";
      if ($line =~ s/^\\x01//s) { print $pack $line }
      elsif ($line !~ /^\\x02/) { $line =~ s/^\\x03/error: /; $line =~ s/\\n?$/\\n/; print "said $line" }
    }'
  [ -s pack ] || return 0
  git init -q --bare repository
  if git -C repository index-pack --stdin < pack > /dev/null 2>&1; then all repository; else echo 'not whole'; fi
}
all() { git -C "$1" cat-file --batch-all-objects --batch-check='got %(objectname)'; }
`

/** What scripts on upstream know besides \`commit\` and \`prune\`. */
export const UPSTREAM_SHELL = `
make() { git init -q --bare --template= --initial-branch=main "$1"; cd "$1"; git config uploadpack.allowFilter true; }
note() { mkdir -p ../oids; git rev-parse "$2" > "../oids/$1"; }
# put BRANCH NAME: a commit whose file has what is piped in.
put() {
  tree=$({ git ls-tree "$1" | sed "/\\t$2$/d"; printf '100644 blob %s\\t%s\\n' "$(git hash-object -w --stdin)" "$2"; } | git mktree)
  git update-ref "refs/heads/$1" "$(git commit-tree -p "refs/heads/$1" -m "$2" "$tree")"
}
`

export interface Scene {
  /** On upstream, in a new folder: bare repositories, and \`note NAME REVISION\`. */
  prepare: string
  /** Clones that make the mirrors; the next waits for these. */
  warm: string
  /** Below /w/repos/$ID. */
  mirrors: string[]
  /** Further fetches, whose answers are stored. */
  fill?: string
  /** On upstream: what one may not read from now on. */
  change?: string
}

const A = '/pub/$ID/a.git'
const P = '/priv/$ID/a.git'
const TEAM = '/priv/$ID/team.git'
const ALL = '"deepen 2147483647"'
const ALICE = '$(url alice:alice-secret)'

const want = (...names: string[]) => names.map((name) => `"want $(oid ${name})"`).join(' ')
const have = (name: string) => `"have $(oid ${name})"`
const shallow = (name: string) => `"shallow $(oid ${name})"`

/** Clones in both families, so that there are answers of both. */
const clones = (options: string, url: string) =>
  `for v in 2 0; do git -c protocol.version=$v ${options.replace('clone', 'clone -q')} ${url} c && rm -rf c; done`
const inBoth = (script: string) =>
  `for V in 2 0; do PROTOCOL=version=2; [ $V = 0 ] && PROTOCOL=; ${script}; done`

export const SCENES = {
  /** A branch and a tag are gone from upstream, with all that only they had. */
  pruned: {
    prepare: `make a.git; commit main one; commit main two; seq 1 30 | put main two
git branch leak; commit leak secret1
{ seq 500 560; echo password; } | put leak secret2; echo /one | put leak patterns
git tag -a -m secret leaked leak
note base main; note older main~1; note s1 leak~2; note s2 leak~1; note s3 leak; note tag leaked
note blob leak:secret2; note tree 'leak^{tree}'; note sparse leak:patterns`,
    warm: clones('clone --bare', `$URL${A}`),
    mirrors: ['/pub/$ID/a.git'],
    fill: `${clones('clone --bare', `$URL${A}`)}; ${clones('clone --bare --filter=blob:none', `$URL${A}`)}
${inBoth(`fetch ${A} ${want('base')} ${shallow('s3')} ${ALL}; fetch ${A} ${want('s3')} "deepen 1"`)}`,
    change: `cd a.git; git update-ref -d refs/heads/leak; git tag -d leaked > /dev/null; prune
seq 500 550 | put main secret2; note three main`,
  },
  /** Closed to anyone, to all but one, without a header, or when it comes to fetching. */
  private: {
    prepare: `( make a.git; commit main one; commit main two; note base main; note older main~1 )
( make team.git; commit main ours; commit main plans; note plans main )
printf '%s:{SHA}%s\\n' "carol-\${PWD##*/}" "$(printf secret | openssl dgst -binary -sha1 | base64)" >> /w/upstream/htpasswd`,
    warm: [
      clones('clone --bare', `${ALICE}${P}`),
      clones('clone --bare', `${ALICE}${TEAM}`),
      clones('-c http.extraHeader=X-Token:sesame clone --bare', '$URL/token/$ID/a.git'),
      clones('clone --bare', `${ALICE}/closedpost/$ID/a.git`),
      clones('clone --bare', `$URL${A}`),
    ].join('; '),
    mirrors: ['/priv/$ID/a.git', '/priv/$ID/team.git', '/token/$ID/a.git', '/closedpost/$ID/a.git'],
    fill: clones('clone --bare', `$(url carol-$ID:secret)${P}`),
    change: `sed -i "/^carol-\${PWD##*/}:/d" /w/upstream/htpasswd`,
  },
  /** bob does not see the branch that is called secret. */
  hidden: {
    prepare: `make a.git; commit main one; commit main two; git branch secret; commit secret hidden
note base main; note s secret`,
    warm: clones('clone --bare', `${ALICE}${P}`),
    mirrors: ['/priv/$ID/a.git'],
    fill: clones('clone --bare', `${ALICE}${P}`),
  },
  /** Tags are deleted, moved and made. */
  tags: {
    prepare: `make a.git; commit main one; commit main two; note base main
git tag -a -m old old main; git tag -a -m nested nested old; git tag -a -m tree on-tree 'main^{tree}'
git tag -a -m blob on-blob main:two; git tag -a -m before moved main
for tag in old nested on-tree on-blob moved; do note $tag refs/tags/$tag; done`,
    warm: clones('clone --bare', `$URL${A}`),
    mirrors: ['/pub/$ID/a.git'],
    fill: `${clones('clone --bare --depth 1', `$URL${A}`)}; ${clones('clone --bare --single-branch', `$URL${A}`)}`,
    change: `cd a.git; git tag -d nested old on-tree on-blob > /dev/null; git tag -f -a -m after moved main > /dev/null
git tag -a -m fresh fresh main; note fresh refs/tags/fresh`,
  },
  /** Repositories that begin where alice's has a history before, or that have lost a file of it. */
  twins: {
    prepare: `( make team.git; commit main one; commit main two; commit main three
note base main; note older main~1; note oldest main~2; note blob main:two )
for name in b TEAM; do git clone -q --bare --depth 1 "file://$PWD/team.git" $name.git; done
cp -a team.git lost.git; blob=$(cat oids/blob); rm -f lost.git/objects/$(echo $blob | cut -c1-2)/$(echo $blob | cut -c3-)`,
    warm: clones('clone --bare', `${ALICE}${TEAM}`),
    mirrors: ['/priv/$ID/team.git'],
    fill: `${clones('clone --bare', `${ALICE}${TEAM}`)}
as alice:alice-secret; ${inBoth(`fetch ${TEAM} ${want('base')} "deepen 2"`)}`,
  },
  /** A repository whose path lies inside another's. */
  inside: {
    prepare: `( make a.git; commit main one; commit main two; note base main; note older main~1 )
git clone -q --bare --depth 1 "file://$PWD/a.git" inside.git; mkdir a.git/inside; mv inside.git a.git/inside/x.git`,
    warm: clones('clone --bare', `$URL${A}`),
    mirrors: ['/pub/$ID/a.git'],
    fill: clones('clone --bare', `$URL${A}`),
  },
  /** Tags with names that look like depths: one has moved, one is gone. */
  moved: {
    prepare: `make a.git; commit main one; commit main two; commit main three
git tag 20 main~2; git tag 21 main~2; note base main; note between main~1`,
    warm: clones('clone --bare', `$URL${A}`),
    mirrors: ['/pub/$ID/a.git'],
    change: 'cd a.git; git tag -f 20 main~1 > /dev/null; git tag -d 21 > /dev/null',
  },
} satisfies Record<string, Scene>

export interface Attack {
  name: string
  /** What stops it. */
  guard: Guard
  protocol: 0 | 1 | 2
  scene: keyof typeof SCENES
  attack: string
  /** The object that the attacker gets, or learns of, where the guard is missing. */
  gets?: string
}

type Way = [name: string, attack: string, protocols?: (0 | 1 | 2)[], gets?: string]

const EACH: (0 | 1 | 2)[] = [2, 1, 0]
const OLD_AND_NEW: (0 | 1 | 2)[] = [2, 0]

/** A row for each protocol version that an attack is tried with. */
function rows(guard: Guard, scene: keyof typeof SCENES, gets: string, ways: Way[]): Attack[] {
  return ways.flatMap(([name, attack, protocols = [2], own = gets]) =>
    protocols.map((protocol) => ({
      name,
      guard,
      protocol,
      scene,
      attack,
      ...(own === '' ? {} : { gets: own }),
    }))
  )
}

const BASE = `fetch ${P} ${want('base')}`
const PLANS = `fetch ${TEAM} ${want('plans')}`
const LEAK = `fetch ${A} ${want('s2')}`
const DEPTH_1 = `$GIT clone -q --depth 1 $URL${A} c && all c`
const refused = (script: string) => `touch $REFUSED; ${script}; rm -f $REFUSED`
const withHeader = (line: string) => `with '${line}'; ${BASE}`
const gzipped = (body: string, path: string) =>
  `${body} | gzip -n | post ${path} -H content-encoding:gzip`
const large = (count: number, path: string, name: string, secret: string) =>
  `if [ $V = 2 ]; then begin; else pkt "want $(oid ${name}) side-band-64k ofs-delta no-progress"; fi > body
{ many ${count} $(oid ${name}); pkt "want $(oid ${secret})"; } >> body
if [ $V = 2 ]; then pkt done; printf 0000; else printf 0000; pkt done; fi >> body; post ${path} < body`

export const ATTACKS: Attack[] = [
  ...rows('probe', 'private', 'base', [
    ['what alice has fetched, without credentials', BASE, EACH],
    ['with a wrong password', `as alice:wrong; ${BASE}`, OLD_AND_NEW],
    ['with no password', `as alice:; ${BASE}`],
    ['as a user whom upstream does not know', `as eve:alice-secret; ${BASE}`],
    ['as a user who has been removed', `as carol-$ID:secret; ${BASE}`, OLD_AND_NEW],
    ['with the password as a token', withHeader('Authorization: Bearer alice-secret')],
    ['as bob, what alice alone may read', `as bob:bob-secret; ${PLANS}`, EACH, 'plans'],
    ['without the header that upstream asks for', `fetch /token/$ID/a.git ${want('base')}`],
    [
      'with another value of that header',
      `with 'X-Token: sesam'; fetch /token/$ID/a.git ${want('base')}`,
      OLD_AND_NEW,
    ],
    [
      'where the refs are open and the fetch is not',
      `fetch /closedpost/$ID/a.git ${want('base')}`,
      EACH,
    ],
    ['after the right was taken away', refused(`as alice:alice-secret; ${BASE}`), EACH],
    [
      'a right that is taken away between two requests on one connection',
      `auth="Authorization: Basic $(printf alice:alice-secret | base64)"; request ${want('base')} > in
size="Content-Length: $(wc -c < in)"
{ head_of ${P} "$auth" "$size"; cat in; sleep 1; touch $REFUSED; head_of ${P} "$auth" "$size" 'Connection: close'; cat in; } | raw; rm -f $REFUSED`,
      [2],
      '',
    ],
    [
      "without credentials, behind alice's request on her connection",
      `request ${want('base')} > in; twice '-u alice:alice-secret' @in ${P} ${P}`,
      EACH,
    ],
    ['behind an empty request', `request ${want('base')} > in; twice '' 0000 ${P} ${P}`, EACH],
    [
      'behind a good request to an open repository',
      `request ${want('base')} > in; twice '' @in ${A} ${P}`,
    ],
    ['in gzip', gzipped(`request ${want('base')}`, P), OLD_AND_NEW],
    ['in chunks', `request ${want('base')} | post ${P} -H transfer-encoding:chunked`, OLD_AND_NEW],
    [
      'with credentials in the trailer',
      `request ${want('base')} > in; { head_of ${P} 'Transfer-Encoding: chunked' 'Trailer: Authorization' 'Connection: close'; printf '%x\\r\\n' $(wc -c < in); cat in; printf '\\r\\n0\\r\\nAuthorization: Basic %s\\r\\n\\r\\n' $(printf alice:alice-secret | base64); } | raw`,
      [2],
      '',
    ],
    ['under version=1:version=2', `PROTOCOL=version=1:version=2; ${BASE}`],
    ['under version=2:version=1', `PROTOCOL=version=2:version=1; ${BASE}`],
    ['under version=1:version=0', `V=0; PROTOCOL=version=1:version=0; ${BASE}`, [1]],
    ['with an expectation', `request ${want('base')} | post ${P} -H expect:100-continue`],
    ['with X-Original-URI', withHeader('X-Original-URI: /pub/main.git/git-upload-pack')],
    ['with X-HTTP-Method-Override', withHeader('X-HTTP-Method-Override: GET')],
    ['with X-Accel-Redirect', withHeader(`X-Accel-Redirect: ${A}/_gitcache/hit/git-upload-pack`)],
    ['with X-Forwarded-User', withHeader('X-Forwarded-User: alice')],
    ['with REMOTE_USER', withHeader('Remote-User: alice')],
    ['with a result of its own', withHeader('X-Git-Cache: hit')],
    ['with its credentials in another scheme', withHeader('Proxy-Authorization: Basic YWxpY2U6')],
    [
      'named twice, as bob',
      `as bob:bob-secret; fetch ${TEAM} ${want('plans', 'plans')}`,
      [2],
      'plans',
    ],
    ['at depth 1', `fetch ${P} ${want('base')} "deepen 1"`, EACH],
    ['without its files', `fetch ${P} ${want('base')} "filter blob:none"`, OLD_AND_NEW],
  ]),
  ...rows('a refusal is no yes', 'pruned', 's2', [
    ['a commit that was pruned', LEAK, EACH],
    ['the tip of a branch that was deleted', `fetch ${A} ${want('s3')}`, EACH, 's3'],
    ['a file that was pruned', `fetch ${A} ${want('blob')}`, EACH, 'blob'],
    ['a tree that was pruned', `fetch ${A} ${want('tree')}`, OLD_AND_NEW, 'tree'],
    ['a tag that was deleted', `fetch ${A} ${want('tag')}`, EACH, 'tag'],
    ['beside what one may read', `fetch ${A} ${want('base', 's2')}`, EACH],
    ['before what one may read', `fetch ${A} ${want('s2', 'base')}`, OLD_AND_NEW],
    [
      'the last of 300 wants',
      `{ begin; many 300 $(oid base); pkt "want $(oid s2)"; pkt done; printf 0000; } | post ${A}`,
    ],
    ['named twice', `fetch ${A} ${want('s2', 's2')}`, EACH],
    ['as want and as shallow', `fetch ${A} ${want('base', 's2')} ${shallow('s2')}`, OLD_AND_NEW],
    ['at depth 1', `fetch ${A} ${want('s2')} "deepen 1"`, EACH],
    ['at any depth', `fetch ${A} ${want('s2')} ${ALL}`, OLD_AND_NEW],
    ['since a time', `fetch ${A} ${want('s2')} "deepen-since 1500000000"`, OLD_AND_NEW],
    [
      'as a partial clone asks for a file',
      `fetch ${A} ${want('blob')} "filter blob:none"`,
      EACH,
      'blob',
    ],
    [
      'as a partial clone asks for a tree',
      `fetch ${A} ${want('tree')} "filter tree:1"`,
      OLD_AND_NEW,
      'tree',
    ],
    [
      'among the commits alone',
      `fetch ${A} ${want('s2')} "filter object:type=commit"`,
      OLD_AND_NEW,
    ],
    ['with include-tag', `fetch ${A} ${want('s2')} include-tag`],
    ['with a have of its own', `fetch ${A} ${want('s2')} ${have('base')}`],
    ['in gzip', gzipped(`request ${want('s2')}`, A), OLD_AND_NEW],
    ['under version=1:version=2', `PROTOCOL=version=1:version=2; ${LEAK}`],
    [
      'with two requests in one body',
      `{ request ${want('s2')}; request ${want('base')}; } | post ${A}`,
    ],
    [
      'by git itself',
      `git init -q --bare c; $GIT -C c fetch -q $URL${A} $(oid s2) 2> /dev/null; all c`,
    ],
  ]),
  ...rows('a refusal is no yes', 'hidden', 's', [
    ['a branch that is hidden from bob', `as bob:bob-secret; fetch ${P} ${want('s')}`, [0, 1]],
    ['beside what bob may read', `as bob:bob-secret; fetch ${P} ${want('base', 's')}`, [0, 1]],
    ['at depth 1, by bob', `as bob:bob-secret; fetch ${P} ${want('s')} "deepen 1"`, [0, 1]],
  ]),
  ...rows('a yes is a 200 in packets', 'private', 'base', [
    ['a page that asks for a password', BASE, EACH],
    ['a page that refuses', `as bob:bob-secret; ${PLANS}`, EACH, 'plans'],
    ['a refusal in one line', refused(`as alice:alice-secret; ${BASE}`), OLD_AND_NEW],
  ]),
  // Each asks for something else: what the first has got out is stored, and then it is probed.
  ...rows('nothing unprobed but from upstream', 'private', 'base', [
    ['a commit of it, without credentials', `fetch ${P} ${want('base')} "deepen 1"`, OLD_AND_NEW],
    ['with a wrong password', `as alice:wrong; fetch ${P} ${want('base')} "deepen 3"`, OLD_AND_NEW],
    ['without its files', `fetch ${P} ${want('base')} "filter blob:none"`, OLD_AND_NEW],
    ['an older commit', `fetch ${P} ${want('older')}`, OLD_AND_NEW, 'older'],
    [
      'as bob, what alice alone may read',
      `as bob:bob-secret; fetch ${TEAM} ${want('plans')} "deepen 1"`,
      OLD_AND_NEW,
      'plans',
    ],
    [
      'after the right was taken away',
      refused(`as alice:alice-secret; fetch ${P} ${want('base')} "deepen 4"`),
      OLD_AND_NEW,
    ],
  ]),
  ...rows('nothing unprobed but from upstream', 'pruned', 's2', [
    ['a commit that was pruned', LEAK, OLD_AND_NEW],
    ['at depth 1', `fetch ${A} ${want('s2')} "deepen 1"`, OLD_AND_NEW],
    ['a file that was pruned', `fetch ${A} ${want('blob')}`, OLD_AND_NEW, 'blob'],
    ['a tag that was deleted', `fetch ${A} ${want('tag')}`, OLD_AND_NEW, 'tag'],
  ]),
  ...rows('probe of large requests', 'pruned', 's2', [
    ['the last of 6,000 wants', large(6000, A, 'base', 's2'), EACH],
    ['a file, the last of 6,000', large(6000, A, 'base', 'blob'), OLD_AND_NEW, 'blob'],
    [
      'the last of 600 wants, in gzip',
      `{ begin; many 600 $(oid base); pkt "want $(oid s2)"; pkt done; printf 0000; } | gzip -n | post ${A} -H content-encoding:gzip`,
    ],
    [
      'the last of 24,000 wants, in gzip',
      `{ begin; many 24000 $(oid base); pkt "want $(oid s2)"; pkt done; printf 0000; } | gzip -n | post ${A} -H content-encoding:gzip`,
    ],
    [
      'in chunks',
      `{ begin; many 6000 $(oid base); pkt "want $(oid s2)"; pkt done; printf 0000; } | post ${A} -H transfer-encoding:chunked`,
    ],
  ]),
  ...rows('probe of large requests', 'private', 'base', [
    ['6,000 wants without credentials', large(6000, P, 'base', 'base'), EACH],
    [
      '6,000 wants as bob',
      `as bob:bob-secret; ${large(6000, TEAM, 'plans', 'plans')}`,
      OLD_AND_NEW,
      'plans',
    ],
  ]),
  ...rows('haves that upstream acknowledged', 'pruned', '', [
    [
      'is this commit there?',
      `round ${want('base')} ${have('base')} ${have('s2')} | post ${A}`,
      [2],
      's2',
    ],
    [
      'is this file there?',
      `round ${want('base')} ${have('base')} ${have('blob')} | post ${A}`,
      [2],
      'blob',
    ],
    [
      'is this tree there?',
      `round ${want('base')} ${have('tree')} ${have('base')} | post ${A}`,
      [2],
      'tree',
    ],
    [
      'is this tag there?',
      `round ${want('base')} ${have('base')} ${have('tag')} | post ${A}`,
      [2],
      'tag',
    ],
    ['does it come after this commit?', `fetch ${A} ${want('base')} ${have('s2')}`],
    ['does it come after that tag?', `fetch ${A} ${want('base')} ${have('tag')}`],
    ['a thin pack on top of it', `fetch ${A} thin-pack ${want('three')} ${have('s2')}`],
  ]),
  ...rows('shallows probed as wants', 'pruned', 's2', [
    ['what lies behind a commit', `fetch ${A} ${want('base')} ${shallow('s3')} ${ALL}`, EACH],
    [
      'behind two of them',
      `fetch ${A} ${want('base')} ${shallow('s2')} ${shallow('s3')} ${ALL}`,
      EACH,
      's1',
    ],
    [
      'behind it, without files',
      `fetch ${A} ${want('base')} ${shallow('s3')} ${ALL} "filter blob:none"`,
      EACH,
    ],
    ['is this commit there?', `fetch ${A} ${want('base')} ${shallow('s1')} ${ALL}`, EACH, 's1'],
    ['with a have', `fetch ${A} ${want('base')} ${have('base')} ${shallow('s3')} ${ALL}`],
  ]),
  ...rows('closed table of filters', 'pruned', '', [
    [
      'what a file says, by sparse:oid',
      `fetch ${A} ${want('base')} "filter sparse:oid=$(oid sparse)"`,
      EACH,
    ],
    [
      'the same inside combine:',
      `fetch ${A} ${want('base')} "filter combine:sparse:oid=$(oid sparse)+blob:limit=1k"`,
      EACH,
    ],
  ]),
  ...rows('no ref is resolved by the mirror', 'moved', '', [
    ['where a tag was before it moved', `fetch ${A} ${want('base')} "deepen-not 20"`, EACH],
    ['where a deleted tag was', `fetch ${A} ${want('base')} "deepen-not 21"`, [1, 0]],
  ]),
  ...rows('view with the tag state', 'tags', 'old', [
    ['a tag that was deleted', DEPTH_1, EACH],
    ['a tag on a tag that was deleted', DEPTH_1, [2], 'nested'],
    ['a tag on a tree that was deleted', DEPTH_1, [2], 'on-tree'],
    ['a tag on a file that was deleted', DEPTH_1, [2], 'on-blob'],
    ['by one branch alone', `$GIT clone -q --single-branch $URL${A} c && all c`, EACH],
    [
      'by hand, without files',
      `CAPS=include-tag; [ $V = 2 ] && tag=include-tag; fetch ${A} ${want('base')} $tag "filter blob:none"`,
      OLD_AND_NEW,
    ],
  ]),
  ...rows('tag state in the key', 'tags', 'old', [
    ['a deleted tag of an answer that is stored', DEPTH_1, EACH],
    ['what a tag was before it moved', DEPTH_1, OLD_AND_NEW, 'moved'],
    ['by one branch alone', `$GIT clone -q --single-branch --bare $URL${A} c && all c`, EACH],
  ]),
  ...rows('repository in the key', 'twins', 'older', [
    ["a history, under a twin's path", `fetch /pub/$ID/b.git ${want('base')}`, EACH],
    ['a part of it', `fetch /pub/$ID/b.git ${want('base')} "deepen 2"`, EACH],
    ['a file that the twin has lost', `fetch /pub/$ID/lost.git ${want('base')}`, EACH, 'blob'],
  ]),
  ...rows('path as it is spelt', 'twins', 'older', [
    ['in upper case', `as bob:bob-secret; fetch /priv/$ID/TEAM.git ${want('base')}`, EACH],
  ]),
  ...rows('path as it is spelt', 'inside', 'older', [
    ["inside another's path", `fetch /pub/$ID/a.git/inside/x.git ${want('base')}`, EACH],
  ]),
  ...rows('one mirror a repository', 'twins', 'older', [
    ["a history, by a twin's path", `fetch /pub/$ID/b.git ${want('base')}`, EACH],
    ['a part of it', `fetch /pub/$ID/b.git ${want('base')} "deepen 2"`, EACH],
    ['a file that the twin has lost', `fetch /pub/$ID/lost.git ${want('base')}`, EACH, 'blob'],
  ]),
  ...rows('key of the order', 'twins', 'older', [
    ["a history, under a twin's path", `fetch /pub/$ID/b.git ${want('base')}`, EACH],
  ]),
  ...rows('wants in the key', 'pruned', 's3', [
    ['an answer with more wants', `fetch ${A} ${want('base')}`, EACH],
    ['the same without files', `fetch ${A} ${want('base')} "filter blob:none"`, EACH],
    ['the same at depth 1', `fetch ${A} ${want('base')} "deepen 1"`, EACH],
  ]),
  ...rows('wants in the key', 'hidden', 's', [
    ["bob's request, alice's answer", `as bob:bob-secret; fetch ${P} ${want('base')}`, EACH],
  ]),
  ...rows('shallows in the key', 'pruned', 's2', [
    ['an answer with a shallow', `fetch ${A} ${want('base')} ${ALL}`, EACH],
  ]),
  ...rows('deepen in the key', 'pruned', '', [
    [
      'a part under the name of the whole',
      `fetch ${A} ${want('base')} "deepen 1" > /dev/null; fetch ${A} ${want('base')}`,
      EACH,
    ],
  ]),
  ...rows('filter in the key', 'pruned', '', [
    [
      'no files under the name of all',
      `fetch ${A} ${want('base')} "filter blob:none" > /dev/null; fetch ${A} ${want('base')}`,
      EACH,
    ],
  ]),
  ...rows('haves in the key', 'pruned', '', [
    [
      'what one lacks under the name of all',
      `fetch ${A} ${want('base')} ${have('older')} > /dev/null; fetch ${A} ${want('base')}`,
    ],
  ]),
  ...rows('done in the key', 'pruned', '', [
    [
      'a round under the name of an answer',
      `round ${want('base')} ${have('older')} | post ${A} > /dev/null; fetch ${A} ${want('base')} ${have('older')}`,
    ],
  ]),
  ...rows('options in the key', 'pruned', '', [
    [
      'a thin pack for who takes none',
      `fetch ${A} thin-pack ${want('base')} ${have('older')} > /dev/null; fetch ${A} ${want('base')} ${have('older')}`,
    ],
  ]),
  ...rows('protocol in the key', 'pruned', '', [
    [
      'an answer of version 2',
      `( V=2; PROTOCOL=version=2; fetch ${A} ${want('base')} > /dev/null ); fetch ${A} ${want('base')}`,
      [1, 0],
    ],
    [
      'an answer of version 0',
      `( V=0; PROTOCOL=; fetch ${A} ${want('older')} > /dev/null ); fetch ${A} ${want('older')}`,
    ],
  ]),
]

export interface Elsewhere {
  name: string
  protocol: 0 | 1 | 2
  scene: 'pruned' | 'private'
  attack: string
  /** What comes out; without it, what comes straight from upstream. */
  says?: RegExp
}

/** Each way as a row; upstream's own answer is what the cache must give. */
function elsewhere(scene: Elsewhere['scene'], ways: [...Way, says?: RegExp][]): Elsewhere[] {
  return ways.flatMap(([name, attack, protocols = [2], , says]) =>
    protocols.map((protocol) => ({
      name,
      protocol,
      scene,
      attack,
      ...(says === undefined ? {} : { says }),
    }))
  )
}

/** Spellings of one closed path, or of what is near it. */
const PATHS = [
  '/pub/../priv/$ID/a.git',
  '/pub/%2e%2e/priv/$ID/a.git',
  '/pub/.%2e/priv/$ID/a.git',
  '/pub%2f..%2fpriv/$ID/a.git',
  '/pub/$ID/a.git/git-upload-pack/../../../../priv/$ID/a.git',
  '/%70riv/$ID/a.git',
  '//priv/$ID/a.git',
  '/./priv/$ID/a.git',
  '/priv//$ID/a.git',
  '/priv;x/$ID/a.git',
  '/priv/$ID/a.git;x',
  '/PRIV/$ID/a.git',
  '/priv/$ID/A.git',
  '/priv/$ID/a.git/',
  '/priv/$ID/a',
  '/priv/$ID/a.git.git',
  '/priv/$ID/a.git%20',
  '/priv/$ID/a.git%0d%0aX-Token:%20sesame',
  '/priv/$ID/a.git%3f',
  '/priv/$ID/a.git%23',
  '/priv/$ID/team.git/../a.git',
  '/priv/$ID/a.git/git-upload-pack?service=/pub/$ID/a.git',
]

const NOTHING = /^(HTTP\/1\.1 [45]\d\d\n)+packs 0\nexit 0$/
const byHand = (...lines: string[]) =>
  `request ${want('base')} > in; { head_of ${P} ${lines.map((line) => `"${line}"`).join(' ')} 'Connection: close'; cat in; } | raw`
const LENGTH = 'Content-Length: $(wc -c < in)'
const method = (name: string) => `request ${want('base')} | post ${P} -X ${name}`
/** A v2 body by hand: what stands before the arguments' delimiter, and behind it. */
const body = (...lines: string[]) => `{ ${lines.join('; ')}; } | post ${A}`
const COMMAND = 'pkt command=fetch'
const DELIM = 'printf 0001'
const END = 'pkt done; printf 0000'
const ONE = `pkt ${want('base')}`
const SECRET = `pkt ${want('s2')}`

export const STOPPED_ELSEWHERE: Elsewhere[] = [
  ...elsewhere(
    'private',
    PATHS.map((path) => [
      `the path ${path}`,
      `fetch '${path}' ${want('base')}`.replaceAll('$ID', "'$ID'"),
    ])
  ),
  ...elsewhere('private', [
    ['a path with NUL', `fetch ${P}%00 ${want('base')}`, [2], '', /^40[04] .*\nexit 0$/s],
    ['the method GET', method('GET')],
    ['the method PUT', method('PUT')],
    ['the method OPTIONS', method('OPTIONS')],
    ['the method PROPFIND', method('PROPFIND')],
    ['another type of content', `request ${want('base')} | post ${P} -H content-type:text/plain`],
    // Without the probe the key would stop these: $gitcache_vhost.
    ['under the name of another host', withHeader('Host: localhost')],
    [
      'by an absolute target',
      `request ${want('base')} | post ${P} --request-target http://localhost${P}/git-upload-pack`,
    ],
    ['a part of the answer', `request ${want('base')} | post ${P} -H range:bytes=0-99`],
    ['under a condition', `request ${want('base')} | post ${P} -H 'if-none-match: *'`],
    ['Digest', withHeader('Authorization: Digest username="alice"')],
    ['Negotiate', withHeader('Authorization: Negotiate YWxpY2U=')],
    ['two credentials', `with 'Authorization: Basic eDp5'; as alice:wrong; ${BASE}`],
    ['a length and chunks', byHand(LENGTH, 'Transfer-Encoding: chunked'), [2], '', NOTHING],
    ['chunks and a length', byHand('Transfer-Encoding: chunked', LENGTH), [2], '', NOTHING],
    ['two lengths', byHand('Content-Length: 0', LENGTH), [2], '', NOTHING],
    ['a negative length', byHand('Content-Length: -1'), [2], '', NOTHING],
    ['an unknown coding', byHand('Transfer-Encoding: xchunked'), [2], '', NOTHING],
    ['two hosts', byHand('Host: y', LENGTH), [2], '', NOTHING],
    [
      "a request inside another's body",
      `request ${want('base')} > in; { head_of ${A} 'Content-Length: 0'; head_of ${P} "${LENGTH}" 'Connection: close'; cat in; } | raw`,
      [2],
      '',
      /^HTTP\/1\.1 200\nHTTP\/1\.1 401\npacks 0\nexit 0$/,
    ],
    [
      'internal locations',
      `for base in '' ${A} ${P}; do for name in main probe tags refs gunzip prepare ticket read hit stream pass; do
echo "-o /dev/null $URL$base/_gitcache/$name/git-upload-pack"; done; done > all; for data in '' '--data-binary x'; do curl $CURL $data -w '%{http_code} ' $(cat all); done`,
      [2],
      '',
      /^(40[0145] ){66}\n?exit 0$/,
    ],
    [
      'files of the cache by name',
      `for path in /packs/ /mirrors/ /w/data/trixie/packs/ /gitcache.js /.gitcache-none ${A}/.gitcache-none; do curl $CURL -o /dev/null -w '%{http_code} ' "$URL$path"; done`,
    ],
    [
      'the metrics of the sidecar',
      `for path in metrics healthz readyz prepare read/x stream/x packs/ mirrors/; do curl -s -m 5 "http://sidecar-trixie:7420/$path"; done > said
grep -c -e "$ID" -e "$(oid base)" said; grep -q "^# HELP gitcache" said`,
      [2],
      '',
      /^0\nexit 0$/,
    ],
    [
      'reports of hits that were none',
      `bash -c 'for key in $(ls /w/data/trixie/packs/*/ | grep -oE "[0-9a-f]{64}" | head -20) ../../etc/passwd; do printf "<190>Jan 1 00:00:00 gitcache: hit\\t1\\t0.1\\t-\\t/packs/$key" > /dev/udp/sidecar-trixie/7419; done'
${BASE}`,
    ],
  ]),
  ...elsewhere('pruned', [
    ['an id in upper case', `fetch ${A} "want $(oid s2 | tr a-f A-F)"`, EACH],
    ['an open id in upper case', `fetch ${A} "want $(oid base | tr a-f A-F)"`, EACH],
    ['the beginning of an id', `fetch ${A} "want $(oid s2 | cut -c1-20)"`, EACH],
    ['an id with a space behind it', `fetch ${A} "want $(oid s2) "`, OLD_AND_NEW],
    ['two spaces before an id', `fetch ${A} "want  $(oid s2)"`, OLD_AND_NEW],
    ['two wants in a line', `fetch ${A} "want $(oid base)\nwant $(oid s2)"`, EACH],
    ['two ids in a want', `fetch ${A} "want $(oid base) $(oid s2)"`],
    [
      'a want behind NUL',
      body(COMMAND, DELIM, `printf '005bwant %s\\\\0want %s\\n' $(oid base) $(oid s2)`, END),
    ],
    ['a want in a filter', `fetch ${A} ${want('base')} "filter blob:none\nwant $(oid s2)"`, EACH],
    ['a want in a depth', `fetch ${A} ${want('base')} "deepen 1\nwant $(oid s2)"`, EACH],
    ['a want in an agent', body(COMMAND, `pkt "agent=x\nwant $(oid s2)"`, DELIM, ONE, END)],
    ['a want before the delimiter', body(COMMAND, SECRET, DELIM, ONE, END)],
    ['a want without a delimiter', body(COMMAND, SECRET, END)],
    ['a want behind the flush', body(COMMAND, DELIM, ONE, END, SECRET, END)],
    ['a want behind done', body(COMMAND, DELIM, ONE, 'pkt done', SECRET, 'printf 0000')],
    ['a want behind done, in v0', `{ request ${want('base')}; ${SECRET}; } | post ${A}`, [0, 1]],
    ['a want behind a second delimiter', body(COMMAND, DELIM, ONE, DELIM, SECRET, END)],
    ['a want behind the end of a response', body(COMMAND, DELIM, ONE, 'printf 0002', SECRET, END)],
    ['a packet of length 3', body(COMMAND, DELIM, ONE, 'printf 0003', SECRET, END)],
    ['a packet of length 4', body(COMMAND, DELIM, ONE, 'printf 0004', SECRET, END)],
    ['a packet longer than the body', body(COMMAND, DELIM, ONE, 'printf ffff', SECRET, END)],
    ['lengths in upper case', body(COMMAND, DELIM, `printf '003Fwant %s x\\n' $(oid s2)`, END)],
    ['two commands', body('pkt command=ls-refs', COMMAND, DELIM, SECRET, END)],
    ['two formats', body(COMMAND, 'pkt object-format=sha256', DELIM, SECRET, END)],
    ['no command', body(DELIM, SECRET, END)],
    ['two filters', `fetch ${A} ${want('s2')} "filter blob:none" "filter tree:0"`, OLD_AND_NEW],
    ['two depths', `fetch ${A} ${want('s2')} "deepen 1" "deepen 2"`, OLD_AND_NEW],
    ['no depth', `fetch ${A} ${want('base')} ${shallow('s2')} "deepen 0"`, OLD_AND_NEW],
    ['a negative depth', `fetch ${A} ${want('base')} ${shallow('s2')} "deepen -1"`, OLD_AND_NEW],
    ['a depth beyond all', `fetch ${A} ${want('base')} ${shallow('s2')} "deepen 99999999999"`],
    ['deepen-relative', `fetch ${A} ${want('base')} ${shallow('s3')} "deepen 2" deepen-relative`],
    ['a ref by name', `fetch ${A} "want-ref refs/heads/leak"`],
    ['a ref by name in deepen-not', `fetch ${A} ${want('base')} "deepen-not leaked"`, EACH],
    ['an option of the server', body(COMMAND, 'pkt server-option=all', DELIM, SECRET, END)],
    ['sideband-all', `fetch ${A} sideband-all ${want('s2')}`],
    ['packfile-uris', `fetch ${A} "packfile-uris http" ${want('s2')}`],
    ['an argument of no protocol', `fetch ${A} constructor ${want('s2')}`],
    [
      'a negotiation without a pack',
      `round wait-for-done ${want('base')} ${have('base')} ${have('s2')} | post ${A}`,
    ],
    ['haves without wants', `round wait-for-done ${have('base')} ${have('s2')} | post ${A}`],
    [
      'haves in v0',
      `{ pkt "want $(oid base) multi_ack_detailed side-band-64k"; printf 0000; pkt ${have('s2')}; pkt done; } | post ${A}`,
      [0, 1],
    ],
    [
      'without side-band',
      `{ pkt "want $(oid s2) ofs-delta"; printf 0000; pkt done; } | post ${A}`,
      [0, 1],
    ],
    [
      'how large it is',
      body('pkt command=object-info', DELIM, 'pkt size', 'pkt "oid $(oid s2)"', 'printf 0000'),
    ],
    [
      'its ref',
      body('pkt command=ls-refs', DELIM, 'pkt "ref-prefix refs/heads/leak"', 'printf 0000'),
    ],
    ['its bundle', body('pkt command=bundle-uri', DELIM, 'printf 0000')],
    ['a body of version 0 under version 2', `V=0; ${LEAK}`],
    ['a body of version 2 under version 0', `V=2; ${LEAK}`, [0, 1]],
    ['under version=3', `PROTOCOL=version=3; ${LEAK}`],
    ['under version=2,version=0', `PROTOCOL=version=2,version=0; ${LEAK}`],
    ['under VERSION=2', `PROTOCOL=VERSION=2; ${LEAK}`],
    ['under version=2:x', `PROTOCOL=version=2:x; ${LEAK}`],
    ['under two protocol headers', `request ${want('s2')} | post ${A} -H git-protocol:version=0`],
    ['with its protocol as a hop', `request ${want('s2')} | post ${A} -H connection:git-protocol`],
    [
      'an encoding that it does not have',
      `request ${want('s2')} | post ${A} -H content-encoding:gzip`,
    ],
    ['deflate', `request ${want('s2')} | post ${A} -H content-encoding:deflate`],
    [
      'gzip twice',
      `request ${want('s2')} | gzip -n | gzip -n | post ${A} -H 'content-encoding: gzip, gzip'`,
    ],
    [
      'a want in a second part of the gzip',
      `{ { begin; ${ONE}; } | gzip -n; { ${SECRET}; ${END}; } | gzip -n; } | post ${A} -H content-encoding:gzip`,
    ],
    [
      'a request behind the gzip',
      `{ request ${want('base')} | gzip -n; request ${want('s2')}; } | post ${A} -H content-encoding:gzip`,
    ],
    [
      'the same, large',
      `{ { begin; many 6000 $(oid base); } | gzip -n; { ${SECRET}; ${END}; } | gzip -n; } | post ${A} -H content-encoding:gzip`,
    ],
  ]),
]
