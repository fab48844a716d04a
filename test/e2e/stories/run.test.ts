/**
 * `nginx-git-cache run`, as `npm start` ends in it: a first run without a forge, one with a forge,
 * what is said of wrong options, and that nothing is left when it ends.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeAll, describe, expect, test } from 'vitest'
import { layOutProduct } from '../support/product.ts'
import { DIRECT } from '../support/repositories.ts'
import { client, must, onThisMachine, sh, uniqueId } from '../support/servers.ts'
import { onEachNginx } from '../support/versions.ts'

interface Running {
  data: string
  url: string
  listen: string
  out(): string
  /** Clones; how the last request was answered, or what git said. */
  clone(repository: string, options?: string): Promise<string>
  /** Sends a signal; the exit status. */
  end(signal: string): Promise<number>
  /** Process ids of it and of all that it has started. */
  processes(): Promise<string[]>
}

let port = 9400

/** For half a minute; what comes next says what is missing. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 300 && !(await condition()); i++) await sleep(100)
}

onEachNginx((suite) => {
  const RUN = `${layOutProduct()} run`
  const machine = client(suite)

  async function start(
    options: string,
    { data = `/w/work/${uniqueId('run')}`, as = '' } = {}
  ): Promise<Running> {
    port += 1
    const listen = `127.0.0.1:${port}`
    const mark = uniqueId('process')
    const here = onThisMachine(`/w/work/${mark}`)
    await must(
      machine,
      `mkdir -p ${data}; [ -z '${as}' ] || chown www-data ${data}; cd /; : > /w/work/${mark}.out
      { ${as} ${RUN} --data ${data} --listen ${listen} ${options} & echo $! > /w/work/${mark}.pid; wait $!; echo $? > /w/work/${mark}.code; } > /w/work/${mark}.out 2>&1 &`
    )
    const out = () => readFileSync(`${here}.out`, 'utf8')
    await until(() => /^ready /m.test(out()) || existsSync(`${here}.code`))
    const running: Running = {
      data,
      url: `http://${listen}`,
      listen,
      out,
      clone: async (repository, cloneOptions = '') => {
        const into = `/w/work/${uniqueId('run')}`
        const ran = await sh(
          machine,
          `GIT_TRACE_CURL=1 git clone --bare ${cloneOptions} ${/^http/.test(repository) ? repository : `http://${listen}/${repository}`} ${into} 2>&1; code=$?; [ $code != 0 ] || git -C ${into} fsck --no-progress; rm -rf ${into}; exit $code`
        )
        const how = [...ran.out.matchAll(/<= Recv header: X-Git-Cache: (.*)/gi)].map((m) => m[1])
        const said = ran.out.split('\n').filter((line) => !/^[\d:.]+ http\.c/.test(line))
        return ran.code === 0 ? String(how.at(-1)) : said.join('\n')
      },
      end: async (signal) => {
        await must(machine, `kill -${signal} $(cat /w/work/${mark}.pid)`)
        await until(() => existsSync(`${here}.code`))
        return Number(readFileSync(`${here}.code`, 'utf8'))
      },
      processes: async () => {
        const [root, ...all] = (
          await must(machine, `cat /w/work/${mark}.pid; ps -e -o pid=,ppid=`)
        ).split('\n')
        const found = [String(root)]
        // A parent may stand behind its child where the numbers have come round.
        for (let before = 0; before < found.length; ) {
          before = found.length
          for (const [pid = '', parent = ''] of all.map((line) => line.trim().split(/ +/))) {
            if (found.includes(parent) && !found.includes(pid)) found.push(pid)
          }
        }
        return found
      },
    }
    expect(out()).toMatch(/^ready /m)
    return running
  }

  /** The commands of those that still run. */
  async function left(processes: string[]): Promise<string[]> {
    const { out } = await sh(machine, `ps -o args= -p ${processes.join(',')}`)
    return out.split('\n').filter(Boolean)
  }

  async function untilHit(running: Running, repository: string, options = ''): Promise<string[]> {
    const how: string[] = []
    for (let i = 0; i < 100 && how.at(-1) !== 'hit'; i++) {
      how.push(await running.clone(repository, options))
      await sleep(100)
    }
    return how
  }

  describe('a first run, without a forge', () => {
    let first: Running
    beforeAll(async () => {
      first = await start('')
    })

    test('the commands that it prints: a miss, and then hits', async () => {
      const commands = [...first.out().matchAll(/^git clone (\S+) (\S+)/gm)]
      // They can be pasted one after the other.
      expect(new Set(commands.map(([, , into]) => into)).size).toBe(3)
      const printed = new Set(commands.map(([, url]) => url))
      expect(printed.size).toBe(2)
      for (const url of printed) {
        for (const options of ['', '--depth 1']) {
          const how = await untilHit(first, url as string, options)
          expect(how[0]).toBe('miss')
          expect(how.at(-1)).toBe('hit')
        }
      }
      expect(await first.clone('private/sample.git')).toMatch(/could not read Username/)
      const wrong = `http://me:wrong@${first.listen}/private/sample.git`
      expect(await first.clone(wrong)).toMatch(/Authentication failed/)
    })

    /** Values that show in the message; each with a way out behind a colon. */
    test.each([
      ['the port is taken', '--listen LISTEN', /--listen 127\S+ is taken: give another/],
      ['the directory is in use', '--data DATA', /--data \S+ is in use by another sidecar: stop/],
      ['nothing can be written', '--data /proc/x', /--data \/proc\/x cannot be written: /],
      ['nginx cannot go there', '--data /root/x', /--data \/root\/x cannot be reached .*www-data/],
      ['the socket would be too long', `--data /tmp/${'x'.repeat(90)}`, /is too long for a socket/],
      ['no port', '--listen 8x', /--listen 8x is not HOST:PORT: give one/],
      ['another scheme', '--upstream ftp://forge', /--upstream ftp:\/\/forge is not a plain http/],
      [
        'credentials',
        '--upstream http://a:TOPSECRET@forge',
        /--upstream \*\*\*@forge is not a plain/,
      ],
      ['no such name', '--upstream http://nowhere.invalid', /host not found .*nowhere\.invalid/],
      ['no such option', '--wat', /--wat: no such option: see/],
      ['no value', '--upstream', /--upstream <value>: needs a value|--upstream: needs a value/],
      ["an option of the sidecar's", '--cache-size lots', /--cache-size lots: /],
      ['a number that is none', '--per-client many', /--per-client many: /],
    ])('%s: one line, exit 2, and nothing is left', async (_, options, message) => {
      port += 1
      const where = [
        ...(options.includes('--data') ? [] : [`--data /w/work/${uniqueId('wrong')}`]),
        ...(options.includes('--listen') ? [] : [`--listen 127.0.0.1:${port}`]),
      ].join(' ')
      const given = options.replace('LISTEN', first.listen).replace('DATA', first.data)
      const mark = uniqueId('wrong')
      const { code, out } = await sh(
        machine,
        `RUN_MARK=${mark} timeout 30 ${RUN} ${where} ${given}; code=$?; grep -lsz RUN_MARK=${mark} /proc/[0-9]*/environ | grep -v "/$$/"; exit $code`
      )
      expect(out.split('\n'), out).toHaveLength(1)
      expect(out).toMatch(message)
      expect(out).toMatch(/^nginx-git-cache: .*: .* \(GITCACHE_[A-Z]+\)$/)
      expect(out).not.toContain('TOPSECRET')
      expect(code).toBe(2)
    })

    test('a wrong value in the environment is named as well', async () => {
      const { code, out } = await sh(machine, `GITCACHE_LISTEN=nonsense timeout 30 ${RUN}`)
      expect(out).toMatch(/^nginx-git-cache: --listen nonsense is not HOST:PORT: /)
      expect(code).toBe(2)
    })

    test('of all that, nothing has happened to the one that runs', async () => {
      expect(await first.clone('public/sample.git')).toBe('hit')
    })

    test('a sidecar that dies is started again, after ever longer pauses; git goes on', async () => {
      for (const pause of [250, 500, 1000]) {
        await must(machine, `kill -KILL $(cat ${first.data}/run/sidecar.pid)`)
        const clones = await Promise.all(
          ['', '--depth 2', `--depth ${pause}`].map((options) =>
            first.clone('public/sample.git', options)
          )
        )
        for (const how of clones) expect(how).toMatch(/^(hit|miss|join|pass; reason=sidecar)$/)
        const again = `sidecar ended (SIGKILL), again in ${pause} ms`
        await until(() => first.out().includes(again))
        expect(first.out()).toContain(again)
        // It has opened its socket again.
        expect((await untilHit(first, 'public/sample.git', `--depth ${pause + 1}`)).at(-1)).toBe(
          'hit'
        )
      }
    })

    test.each(['INT', 'TERM', 'HUP'])('SIG%s: nothing of it is left', async (signal) => {
      const used = signal === 'INT' ? first : await start('', { data: first.data })
      // What was stored is of use to the next.
      expect(await used.clone('public/sample.git')).toBe('hit')
      const processes = await used.processes()
      // Itself, nginx with its workers, the sidecar.
      expect(processes.length).toBeGreaterThan(3)
      expect(await left(processes)).toHaveLength(processes.length)
      expect(await used.end(signal)).toBe(0)
      expect(await left(processes)).toEqual([])
      const here = onThisMachine(used.data)
      expect(readdirSync(path.join(here, 'run'))).toEqual([])
      expect(readdirSync(path.join(here, 'tmp'))).toEqual([])
      expect(existsSync(path.join(here, 'nginx/tmp'))).toBe(false)
      expect(existsSync(path.join(here, 'sidecar/sidecar.sock'))).toBe(false)
    })
  })

  test('two forges by path; nginx that ends takes the sidecar with it', async () => {
    const one = await start(`--upstream ${DIRECT} --upstream http://gitea:3000`)
    expect((await untilHit(one, 'upstream/pub/small.git')).at(-1)).toBe('hit')
    expect(one.out()).toContain(`git config --global url.${one.url}/upstream/.insteadOf ${DIRECT}/`)
    const processes = await one.processes()
    await must(machine, `kill -TERM $(cat ${one.data}/run/nginx.pid)`)
    await until(async () => (await left(processes)).length === 0)
    expect(await left(processes)).toEqual([])
    expect(one.out()).toMatch(
      /^nginx-git-cache: nginx ended by itself: see .* \(GITCACHE_NGINX\)$/m
    )
  })

  test('not as root: all of it runs as whoever starts it', async () => {
    const as = 'setpriv --reuid=www-data --regid=www-data --clear-groups'
    const one = await start(`--upstream ${DIRECT} --admin 127.0.0.1:${port + 300}`, { as })
    expect((await untilHit(one, 'pub/small.git')).at(-1)).toBe('hit')
    const users = await must(
      machine,
      `find ${one.data} ! -user www-data; ls -ln ${one.data} | wc -l`
    )
    expect(users).toMatch(/^\d+$/)
    // Options of the sidecar reach it.
    expect(await must(machine, `curl -sf http://127.0.0.1:${port + 299}/readyz`)).toMatch(/./)
    const processes = await one.processes()
    expect(await one.end('TERM')).toBe(0)
    expect(await left(processes)).toEqual([])
  })
})
