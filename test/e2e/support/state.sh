# What a client has: printed, to be compared with what another has. Usage: state DIR KIND
state() {
  cd "$1" || return
  echo "HEAD $(git symbolic-ref -q HEAD || git rev-parse -q --verify HEAD)"
  git for-each-ref --format='%(objectname) %(refname) %(symref)' > /tmp/refs.$$
  # A long output of docker exec is cut now and then.
  if [ "$(wc -l < /tmp/refs.$$)" -lt 100 ]; then cat /tmp/refs.$$; else echo "refs $(git hash-object --stdin < /tmp/refs.$$)"; fi
  rm -f /tmp/refs.$$
  case $(git rev-parse --git-path shallow) in *) [ -f "$(git rev-parse --git-path shallow)" ] && sort "$(git rev-parse --git-path shallow)" | sed 's/^/shallow /' ;; esac
  if [ "$2" = partial ]; then
    # Of what refs reach, that which is here: what the filter left out is not asked for.
    echo "objects $(git rev-list --objects --all --missing=allow-any 2>/dev/null | cut -d' ' -f1 | sort | git hash-object --stdin)"
    git config --get-regexp '^remote\..*\.(promisor|partialclonefilter)$'
    git ls-files -s 2>/dev/null | git hash-object --stdin
  else
    echo "objects $(git rev-list --objects --all 2>/dev/null | cut -c1-64 | cut -d' ' -f1 | sort | git hash-object --stdin)"
  fi
  git fsck --no-progress --no-dangling 2>&1 | grep -v '^notice' | sort | head -5
  cd - > /dev/null || return
}
