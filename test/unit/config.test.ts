/** The sidecar's settings: what is refused, and that no message shows a secret. */
import { writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { isUnixSocket, splitAddress } from '../../sidecar/src/address.ts'
import { serveConfig } from '../../sidecar/src/config.ts'
import { UserError } from '../../sidecar/src/errors.ts'
import { type CommandName, OPTIONS, readOptions, unknownTwins } from '../../sidecar/src/options.ts'
import { readUpstreams } from '../../sidecar/src/upstreams.ts'
import { scratch } from '../support/git.ts'

const work = scratch()
afterAll(work.remove)

function secretFile(text: string): string {
  const file = path.join(work.dir, `secret-${text.length}`)
  writeFileSync(file, `${text}\n`)
  return file
}

function serve(argv: string[], env: NodeJS.ProcessEnv = {}) {
  return serveConfig(readOptions(argv, env, 'serve').raw)
}

/** The error that a person sees. */
function complaint(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    if (error instanceof UserError) return error.line()
    throw error
  }
  throw new Error('nothing was refused')
}

/** As the README's table of settings and --help have them. */
test('defaults', () => {
  expect(serve([])).toEqual({
    data: '/var/cache/nginx-git-cache',
    socket: '/run/nginx-git-cache/sidecar.sock',
    secret: '',
    gitProcesses: availableParallelism(),
    cacheSize: null,
    makeMirrors: 'second-miss',
    queueLength: 200,
    perClient: 100,
    maxWait: 120,
    commitAfter: 20,
    stallAfter: 120,
    drain: 300,
    keepMirrors: 30,
    maxBody: 10_485_760,
    logLevel: 'info',
    upstreams: [],
  })
})

test('a relative directory is one from here', () => {
  expect(serve(['--data', 'cache']).data).toBe(path.resolve('cache'))
})

test('what was read is frozen', () => {
  expect(Object.isFrozen(serve([]))).toBe(true)
})

describe('flags and their twins in the environment', () => {
  test.each<[what: string, argv: string[], env: NodeJS.ProcessEnv, processes: number]>([
    ['a flag', ['--git-processes', '3'], {}, 3],
    ['a flag with =', ['--git-processes=3'], {}, 3],
    ['the last of two flags', ['--git-processes=3', '--git-processes=4'], {}, 4],
    ['a twin', [], { GITCACHE_GIT_PROCESSES: '5' }, 5],
    ['a flag before its twin', ['--git-processes=3'], { GITCACHE_GIT_PROCESSES: '5' }, 3],
  ])('%s', (_, argv, env, processes) => {
    expect(serve(argv, env).gitProcesses).toBe(processes)
  })

  test.each(Object.keys(OPTIONS))('--%s has a twin', (name) => {
    const twin = `GITCACHE_${name.toUpperCase().replaceAll('-', '_')}`
    const value = name === 'upstream-by-path' ? 'on' : 'x'
    expect(Object.keys(readOptions([], { [twin]: value }, 'serve').raw)).toEqual([name])
  })

  test('what looks like a setting and is none is named', () => {
    const env = { GITCACHE_CACHESIZE: '1', GITCACHE_DATA: '/x', PATH: '/bin' }
    expect(unknownTwins(env)).toEqual(['GITCACHE_CACHESIZE'])
  })

  test.each([
    ['1', { 'upstream-by-path': ['true'] }],
    ['On', { 'upstream-by-path': ['true'] }],
    ['off', {}],
    ['0', {}],
  ])('a switch that says %s', (text, raw) => {
    expect(readOptions([], { GITCACHE_UPSTREAM_BY_PATH: text }, 'run').raw).toEqual(raw)
  })

  test('a switch that says neither', () => {
    const read = () => readOptions([], { GITCACHE_UPSTREAM_BY_PATH: 'maybe' }, 'run')
    expect(complaint(read)).toContain('GITCACHE_UPSTREAM_BY_PATH maybe is no switch: give 1 or 0')
  })

  test('an empty twin is none', () => {
    expect(readOptions([], { GITCACHE_DATA: '' }, 'serve').raw).toEqual({})
  })

  test('several upstreams in one twin', () => {
    const raw = readOptions(
      [],
      { GITCACHE_UPSTREAM: 'https://a.example http://b.example' },
      'serve'
    ).raw
    expect(serveConfig(raw).upstreams.map(({ url }) => url)).toEqual([
      'https://a.example',
      'http://b.example',
    ])
  })

  test.each([' https://a.example', 'https://a.example\n'])('space around a twin: %j', (text) => {
    const raw = readOptions([], { GITCACHE_UPSTREAM: text }, 'serve').raw
    expect(serveConfig(raw).upstreams.map(({ url }) => url)).toEqual(['https://a.example'])
  })

  test('a directory with a space in its name', () => {
    expect(serve([], { GITCACHE_DATA: '/srv/git cache' }).data).toBe('/srv/git cache')
  })
})

