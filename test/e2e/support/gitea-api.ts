import { randomBytes } from 'node:crypto'

export type GiteaUser = { user: string; password: string; token: string }

export type Repository = { owner: string; name: string }

export type Api = <T = unknown>(method: string, path: string, body?: unknown) => Promise<T>

const TOKEN_NAME = 'e2e'

export function randomSecret(): string {
  return randomBytes(12).toString('hex')
}

function basic({ user, password }: Pick<GiteaUser, 'user' | 'password'>): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}

async function request<T>(
  url: string,
  method: string,
  authorization: string,
  body: unknown
): Promise<T> {
  const response = await fetch(url, {
    method,
    headers: { authorization, 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`${method} ${url}: ${response.status} ${text.slice(0, 500)}`)
  return (text === '' ? null : JSON.parse(text)) as T
}

/** Gitea gives and takes tokens only for a password, never for another token. */
export async function createToken(
  url: string,
  account: Pick<GiteaUser, 'user' | 'password'>
): Promise<string> {
  const { sha1 } = await request<{ sha1: string }>(
    `${url}/api/v1/users/${account.user}/tokens`,
    'POST',
    basic(account),
    { name: TOKEN_NAME, scopes: ['all'] }
  )
  return sha1
}

/** What the tests ask of the forge, done by its administrator. Everything throws on a refusal. */
export function giteaApi(url: string, admin: GiteaUser) {
  const api: Api = (method, path, body) =>
    request(`${url}/api/v1${path}`, method, `token ${admin.token}`, body)

  return {
    /** `path` starts after `/api/v1`; returns the parsed answer, or null for an empty one. */
    api,

    async createUser(name: string): Promise<GiteaUser> {
      const account = { user: name, password: randomSecret() }
      await api('POST', '/admin/users', {
        username: name,
        password: account.password,
        email: `${name}@example.invalid`,
        must_change_password: false,
      })
      return { ...account, token: await createToken(url, account) }
    },

    /** The owner may be a user or an organisation. */
    async createRepo(repository: Repository & { private: boolean }): Promise<Repository> {
      const { owner, name, private: hidden } = repository
      await api('POST', `/admin/users/${owner}/repos`, { name, private: hidden })
      return { owner, name }
    },

    async createOrg(name: string): Promise<void> {
      await api('POST', '/orgs', { username: name, visibility: 'private' })
    },

    /** A team that may read all code of its organisation; returns its id. */
    async createTeam(team: { org: string; name: string; members: string[] }): Promise<number> {
      const { id } = await api<{ id: number }>('POST', `/orgs/${team.org}/teams`, {
        name: team.name,
        permission: 'read',
        units: ['repo.code'],
        includes_all_repositories: true,
      })
      for (const member of team.members) await api('PUT', `/teams/${id}/members/${member}`)
      return id
    },

    async addCollaborator({ owner, name }: Repository, user: string, permission = 'read') {
      await api('PUT', `/repos/${owner}/${name}/collaborators/${user}`, { permission })
    },

    async revokeToken(account: GiteaUser): Promise<void> {
      const tokens = `${url}/api/v1/users/${account.user}/tokens`
      await request(`${tokens}/${TOKEN_NAME}`, 'DELETE', basic(account), undefined)
    },
  }
}
