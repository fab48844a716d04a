/** From the path of a request to the repository that it names. Case is kept: forges differ in it. */

const SUFFIX = '/git-upload-pack'
/**
 * The repository's path in the request target (`/group/repo.git/git-upload-pack`), as the client
 * spelt it, or null for anything but plain segments: what nginx, the forge and we could read
 * differently (`..`, `//`, `%2f`, a query) is not ours to read.
 */
export function parseRepositoryPath(target: string): string | null {
  const end = target.length - SUFFIX.length
  if (end < 1 || target.length > 1024 || target.substring(end) !== SUFFIX) {
    return null
  }
  const path = target.substring(0, end)
  return isPlain(path) ? path : null
}

function isPlain(path: string): boolean {
  const closed = path + '/'
  const dots = closed.indexOf('/./') >= 0 || closed.indexOf('/../') >= 0
  return !dots && /^(?:\/[A-Za-z0-9._~+@,:=-]{1,255})+$(?!\n)/.test(path)
}

/** `x` and `x.git` are one repository: one mirror, one set of answers. */
export function repositoryId(path: string): string {
  let end = path.length
  while (path.charCodeAt(end - 1) === 47) end--
  const id = path.substring(0, end)
  return id.slice(-4) === '.git' && id.length > 5 ? id.slice(0, -4) : id
}
