/**
 * Upstream cannot be reached: by the sidecar alone (its name is not known, its certificate is wrong),
 * or by anyone. Who gets through to it gets its answer, and nobody gets one without it.
 * `npm run soak` leaves it away for longer.
 */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { docker } from '../support/docker.ts'
import { type Pair, startPair } from '../support/pair.ts'
import { cloneState, copyOf, DIRECT, oidOf } from '../support/repositories.ts'
import { client, logs, must, packsMade, results, stack, uniqueId } from '../support/servers.ts'
import { onOneNginx } from '../support/versions.ts'
import { ask, fetchV2 } from '../support/wire.ts'

/** Seconds for which it is gone, where that is longer than five rounds. */
const ABSENCE = Number(process.env.GITCACHE_SOAK_SECONDS ?? 0)
const RELAY = 8400
/** As without us. */
const PLAIN = 9299

/** How the sidecar gets on with each; nginx has no trouble with any of them. */
const ROWS = [
  { name: 'a certificate by the right authority', port: 9201, trouble: false },
  { name: 'a certificate by another authority', port: 9202, trouble: true },
  { name: 'a certificate for another name', port: 9203, trouble: true },
  { name: 'a certificate that has expired', port: 9204, trouble: true },
  { name: 'a name that nobody knows', port: 9205, trouble: true },
]
const TLS = [
  { port: 9201, relay: 8443, ca: 'ca', subject: 'upstream', until: '2099' },
  { port: 9202, relay: 8444, ca: 'other', subject: 'upstream', until: '2099' },
  { port: 9203, relay: 8445, ca: 'ca', subject: 'elsewhere', until: '2099' },
  { port: 9204, relay: 8446, ca: 'ca', subject: 'upstream', until: '2021' },
]

