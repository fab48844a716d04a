/** What `check` and `purge` make of what they are given; the story of check has the rest. */
import { describe, expect, test } from 'vitest'
import { checkConfiguration, checkNjs, withoutComments } from '../../sidecar/src/commands/check.ts'
import { readRepository } from '../../sidecar/src/commands/purge.ts'

/** As nginx -T shows a set-up that is right. */
const RIGHT = `
js_import gitcache from gitcache/gitcache.js;
access_log syslog:server=127.0.0.1:7419,tag=gitcache,nohostname gitcache_report if=$gitcache_result;
upstream forge { server 10.0.0.5:3000; }
server {
    set $gitcache_upstream http://forge;   # as in proxy_pass
    location / { proxy_pass http://forge; js_content gitcache.uploadPack; }
}
`

const found = (dump: string) =>
  checkConfiguration(withoutComments(dump)).filter(({ level }) => level !== 'ok')

describe('what is commented out is not set', () => {
  test('a set-up that is right', () => {
    expect(found(RIGHT)).toEqual([])
  })

  test.each([
    ['access_log', 'warn', 'no access_log reports'],
    ['set \\$gitcache_upstream', 'fail', '$gitcache_upstream is not set'],
    ['js_import', 'fail', 'gitcache-http.conf is not included'],
    ['location /', 'fail', 'gitcache-location.conf is not included'],
  ])('%s', (directive, level, text) => {
    const dump = RIGHT.replace(new RegExp(`^(\\s*)(${directive})`, 'm'), '$1# $2')
    expect(dump).not.toBe(RIGHT)
    expect(found(dump)).toEqual([
      expect.objectContaining({ level, text: expect.stringContaining(text) }),
    ])
  })
})

describe('njs', () => {
  test.each([
    ['0.7.9', '', 'ok'],
    ['0.8.2', '', 'fail'],
    ['0.9.6', '', 'fail'],
    ['0.8.2', 'set $gitcache_njs_override on;', 'ok'],
    ['0.8.2', 'set $gitcache_njs_override off;', 'fail'],
    [null, '', 'warn'],
  ])('%s %s: %s', (version, dump, level) => {
    expect(checkNjs(version, dump).level).toBe(level)
  })
})

test.each([
  ['/owner/repo.git', '/owner/repo'],
  ['/owner/repo/', '/owner/repo'],
  ['https://git.example.org/owner/repo.git', '/owner/repo'],
])('purge %s: %s', (given, repository) => {
  expect(readRepository(given)).toBe(repository)
})

test('a name that is none is refused, and no password shown', () => {
  expect(() => readRepository('https://me:hunter2@git.example.org/a b')).toThrow(/is not the path/)
  expect(() => readRepository('https://me:hunter2@git.example.org/a b')).not.toThrow(/hunter2/)
})
