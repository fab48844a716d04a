#!/bin/sh
# Makes the repositories that the tables run on, with git fast-import: deterministic, so that two
# runs have the same object ids. Usage: fixtures.sh ROOT
set -eu
cd "$1"

config() {
  git -C "$1" config uploadpack.allowFilter true
  git -C "$1" config http.receivepack true
  git -C "$1" config receive.denyDeleteCurrent ignore
}

new() {
  git init -q --bare --template= --initial-branch=main "$@"
}

# history PREFIX FIRST LAST BRANCH [FROM]: commits with text that deltas, a binary, renames, and side branches merged.
history() {
  awk -v prefix="$1" -v first="$2" -v last="$3" -v branch="$4" -v from="${5:-}" '
    function data(s) { printf "data %d\n%s\n", length(s), s }
    function text(n,  i, s) { s = ""; for (i = 1; i <= 40; i++) s = s prefix " line " i " of " (n % i) "\n"; return s }
    function who(n) { printf "committer A <a@example.org> %d +0000\n", 1600000000 + n * 1000 }
    BEGIN {
      for (n = first; n <= last; n++) {
        printf "commit refs/heads/%s\nmark :%d\n", branch, n
        who(n); data("change " n)
        if (n == first && from != "") printf "from %s\n", from
        if (n % 20 == 0 && n - 15 >= first) printf "merge :%d\n", n - 15
        printf "M 100644 inline dir%d/file%d.txt\n", n % 7, n % 23; data(text(n))
        if (n % 25 == 0) { printf "M 100755 inline bin/blob%d\n", n; data(text(n * n) text(n + 7)) }
        if (n % 30 == 0) printf "R dir1/file%d.txt dir1/renamed%d.txt\n", 1, n
      }
    }' | sed '/^R dir1\/file1.txt/d'
}

import() {
  git -C "$1" fast-import --quiet --force ${2:-}
}

new main.git
config main.git
history main 1 200 main | import main.git --export-marks=/tmp/marks
for i in $(seq 1 30); do git -C main.git branch "side-$i" "main~$((i * 5))"; done
git -C main.git branch topic/a main~3
export GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@example.org GIT_COMMITTER_DATE='1650000000 +0000'
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_AUTHOR_DATE='1650000000 +0000'
for i in 1 2 3 4 5 6; do git -C main.git tag -a -m "version $i" "v$i" "main~$((i * 20))"; done
git -C main.git tag light main~2
git -C main.git tag -a -m nested nested v3
git -C main.git tag -a -m 'on a tree' on-tree 'main^{tree}'
git -C main.git tag -a -m 'on a blob' on-blob main:dir1/file1.txt
git -C main.git tag blob-light main:dir1/file1.txt
git -C main.git tag tip -a -m tip main
history pr 301 305 pr "$(git -C main.git rev-parse main~10)" | import main.git
git -C main.git update-ref refs/pull/1/head refs/heads/pr
git -C main.git update-ref -d refs/heads/pr
history hidden 401 402 hidden | import main.git
git -C main.git update-ref refs/hidden/secret refs/heads/hidden
git -C main.git update-ref -d refs/heads/hidden
git -C main.git config transfer.hideRefs refs/hidden
# Unreachable, and not pruned.
git -C main.git rev-parse refs/hidden/secret > main.git/hidden-oid
printf 'unreachable\n' | git -C main.git hash-object -w --stdin > main.git/unreachable-blob
git -C main.git commit-tree -m unreachable 'main^{tree}' > main.git/unreachable-commit

new small.git
config small.git
history small 1 3 main | import small.git

new empty.git
config empty.git

cp -r main.git detached.git
git -C detached.git update-ref --no-deref HEAD "$(git -C main.git rev-parse main~7)"

new --object-format=sha256 sha256.git
config sha256.git
history sha256 1 60 main | import sha256.git
git -C sha256.git tag -a -m v1 v1 main~5
for i in $(seq 1 12); do git -C sha256.git branch "side-$i" "main~$i"; done

git clone -q --bare --depth 3 "file://$PWD/main.git" shallow.git
config shallow.git

cp -r main.git nofilter.git
git -C nofilter.git config uploadpack.allowFilter false

new branches.git
config branches.git
history branches 1 2000 main | import branches.git
git -C branches.git rev-list main | awk '{ printf "create refs/heads/b%d %s\n", NR, $1 }' | git -C branches.git update-ref --stdin
git -C branches.git pack-refs --all

new tags.git
config tags.git
awk 'BEGIN { for (n = 1; n <= 24000; n++) { printf "commit refs/heads/main\ncommitter A <a@example.org> %d +0000\ndata 1\nx\nM 100644 inline f\ndata %d\n%d\n", 1600000000 + n, length(n), n; printf "reset refs/tags/t%d\nfrom refs/heads/main\n\n", n } }' | import tags.git
git -C tags.git pack-refs --all

# What a client had, and what upstream has now.
cp -r main.git inc-old.git
cp -r main.git inc-new.git
history more 501 560 main "$(git -C main.git rev-parse main)" | import inc-new.git
git -C inc-new.git tag -a -m 'new on an old commit' v-new main~150
for i in 1 2 3 4; do history "b$i" "$((600 + i * 10))" "$((605 + i * 10))" "new-$i" "$(git -C main.git rev-parse "main~$((i * 30))")" | import inc-new.git; done

new forced-old.git
config forced-old.git
history forced 1 40 main | import forced-old.git
cp -r forced-old.git forced-new.git
git -C forced-new.git update-ref refs/heads/main main~20
history rewritten 700 720 main "$(git -C forced-new.git rev-parse main)" | import forced-new.git

cp -r forced-new.git pruned-new.git
git -C pruned-new.git reflog expire --expire=now --all
git -C pruned-new.git repack -q -a -d
git -C pruned-new.git prune --expire=now

new super.git
config super.git
git init -q -b main work
git -C work -c protocol.file.allow=always submodule --quiet add ../small.git sub 2>/dev/null || git -C work -c protocol.file.allow=always submodule --quiet add "file://$PWD/small.git" sub
git -C work config -f .gitmodules submodule.sub.url ../small.git
git -C work add .gitmodules
git -C work commit -q -m super
git -C work push -q "file://$PWD/super.git" main
rm -rf work

for repo in *.git; do git -C "$repo" gc -q 2>/dev/null || true; done