describe("another command's options", () => {
  test.each<[command: CommandName, flag: string]>([
    ['serve', '--listen=127.0.0.1:80'],
    ['serve', '--upstream-by-path'],
    ['serve', '--repository=a'],
    ['run', '--socket=/a'],
    ['run', '--reports=127.0.0.1:1'],
    ['check', '--listen=127.0.0.1:80'],
    ['purge', '--upstream=http://a'],
    ['purge', '--cache-size=1g'],
  ])('%s %s is refused', (command, flag) => {
    const line = complaint(() => readOptions([flag], {}, command))
    expect(line).toContain(`${flag.split('=')[0]} is no option of ${command}`)
  })

  test.each<[command: CommandName, flag: string]>([
    ['check', '--socket=/a'],
    ['check', '--repository=a'],
    ['run', '--admin=127.0.0.1:1'],
    ['purge', '--data=/a'],
  ])('%s %s is not', (command, flag) => {
    expect(Object.keys(readOptions([flag], {}, command).raw)).toHaveLength(1)
  })

  test('in the environment they are left alone: it is one for all', () => {
    const { raw } = readOptions([], { GITCACHE_LISTEN: '127.0.0.1:80' }, 'serve')
    expect(raw).toEqual({ listen: ['127.0.0.1:80'] })
  })
})