onOneNginx((suite) => {
  const { upstream, dir } = stack()
  const name = uniqueId('unreachable')
  const home = `/w/work/${name}`
  let pair: Pair
  const at = (port: number) => `http://nginx-${suite}:${port}`

  /** One for each port; stopped by its process id. */
  async function startRelay(port: number, ...more: string[]): Promise<void> {
    const run = `echo $$ > ${home}/${port}.pid; exec node /w/upstream/relay.mjs ${port} ${home}/${port}.log ${more.join(' ')}`
    await docker(['exec', '--detach', upstream, 'sh', '-c', run])
    await must(
      upstream,
      `for i in $(seq 100); do curl -sk http://127.0.0.1:${port}/ > /dev/null; [ $? = 7 ] || exit 0; sleep 0.1; done; exit 9`
    )
  }
  const stopRelay = (port: number) =>
    must(
      upstream,
      `kill $(cat ${home}/${port}.pid); while kill -0 $(cat ${home}/${port}.pid) 2> /dev/null; do sleep 0.05; done`
    )
  /** What upstream was asked by way of the relay. */
  const asked = () =>
    readFileSync(path.join(dir, 'work', name, `${RELAY}.log`), 'utf8').split('\n').length - 1

  beforeAll(async () => {
    const authorities = ['ca', 'other'].map(
      (ca) =>
        `openssl req -x509 -newkey rsa:2048 -nodes -keyout ${ca}.key -out ${ca}.pem -subj /CN=${ca} -days 2 2> /dev/null`
    )
    const certificates = TLS.map(
      ({ relay, ca, subject, until }) =>
        `openssl req -newkey rsa:2048 -nodes -keyout ${relay}.key -out ${relay}.csr -subj /CN=${subject} 2> /dev/null
printf 'subjectAltName=DNS:${subject}' > ext
openssl x509 -req -in ${relay}.csr -CA ${ca}.pem -CAkey ${ca}.key -CAcreateserial -extfile ext -not_before 20200101000000Z -not_after ${until}0101000000Z -out ${relay}.pem 2> /dev/null`
    )
    await must(
      upstream,
      [
        'set -e',
        `mkdir ${home}`,
        `cd ${home}`,
        ...authorities,
        ...certificates,
        'chmod a+r *',
      ].join('\n')
    )
    await startRelay(RELAY)
    for (const { relay } of TLS) {
      await startRelay(relay, `${home}/${relay}.pem`, `${home}/${relay}.key`)
    }
    const block = (port: number, scheme: string, block: string, server: string) => `
  upstream ${block} { server upstream:${server}; keepalive 8; }
  server { listen ${port}; set $gitcache_upstream ${scheme}://${block}; proxy_http_version 1.1;
    location / { proxy_pass ${scheme}://${block}; proxy_set_header Connection ""; include gitcache/gitcache-location.conf; } }`
    pair = await startPair({
      name,
      suite,
      http: [
        ...TLS.map(({ port, relay }) => block(port, 'https', `tls${relay}`, String(relay))),
        block(9205, 'http', 'nodns', '80'),
        block(9206, 'http', 'relayed', String(RELAY)),
        `server { listen ${PLAIN}; location / { proxy_pass http://relayed; } }`,
      ].join('\n'),
      args: [
        ...TLS.flatMap(({ relay }) => [
          '--upstream',
          `https://tls${relay}=https://upstream:${relay}`,
        ]),
        ...['--upstream', 'http://nodns=http://no-such-host.invalid'],
        ...['--upstream', `http://relayed=http://upstream:${RELAY}`],
        ...['--ca-file', `${home}/ca.pem`],
      ],
    })
  })
  afterAll(async () => {
    await pair.stop()
    await must(upstream, `for p in ${home}/*.pid; do kill $(cat $p); done; rm -rf ${home}`)
  })

  test.each(ROWS)('$name', async ({ port, trouble }) => {
    const repository = await copyOf('main')
    const how: string[] = []
    for (const options of ['--mirror', '--mirror', '--bare --depth 1', '--bare --depth 1']) {
      const direct = await cloneState(suite, DIRECT, repository, options)
      const cached = await cloneState(suite, at(port), repository, options, pair.log)
      expect([cached.code, cached.out], `${cached.how} ${logs()}`).toEqual([0, direct.out])
      how.push(cached.how)
    }
    const passes = how.filter((one) => /^pass; reason=(unreachable|fetch-failed)$/.test(one))
    expect(passes, how.join()).toHaveLength(trouble ? 4 : 0)
    if (!trouble) expect(how).toEqual(['miss', 'hit', 'miss', 'hit'])
  })

  test('the log says so, once and with the way out', () => {
    const said = pair.logged().filter(({ code }) => code === 'GITCACHE_UNREACHABLE')
    expect(said.map(({ error }) => error).join()).toMatch(/certificate/)
    expect(said.length).toBeLessThan(8)
  })

  test(
    'gone for a while: nobody is served what was stored, and nothing rushes when it is back',
    async () => {
      const CLIENTS = 20
      const repository = await copyOf('main')
      const options = '--bare --no-tags --depth 1'
      const body = fetchV2(
        'ofs-delta',
        `want ${await oidOf(repository, 'main')}`,
        'deepen 1',
        'done'
      )
      const request = { path: `/pub/${repository}/git-upload-pack`, body }
      for (const how of ['miss', 'hit']) {
        expect(await ask(suite, at(9206), request)).toMatchObject({ status: 200, header: how })
      }
      await cloneState(suite, at(9206), repository, options, pair.log)

      await stopRelay(RELAY)
      const before = asked()
      const clones = (port: number) => {
        const id = uniqueId('gone')
        return must(
          client(suite),
          `mkdir /w/work/${id}; cd /w/work/${id}; for i in $(seq ${CLIENTS}); do ( git -c http.extraHeader=X-Test:${id} clone -q ${options} ${at(port)}/pub/${repository} $i > $i.out 2>&1; echo "exit $?" >> $i.out ) & done; wait; cat *.out | sed 's/:${port}//g' | sort | uniq -c; cd /; rm -rf /w/work/${id}`
        ).then((out) => ({ out, id }))
      }
      const until = Date.now() + ABSENCE * 1000
      for (let i = 0; i < 5 || Date.now() < until; i++) {
        if (i >= 5) await sleep(20_000)
        const [cached, plain] = [await clones(9206), await clones(PLAIN)]
        expect(cached.out).toBe(plain.out)
        expect(cached.out).toContain(`${CLIENTS} exit 128`)
        const [answer, without] = [
          await ask(suite, at(9206), request),
          await ask(suite, at(PLAIN), request),
        ]
        expect(answer).toMatchObject({ status: 502, header: 'pass; reason=no-answer' })
        expect(answer.body).toEqual(without.body)
      }
      expect(asked()).toBe(before)

      await startRelay(RELAY)
      const back = asked()
      await sleep(3000)
      expect(asked()).toBe(back)
      const { out, id } = await clones(9206)
      expect(out.trim()).toBe(`${CLIENTS} exit 0`)
      expect(results(suite, id, pair.log)).toEqual(Array(CLIENTS).fill('hit'))
      expect(packsMade(id)).toBe(0)
      // The two requests for refs, a probe and one for tags (git asks for include-tag in any case).
      expect(asked() - back).toBeLessThanOrEqual(4 * CLIENTS)
    },
    (ABSENCE + 600) * 1000
  )
})
