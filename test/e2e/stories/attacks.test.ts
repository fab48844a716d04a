/**
 * An attacker gets through the cache what he gets straight from upstream, and with the guard that
 * stops him taken out of a build, he gets what he is after: so it is that guard, and the row can fail.
 */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  ATTACKS,
  type Attack,
  GUARDS,
  type Guard,
  SCENES,
  type Scene,
  SHELL,
  STOPPED_ELSEWHERE,
  UPSTREAM_SHELL,
} from '../support/attacks.ts'
import { onUpstream } from '../support/repositories.ts'
import {
  client,
  dataOf,
  must,
  results,
  sh,
  stack,
  uniqueId,
  untilMirrored,
} from '../support/servers.ts'
import { startWeakened, type WeakServer } from '../support/weakened.ts'

type SceneName = keyof typeof SCENES
type Cache = Pick<WeakServer, 'url' | 'log' | 'data'>

const SUITE = 'trixie'
const END = '--- end ---'
const DIRECT = 'http://upstream'
const realCache = (): Cache => ({
  url: `http://nginx-${SUITE}:8080`,
  log: `nginx-${SUITE}.log`,
  data: dataOf(SUITE),
})

interface Played {
  /** The folder of its repositories. */
  id: string
  oids: Record<string, string>
}

/** Runs a client's script at each address; what it said there, and its exit codes. */
async function runAt(urls: string[], played: string, script: string, protocol: number) {
  const test = uniqueId('attack')
  const env = {
    ID: played,
    V: String(protocol),
    TEST: test,
    GIT_TERMINAL_PROMPT: '0',
    GIT_CONFIG_COUNT: '1',
    GIT_CONFIG_KEY_0: 'http.extraHeader',
    GIT_CONFIG_VALUE_0: `X-Test: ${test}`,
  }
  const dir = `/w/work/${test}`
  const runs = urls.map(
    (url) => `mkdir ${dir}; cd ${dir}; ( URL=${url}; ${SHELL}\n${script} ); echo "exit $?"
cd /; rm -rf ${dir}; echo ${END}`
  )
  const { out } = await sh(client(SUITE), runs.join('\n'), env)
  const said = out.split(`${END}`).slice(0, urls.length)
  return { test, said: said.map((text, i) => text.replaceAll(urls[i] ?? '', 'URL').trim()) }
}

async function warmUp(cache: Cache, id: string, scene: Scene): Promise<void> {
  const { test, said } = await runAt([cache.url], id, scene.warm, 2)
  expect(results(SUITE, test, cache.log).join(), said.join()).toMatch(/hit|miss|join/)
  for (const mirror of scene.mirrors) await untilMirrored(cache.data, mirror.replace('$ID', id))
  if (scene.fill !== undefined) await runAt([cache.url], id, scene.fill, 2)
}

/** A scene before these caches: warm, and then changed. */
async function play(scene: Scene, caches: Cache[]): Promise<Played> {
  const id = uniqueId('attack')
  await onUpstream(id, UPSTREAM_SHELL + scene.prepare)
  await Promise.all(caches.map((cache) => warmUp(cache, id, scene)))
  if (scene.change !== undefined) await onUpstream(id, UPSTREAM_SHELL + scene.change)
  const dir = path.join(stack().dir, 'repos', id, 'oids')
  const oids = readdirSync(dir).map((name) => [
    name,
    readFileSync(path.join(dir, name), 'utf8').trim(),
  ])
  return { id, oids: Object.fromEntries(oids) }
}

/** Each scene once, when its first row comes. */
function stage(caches: () => Cache[]) {
  const playing = new Map<SceneName, Promise<Played>>()
  return {
    play(name: SceneName): Promise<Played> {
      const played = playing.get(name) ?? play(SCENES[name], caches())
      playing.set(name, played)
      return played
    },
    async clear(): Promise<void> {
      for (const { id } of await Promise.all(playing.values()))
        await must(stack().upstream, `rm -rf /w/repos/${id}`)
    },
  }
}

/** The attacker has this object, or was told of it. */
const learns = (oid: string | undefined) =>
  new RegExp(`^(got|said ACK|said unshallow) ${oid}$`, 'm')

const rowsOf = (guard: Guard): Attack[] => ATTACKS.filter((row) => row.guard === guard)

describe.each(Object.keys(GUARDS) as Guard[])('without its guard: %s', (guard) => {
  let weak: WeakServer | undefined
  const scenes = stage(() => [realCache(), weak as WeakServer])

  beforeAll(async () => {
    weak = await startWeakened({ name: uniqueId(`attack-${guard}`), edits: GUARDS[guard] })
  })
  afterAll(async () => {
    await weak?.stop()
    await scenes.clear()
  })

  test.each(rowsOf(guard))(
    '$name, v$protocol, $scene',
    async ({ scene, attack, protocol, gets }) => {
      const { id, oids } = await scenes.play(scene)
      const urls = [DIRECT, realCache().url, (weak as WeakServer).url]
      const [direct, real, first] = (await runAt(urls, id, attack, protocol)).said
      expect(real).toBe(direct)
      // A machine that is too slow at that moment passes the request, whatever the build.
      const leaked =
        first === direct ? (await runAt(urls.slice(2), id, attack, protocol)).said[0] : first
      if (gets === undefined) {
        expect(leaked).not.toBe(direct)
      } else {
        expect(direct).not.toMatch(learns(oids[gets]))
        expect(leaked).toMatch(learns(oids[gets]))
      }
    }
  )
})

describe('stopped by nginx, by upstream or by more than one guard', () => {
  const scenes = stage(() => [realCache()])
  const SECRET = { pruned: 's2', private: 'base' }

  afterAll(scenes.clear)

  test.each(STOPPED_ELSEWHERE)('$name, v$protocol', async ({ scene, attack, protocol, says }) => {
    const { id, oids } = await scenes.play(scene)
    const urls = [DIRECT, realCache().url]
    const [direct, real] = (await runAt(urls, id, attack, protocol)).said
    if (says === undefined) expect(real).toBe(direct)
    else expect(real).toMatch(says)
    expect(real).not.toMatch(learns(oids[SECRET[scene]]))
  })
})
