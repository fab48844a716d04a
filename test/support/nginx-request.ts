/** A request as nginx gives it to the module, and what becomes of it. */
import { SERVICE } from '../../njs/src/git/classify.ts'

export interface Reply {
  status?: number
  headers?: Record<string, string>
  body?: string | Buffer
}

interface Given {
  body: string | Buffer
  headers: Record<string, string>
  variables: Record<string, string>
  /** What an internal location says; `time`: how often it was asked before. */
  reply(location: string, time: number): Reply
}

/** With upstream's 200. */
function typeOf(location: string) {
  return {
    'Content-Type': location === 'refs' ? SERVICE.advertisedType : SERVICE.answerType,
  }
}

/** `went`: redirects by their location, and statuses; `said`: with which headers and body; `asked`: subrequests, and what was `sent` with them. */
export function nginxRequest({ body, headers, variables, reply }: Given) {
  const asked: string[] = []
  const sent: string[] = []
  const went: string[] = []
  const said: { headers?: object; body?: string } = {}
  const r = {
    method: 'POST',
    uri: '/a.git/git-upload-pack',
    remoteAddress: '127.0.0.1',
    headersIn: { 'Content-Type': 'application/x-git-upload-pack-request', ...headers },
    headersOut: {},
    requestBuffer: Buffer.from(body as string),
    variables: {
      request_uri: '/a.git/git-upload-pack',
      gitcache_target: 'http://u/a.git/git-upload-pack',
      request_id: '0123456789abcdef0123456789abcdef',
      gitcache_base: '/a.git',
      gitcache_enabled: 'on',
      gitcache_upstream: 'http://u',
      gitcache_max_tags: '5000',
      ...variables,
    } as Record<string, string>,
    error: () => {},
    return: (status: number, body?: string | Buffer) => {
      went.push(String(status))
      Object.assign(said, { headers: r.headersOut, body: String(body ?? '') })
    },
    internalRedirect: (uri: string) => went.push(uri.split('/').at(-2) ?? ''),
    subrequest: async (uri: string, options: { body?: string | Buffer } = {}) => {
      const location = uri.split('/').at(-2) ?? ''
      const said = reply(location, asked.filter((one) => one === location).length)
      asked.push(location)
      sent.push(String(options.body ?? ''))
      return {
        status: said.status ?? 200,
        headersOut: { ...(said.status === undefined ? typeOf(location) : {}), ...said.headers },
        responseBuffer: Buffer.from((said.body ?? '') as string),
      }
    },
  }
  return { r, asked, sent, went, said }
}
