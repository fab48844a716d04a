import { describe, expect, test } from 'vitest'
import { parseRepositoryPath, repositoryId } from '../../njs/src/git/repository-path.ts'

const LONG = 'a'.repeat(255)

test.each([
  ['/x.git/git-upload-pack', '/x.git'],
  ['/x/git-upload-pack', '/x'],
  ['/group/sub/x.git/git-upload-pack', '/group/sub/x.git'],
  ['/Group/X.git/git-upload-pack', '/Group/X.git'],
  ['/~user/a_b-c+d@e,f:g=h.git/git-upload-pack', '/~user/a_b-c+d@e,f:g=h.git'],
  ['/.../x/git-upload-pack', '/.../x'],
  ['/.hidden/x/git-upload-pack', '/.hidden/x'],
  ['/x/git-upload-pack/git-upload-pack', '/x/git-upload-pack'],
  [`/${LONG}/git-upload-pack`, `/${LONG}`],
])('%s names %s', (target, path) => {
  expect(parseRepositoryPath(target)).toBe(path)
})

test.each([
  ['', 'nothing'],
  ['/', 'nothing'],
  ['/git-upload-pack', 'no repository'],
  ['git-upload-pack', 'no repository'],
  ['//git-upload-pack', 'no repository'],
  ['x.git/git-upload-pack', 'no leading slash'],
  ['http://host/x.git/git-upload-pack', 'absolute form'],
  ['/x.git/git-upload-pack?', 'an empty query'],
  ['/x.git/git-upload-pack?a=b', 'a query'],
  ['/x.git/git-upload-pack#a', 'a fragment'],
  ['/x.git/git-upload-pack/', 'a trailing slash'],
  ['/x.git//git-upload-pack', 'a double slash'],
  ['//x.git/git-upload-pack', 'a double slash at the start'],
  ['/a//x.git/git-upload-pack', 'a double slash between'],
  ['/../x.git/git-upload-pack', 'dots'],
  ['/a/../x.git/git-upload-pack', 'dots between'],
  ['/a/..//git-upload-pack', 'dots at the end'],
  ['/./x.git/git-upload-pack', 'a dot'],
  ['/a/./git-upload-pack', 'a dot at the end'],
  ['/a/%2e%2e/x.git/git-upload-pack', 'encoded dots'],
  ['/a/%2E/x.git/git-upload-pack', 'an encoded dot'],
  ['/a%2fx.git/git-upload-pack', 'an encoded slash'],
  ['/a%2Fx.git/git-upload-pack', 'an encoded slash in capitals'],
  ['/%61.git/git-upload-pack', 'an encoded letter'],
  ['/a b.git/git-upload-pack', 'a space'],
  ['/a\\..\\b.git/git-upload-pack', 'backslashes'],
  ['/a;b/git-upload-pack', 'a semicolon'],
  ['/a\n/git-upload-pack', 'a line feed'],
  ['/ä.git/git-upload-pack', 'a letter that is not ASCII'],
  ['/x.git/GIT-UPLOAD-PACK', 'the service in capitals'],
  ['/x.git/git-receive-pack', 'a push'],
  ['/x.git/info/refs', 'refs'],
  [`/${LONG}a/git-upload-pack`, 'a segment that is too long'],
  [`${'/abc'.repeat(260)}/git-upload-pack`, 'a path that is too long'],
])('%j is not ours to read: %s', (target) => {
  expect(parseRepositoryPath(target)).toBeNull()
})

describe('repositoryId', () => {
  test.each([
    ['/x', '/x'],
    ['/x.git', '/x'],
    ['/x.git/', '/x'],
    ['/x/', '/x'],
    ['/g/x.git', '/g/x'],
    ['/g.git/x', '/g.git/x'],
    ['/X.git', '/X'],
    ['/x.GIT', '/x.GIT'],
    ['/x.git.git', '/x.git'],
    ['/.git', '/.git'],
    ['/xgit', '/xgit'],
  ])('%s is %s', (path, id) => {
    expect(repositoryId(path)).toBe(id)
  })

  test('a repository within another one has its own', () => {
    const paths = ['/a', '/a/b', '/a.git/b', '/b', '/A', '/a-git', '/a/.git', '/.git']
    expect(new Set(paths.map(repositoryId)).size).toBe(paths.length)
  })
})
