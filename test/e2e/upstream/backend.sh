#!/bin/sh
# CGI around git http-backend with rights that Apache cannot express.
hide() {
  export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=transfer.hideRefs GIT_CONFIG_VALUE_0="$1"
}
refuse() {
  # What is not read makes Apache hold the answer's end back, or cut it.
  head -c "${CONTENT_LENGTH:-0}" > /dev/null
  printf 'Status: 403 Forbidden\r\nContent-Type: text/plain\r\n\r\nno\n'
  exit 0
}
# A right that is taken away between two requests.
[ -e "/w/repos$PATH_INFO.refused" ] && refuse
# A refusal that is said slowly.
if [ -e "/w/repos$PATH_INFO.slow" ]; then
  refusal=$(refuse)
  printf '%s\n' "$refusal"
  sleep 2
  echo 'that is all'
  exit 0
fi
# git says 404 to a fetch from what is not there without reading it.
case "$PATH_INFO" in
  */git-upload-pack)
    repository=/w/repos${PATH_INFO%/git-upload-pack}
    [ -d "$repository" ] || [ -d "$repository.git" ] || head -c "${CONTENT_LENGTH:-0}" > /dev/null
    ;;
esac
# What the file on-done says of fetches that are no probe: a status, of which test alone, after how many seconds.
on_done="/w/repos${PATH_INFO%/git-upload-pack}/on-done"
if [ -e "$on_done" ]; then
  read -r status who seconds < "$on_done"
  body=$(mktemp)
  head -c "${CONTENT_LENGTH:-0}" > "$body"
  if grep -aq 0009done "$body" && [ "${who:-$X_TEST}" = "$X_TEST" ]; then
    rm "$body"
    sleep "${seconds:-0}"
    printf 'Status: %s\r\nRetry-After: 1\r\nContent-Type: text/plain\r\n\r\nnot now\n' "$status"
    exit 0
  fi
  git http-backend < "$body"
  rm "$body"
  exit 0
fi
case "$REQUEST_URI" in
  /token/*) [ "$HTTP_X_TOKEN" = sesame ] || refuse ;;
  /priv/*/team.git/*) [ "$REMOTE_USER" = alice ] || refuse ;;
esac
case "$REQUEST_URI" in
  */closed-now.git/git-upload-pack) [ -e /w/repos/closed-now.git/open ] || refuse ;;
esac
# bob sees neither the branch nor the tags that are called secret.
[ "$REMOTE_USER" = bob ] && hide refs/heads/secret
if [ "$REMOTE_USER" = bob ]; then
  export GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_1=transfer.hideRefs GIT_CONFIG_VALUE_1=refs/tags/secret
fi
exec git http-backend