describe('refused', () => {
  test.each<[argv: string[], parts: string[]]>([
    [['--nonsense'], ['--nonsense', 'GITCACHE_OPTION']],
    [['--nonsense=x'], ['--nonsense', 'GITCACHE_OPTION']],
    [['extra'], ['extra', 'GITCACHE_OPTION']],
    [['--data'], ['--data', 'GITCACHE_OPTION']],
    [
      ['--git-processes', '0'],
      ['--git-processes 0', 'GITCACHE_CONFIG'],
    ],
    [
      ['--git-processes', 'many'],
      ['--git-processes many', 'GITCACHE_CONFIG'],
    ],
    [
      ['--git-processes', '1.5'],
      ['--git-processes 1.5', 'GITCACHE_CONFIG'],
    ],
    [
      ['--cache-size', 'lots'],
      ['--cache-size lots', 'as 20g', 'GITCACHE_CONFIG'],
    ],
    [['--max-wait=-1'], ['--max-wait -1', 'GITCACHE_CONFIG']],
    [['--max-wait=5m'], ['--max-wait 5m: give seconds', 'GITCACHE_CONFIG']],
    [['--git-processes=0x10'], ['--git-processes 0x10: give a whole number', 'GITCACHE_CONFIG']],
    [
      ['--git-processes', '-3'],
      ['--git-processes: needs a value', '=-value', 'GITCACHE_OPTION'],
    ],
    [['--queue-length'], ['--queue-length: needs a value', 'GITCACHE_OPTION']],
    [[`--socket=/${'s'.repeat(107)}`], ['107 bytes', 'GITCACHE_CONFIG']],
    [
      ['--upstream=http://a=http://b', '--upstream=http://a=http://c'],
      ['twice for http://a', 'GITCACHE_UPSTREAM'],
    ],
    // What setTimeout cannot take it takes for nothing at all.
    [['--max-wait=9999999'], ['--max-wait 9999999', 'GITCACHE_CONFIG']],
    [['--drain=9999999'], ['--drain 9999999', 'GITCACHE_CONFIG']],
    [['--stall-after=9999999'], ['--stall-after 9999999', 'GITCACHE_CONFIG']],
    [['--admin=127.0.0.1'], ['--admin 127.0.0.1', 'HOST:PORT', 'GITCACHE_CONFIG']],
    [['--admin=127.0.0.1:99999'], ['--admin 127.0.0.1:99999', 'GITCACHE_CONFIG']],
    [['--reports=127.0.0.1:abc'], ['--reports 127.0.0.1:abc', 'GITCACHE_CONFIG']],
    [['--socket=s.sock'], ['--socket s.sock', 'begins with /', 'GITCACHE_CONFIG']],
    [['--ca-file=/nonexistent'], ['--ca-file /nonexistent', 'cannot be read', 'GITCACHE_CONFIG']],
    [['--client-key=/nonexistent'], ['--client-key /nonexistent', 'GITCACHE_CONFIG']],
    [['--ca-file=/dev/null'], ['--ca-file /dev/null', 'holds no certificate', 'GITCACHE_CONFIG']],
    [['--ca-file=/tmp'], ['--ca-file /tmp', 'holds no certificate', 'GITCACHE_CONFIG']],
    [['--client-cert=/dev/null'], ['--client-cert /dev/null', 'GITCACHE_CONFIG']],
    [['--upstream=http://a=http://b=http://c'], ['http://b=http://c', 'GITCACHE_UPSTREAM']],
    [['--upstream=http://a\nb'], ['is not a plain http', 'GITCACHE_UPSTREAM']],
    [['--upstream=http://f=http://unix:/run/x.sock:'], ['is a unix socket', 'GITCACHE_UPSTREAM']],
    [[`--upstream=ftp://${'a'.repeat(300)}`], ['aaa…', 'GITCACHE_UPSTREAM']],
    [['--proxy=nonsense'], ['--proxy', 'GITCACHE_CONFIG']],
    [['--data='], ['--data', 'GITCACHE_CONFIG']],
    [
      ['--upstream', 'http://forge/=http://10.0.0.1'],
      ['http://forge/=http://10.0.0.1', 'scheme://name', 'GITCACHE_UPSTREAM'],
    ],
    [
      ['--log-level', 'loud'],
      ['--log-level loud', 'GITCACHE_CONFIG'],
    ],
    [
      ['--socket', '127.0.0.1:9418'],
      ['127.0.0.1:9418', 'secret', 'GITCACHE_SECRET'],
    ],
    [
      ['--secret-file', '/nonexistent/file'],
      ['/nonexistent/file', 'GITCACHE_SECRET'],
    ],
    [
      ['--upstream', 'http://forge='],
      ['http://forge=', 'no address', 'GITCACHE_UPSTREAM'],
    ],
    [['--git-processes=99999999'], ['99999999', 'from 1 to 1000000', 'GITCACHE_CONFIG']],
    [
      ['--upstream', 'ftp://host'],
      ['ftp://host', 'GITCACHE_UPSTREAM'],
    ],
    [
      ['--upstream', 'host'],
      ['host', 'GITCACHE_UPSTREAM'],
    ],
    [
      ['--upstream', 'https://host/?a'],
      ['host', 'GITCACHE_UPSTREAM'],
    ],
    [
      ['--upstream', 'https://host/#a'],
      ['host', 'GITCACHE_UPSTREAM'],
    ],
  ])('%j says %j', (argv, parts) => {
    const line = complaint(() => serve(argv))
    for (const part of parts) expect(line).toContain(part)
    expect(line).not.toContain('\n')
  })

  test('a proxy with a password, which is not shown', () => {
    const line = complaint(() => serve(['--proxy', 'ftp://me:hunter2@proxy']))
    expect(line).toContain('--proxy')
    expect(line).not.toContain('hunter2')
  })

  test('all that will not do is named at once', () => {
    const line = complaint(() => serve(['--git-processes=x', '--log-level=loud']))
    expect(line).toMatch(/--git-processes x.*--log-level loud/)
  })
})

