/** Whether an upstream answers the probe. */
import { randomBytes } from 'node:crypto'
import { request } from 'undici'
import { SERVICE } from '../../../njs/src/git/classify.ts'
import { emptyRequest } from '../../../njs/src/git/fetch-request.ts'
import { readProbeAnswer, writeProbe } from '../../../njs/src/git/probe.ts'
import { one, type RawOptions } from '../options.ts'
import { askKept } from '../upstream-http.ts'
import type { Upstream } from '../upstreams.ts'
import { type Finding, fail, ok, warn } from './finding.ts'

export const NO_UPSTREAM: Finding = warn(
  'no upstream was asked',
  'give --upstream as the sidecar has it'
)

/** Asks as a client without credentials would: which refs, and then for one of them. */
export async function checkUpstream(upstream: Upstream, raw: RawOptions): Promise<Finding> {
  const repository = one(raw, 'repository')?.replace(/^\/+|\/+$/g, '')
  if (!repository) {
    return warn(
      `${upstream.url} was not asked`,
      'give --repository PATH of one that everyone may read'
    )
  }
  const base = `${upstream.url}/${repository}`
  try {
    const refs = await ask(upstream, `${base}/info/refs?service=git-upload-pack`)
    const oid = /([0-9a-f]{64}|[0-9a-f]{40}) HEAD/.exec(refs.text)?.[1]
    if (refs.status !== 200 || oid === undefined) {
      return fail(
        `${base}/info/refs: ${refs.status}`,
        'give a --repository that everyone may read and that has a commit'
      )
    }
    return await probeUpstream(upstream, base, oid)
  } catch (error) {
    const why = error instanceof Error ? error.message : error
    return fail(`${base}: ${why}`, 'check the address and the certificate')
  }
}

/** Milliseconds. */
const PATIENCE = 10_000

/** With its certificates and by its proxy, as the sidecar asks it. Rejects where no answer comes. */
async function ask(
  upstream: Upstream,
  url: string,
  body?: string
): Promise<{ status: number; text: string }> {
  const signal = AbortSignal.timeout(PATIENCE)
  const answer = await askKept(upstream, (dispatcher) =>
    request(url, {
      method: body === undefined ? 'GET' : 'POST',
      dispatcher,
      headers:
        body === undefined
          ? {}
          : {
              'content-type': SERVICE.contentType,
              'git-protocol': 'version=2',
            },
      body: body ?? null,
      signal,
    })
  )
  return { status: answer.statusCode, text: await answer.body.text() }
}

async function probeUpstream(upstream: Upstream, base: string, oid: string): Promise<Finding> {
  const format = oid.length === 64 ? ('sha256' as const) : ('sha1' as const)
  const asked = { ...emptyRequest(2), format, wants: [oid], done: true }
  const unknown = randomBytes(oid.length / 2).toString('hex')
  const answer = await ask(upstream, `${base}/git-upload-pack`, writeProbe(asked, unknown))
  const said = readProbeAnswer(asked, answer.text)
  return said.kind === 'yes'
    ? ok(`${base} answers the probe`)
    : fail(
        `${base} does not answer the probe (${answer.status}, ${said.kind})`,
        'its fetches will all pass; nothing breaks'
      )
}