describe('TCP needs a secret of 32 bytes', () => {
  test.each([
    ['31 bytes', 31, false],
    ['32 bytes', 32, true],
  ])('%s', (_, length, good) => {
    const argv = ['--socket=127.0.0.1:9418', '--secret-file', secretFile('s'.repeat(length))]
    if (good) expect(serve(argv).secret).toBe('s'.repeat(length))
    else expect(complaint(() => serve(argv))).toContain('GITCACHE_SECRET')
  })

  test('also where it is given for a unix socket', () => {
    const argv = ['--secret-file', secretFile('short')]
    expect(complaint(() => serve(argv))).toMatch(/holds less than 32 bytes.*GITCACHE_SECRET/)
  })

  test('and none of it is shown', () => {
    const argv = ['--socket=127.0.0.1:9418', '--secret-file', secretFile('hunter2')]
    expect(complaint(() => serve(argv))).not.toContain('hunter2')
  })
})

describe('upstreams', () => {
  test.each<[text: string, name: string, url: string]>([
    ['https://git.example.org', 'https://git.example.org', 'https://git.example.org'],
    ['https://git.example.org/', 'https://git.example.org', 'https://git.example.org'],
    ['http://Forge:80', 'http://Forge:80', 'http://forge'],
    ['http://10.0.0.1:3000/git/', 'http://10.0.0.1:3000/git', 'http://10.0.0.1:3000/git'],
    ['http://forge=http://10.0.0.1:3000', 'http://forge', 'http://10.0.0.1:3000'],
    ['http://forge=https://git.example.org/git/', 'http://forge', 'https://git.example.org/git'],
  ])('%s', (text, name, url) => {
    expect(serve(['--upstream', text]).upstreams).toMatchObject([{ name, url }])
  })

  test('TLS and proxy are those of the options', () => {
    const reach = { caFile: '/ca', clientCert: '/c', clientKey: '/k', proxy: 'http://p:3128' }
    expect(readUpstreams(['https://a.example'], reach)).toMatchObject([reach])
    const flags = ['--upstream=https://a.example', '--proxy=http://p:3128']
    expect(serve(flags).upstreams).toMatchObject([{ proxy: reach.proxy }])
  })

  const credentials = [
    'https://user:hunter2@git.example.org',
    'https://hunter2@git.example.org',
    'http://forge=https://user:hunter2@git.example.org',
    'https://user:hunter2@git.example.org/?x',
    'https://user:a@hunter2@git.example.org',
    'https://user:a/hunter2@git.example.org',
    'https:/user:hunter2@git.example.org',
    'https:user:hunter2@git.example.org',
    'https://user:a=hunter2@git.example.org',
    'http://user:hunter2@forge=https://git.example.org',
    'https://git.example.org/?token=hunter2',
  ]

  test.each(credentials)('%s is refused and its secret not shown', (text) => {
    const line = complaint(() => serve(['--upstream', text]))
    expect(line).toContain('GITCACHE_UPSTREAM')
    expect(line).not.toContain('hunter2')
  })

  test('nor where the flag was forgotten', () => {
    const line = complaint(() => readOptions(['https://user:hunter2@git.example.org'], {}, 'serve'))
    expect(line).not.toContain('hunter2')
  })
})

test.each([
  ['/run/x.sock', true],
  ['127.0.0.1:80', false],
  ['x.sock', false],
])('%s is a unix socket: %s', (address, expected) => {
  expect(isUnixSocket(address)).toBe(expected)
})

test.each<[string, [string, number]]>([
  ['127.0.0.1:80', ['127.0.0.1', 80]],
  ['[::1]:80', ['::1', 80]],
  ['localhost', ['', Number.NaN]],
  ['127.0.0.1:', ['', Number.NaN]],
])('%s splits', (address, expected) => {
  expect(splitAddress(address)).toEqual(expected)
})
