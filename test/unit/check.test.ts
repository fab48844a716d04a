/** What `check` and `purge` make of what they are given; the story of check has the rest. */
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { canConnect } from '../../sidecar/src/can-connect.ts'
import { checkBothSides } from '../../sidecar/src/commands/check-both-sides.ts'
import { checkConfiguration, checkNjs } from '../../sidecar/src/commands/check-nginx.ts'
import { checkPlaces } from '../../sidecar/src/commands/check-places.ts'
import { withoutComments } from '../../sidecar/src/commands/nginx-dump.ts'
import { readRepository } from '../../sidecar/src/commands/purge.ts'
import { scratch } from '../support/git.ts'

const work = scratch()
afterAll(work.remove)

/** As nginx -T shows a set-up that is right. */
const RIGHT = `# configuration file /etc/nginx/nginx.conf:
http {
    include gitcache/gitcache-http.conf;
    access_log syslog:server=127.0.0.1:7419,tag=gitcache,nohostname gitcache_report if=$gitcache_result;
    upstream forge { server 10.0.0.5:3000; }
    include sites/*.conf;
}
# configuration file /etc/nginx/gitcache/gitcache-http.conf:
js_import gitcache from gitcache/gitcache.js;
map "" $gitcache_upstream { default ""; }
# configuration file /etc/nginx/sites/a.conf:
server {
    listen 80;
    server_name git.example.org;
    set $gitcache_upstream http://forge;   # as in proxy_pass
    # here
    location / {
        proxy_pass http://forge;
        include gitcache/gitcache-location.conf;
    }
}
# configuration file /etc/nginx/gitcache/gitcache-location.conf:
if ($gitcache_challenge) { return 401; }
location ~ /_gitcache/main/git-upload-pack$ { js_content gitcache.uploadPack; }
`

const found = (dump: string) =>
  [...checkConfiguration(withoutComments(dump)), ...checkPlaces(dump)].filter(
    ({ level }) => level !== 'ok'
  )

test('a set-up that is right', () => {
  expect(found(RIGHT)).toEqual([])
  expect(checkPlaces(RIGHT)).toEqual([{ level: 'ok', text: 'hits are reported to the sidecar' }])
})

test('our own files are right', () => {
  const both = ['gitcache-http.conf', 'gitcache-location.conf'].map(
    (name) =>
      `# configuration file /etc/nginx/gitcache/${name}:\n${readFileSync(`nginx/${name}`, 'utf8')}\n`
  )
  const site = RIGHT.slice(0, RIGHT.indexOf('# configuration file /etc/nginx/gitcache'))
  const [, server = ''] =
    /(# configuration file \S*a\.conf:[\s\S]*?)# configuration file/.exec(RIGHT) ?? []
  expect(found([site, ...both, server].join('\n'))).toEqual([])
})

test.each([
  ['access_log', 'warn', 'no access_log reports'],
  ['set \\$gitcache_upstream', 'fail', '$gitcache_upstream is not set'],
  ['js_import', 'fail', 'gitcache-http.conf is not included'],
  ['location ~', 'fail', 'gitcache-location.conf is not included'],
])('what is commented out is not set: %s', (directive, level, text) => {
  const dump = RIGHT.replace(new RegExp(`^(\\s*)(${directive})`, 'm'), '$1# $2')
  expect(dump).not.toBe(RIGHT)
  expect(found(dump)).toEqual([
    expect.objectContaining({ level, text: expect.stringContaining(text) }),
  ])
})

describe('what nginx gives to no nested location', () => {
  const PLACE = 'location / of server git.example.org'
  const astray = (location: string) =>
    `${location} of server git.example.org does not match the locations inside: its fetches go astray`

  test.each([
    ['# here', 'access_log /var/log/own.log;', `no access_log reports to the sidecar for ${PLACE}`],
    [
      'proxy_pass http',
      'access_log off; proxy_pass http',
      `no access_log reports to the sidecar for ${PLACE}`,
    ],
    [
      'proxy_pass http',
      'if ($ssl_client_verify != SUCCESS) { return 403; } proxy_pass http',
      `\`if ($ssl_client_verify != SUCCESS)\` in ${PLACE} does not hold for git-upload-pack`,
    ],
    [
      'proxy_pass http',
      'limit_except GET { deny all; } proxy_pass http',
      `\`limit_except GET\` in ${PLACE} does not hold for git-upload-pack`,
    ],
    [
      'proxy_pass http',
      "rewrite '^/git/(.*)$' /$1 break; proxy_pass http",
      `\`rewrite ^/git/(.*)$ /$1 break\` in ${PLACE} does not hold for git-upload-pack`,
    ],
    [
      'proxy_pass http',
      'set $gitcache_prefix /git; proxy_pass http',
      `\`set $gitcache_prefix\` in ${PLACE} does not hold for git-upload-pack`,
    ],
    [
      'location / {',
      String.raw`location ~ \.git/(info/refs|git-upload-pack)$ {`,
      astray(String.raw`location ~ \.git/(info/refs|git-upload-pack)$`),
    ],
    [
      'location / {',
      `location ~* "^/[^/]+/[^/]{1,9}/git-[a-z-]+$" {`,
      astray('location ~* ^/[^/]+/[^/]{1,9}/git-[a-z-]+$'),
    ],
  ])('%s: %s', (from, to, text) => {
    expect(found(RIGHT.replace(from, () => to)).map((finding) => finding.text)).toEqual([text])
  })

  test.each([
    ['a regex without an end', 'location / {', String.raw`location ~ \.git/ {`],
    ['a condition in the server', '# here', 'if ($http_user_agent ~* bot) { return 403; }'],
    [
      'a location beside it',
      '# here',
      'location /x { set $y z; if ($y) { return 403; } access_log off; }',
    ],
    ['a map in its place', 'set $gitcache_upstream http://forge;', ''],
  ])('%s is right', (_, from, to) => {
    const map = 'map $uri $gitcache_upstream { ~^/a/ http://forge; }\n    include sites'
    const dump = RIGHT.replace(from, () => to)
    expect(found(to === '' ? dump.replace('include sites', map) : dump)).toEqual([])
  })

  const changedTo = ({ at = '/', pass = 'http://forge', set = '' }) =>
    RIGHT.replace('# here', () => (set === '' ? '' : `set ${set};`))
      .replace('location / {', `location ${at} {`)
      .replace('proxy_pass http://forge;', () => `proxy_pass ${pass};`)

  test.each([
    [
      'another upstream',
      { pass: 'http://other' },
      'refs of location / of server git.example.org are of http://other, fetches of $gitcache_upstream http://forge',
    ],
    ['a path without a prefix', { at: '/git/', pass: 'http://forge/' }, 'refs of location /git/'],
    ['a path in place', { pass: 'http://forge/scm/' }, 'refs of location /'],
    [
      'a prefix, and no path',
      { at: '/git/', set: '$gitcache_prefix /git' },
      'refs of location /git/',
    ],
    [
      'another path than is said',
      { at: '/git/', pass: 'http://forge/a/', set: '$gitcache_prefix /git' },
      'refs of location /git/',
    ],
    [
      'a slash behind the upstream',
      { set: '$gitcache_upstream http://forge/' },
      '$gitcache_upstream http://forge/',
    ],
    [
      'a slash behind the prefix',
      { at: '/git/', pass: 'http://forge/', set: '$gitcache_prefix /git/' },
      '$gitcache_prefix /git/',
    ],
    [
      'no slash before it',
      { set: '$gitcache_upstream_prefix scm' },
      '$gitcache_upstream_prefix scm',
    ],
    ['a switch that is none', { set: '$gitcache_enabled Off' }, '$gitcache_enabled Off'],
    ['a number that is none', { set: '$gitcache_max_tags lots' }, '$gitcache_max_tags lots'],
    ['a name that is none', { set: '$gitcache_enabld off' }, '$gitcache_enabld is no setting'],
  ])('%s is found', (_, changed, text) => {
    expect(
      found(changedTo(changed)).map((finding) => finding.text.slice(0, text.length))
    ).toContain(text)
  })

  test.each([
    ['a path and its prefix', { at: '/git/', pass: 'http://forge/', set: '$gitcache_prefix /git' }],
    [
      'both prefixes',
      {
        at: '/git/',
        pass: 'http://forge/a/',
        set: '$gitcache_prefix /git; set $gitcache_upstream_prefix /a',
      },
    ],
    [
      'no slash on both sides',
      {
        at: '/git',
        pass: 'http://forge/a',
        set: '$gitcache_prefix /git; set $gitcache_upstream_prefix /a',
      },
    ],
    ['a slash alone', { pass: 'http://forge/' }],
    ['the port of the scheme', { pass: 'http://forge:80' }],
    ['a variable', { pass: 'http://$forge' }],
    ['a prefix of another location', { set: '$gitcache_prefix /git' }],
    ['a switch', { set: '$gitcache_enabled off' }],
    ['a switch by a variable', { set: '$gitcache_enabled $cached' }],
  ])('%s is right', (_, changed) => {
    expect(found(changedTo(changed))).toEqual([])
  })

  const regex = (pattern: string) =>
    `location ~ ${pattern} { auth_basic x; proxy_pass http://forge; }`
  const notHeld = (location: string, place = PLACE) =>
    `location ${location} does not hold for git-upload-pack: of ${place} the locations inside come first`
  const include = 'include gitcache/gitcache-location.conf;'

  test.each([
    ['an expression beside it', '# here', regex('^/private/'), notHeld('~ ^/private/')],
    ['one without a case', '# here', 'location ~* secret { deny all; }', notHeld('~* secret')],
    [
      'a prefix inside',
      'proxy_pass http://forge;',
      'location /private/ { deny all; } proxy_pass http://forge;',
      notHeld('/private/'),
    ],
    ['an expression inside, behind', include, `${include} ${regex('^/b/')}`, notHeld('~ ^/b/')],
    [
      'a variable that both set',
      '# here',
      'set $token ""; auth_request_set $token $upstream_http_x;',
      `\`auth_request_set $token\` does not hold for git-upload-pack in ${PLACE}: the server's \`set $token\` undoes it`,
    ],
    [
      "the client's Host, and no part of the key",
      '# here',
      'set $gitcache_vhost ""; proxy_set_header host $http_host;',
      `Host is \`$http_host\` in ${PLACE}, and $http_host is not in $gitcache_vhost: another host's answers may be taken for this one's`,
    ],
    [
      'a Host that the client chooses otherwise',
      '# here',
      'set $gitcache_vhost "$server_name $host"; proxy_set_header Host $ssl_server_name;',
      `Host is \`$ssl_server_name\` in ${PLACE}, and $ssl_server_name is not in $gitcache_vhost: another host's answers may be taken for this one's`,
    ],
    [
      'an expression for fetches alone',
      '# here',
      regex('^/private/.*/git-upload-pack$'),
      notHeld('~ ^/private/.*/git-upload-pack$'),
    ],
    [
      'an expression of which a part has an ending',
      '# here',
      regex(String.raw`^/private/|\.php$`),
      notHeld(String.raw`~ ^/private/|\.php$`),
    ],
    [
      'a prefix inside with an expression of its own',
      include,
      `location /b/ { location ~ /git-upload-pack$ { deny all; } } ${include}`,
      notHeld('/b/'),
    ],
  ])('%s protects nothing', (_, from, to, text) => {
    expect(found(RIGHT.replace(from, () => to)).map((finding) => finding.text)).toEqual([text])
  })

  test.each([
    ['a prefix with ^~ beside it', '# here', `location ^~ /private/ { deny all; }`],
    ['a longer prefix beside it', '# here', 'location /private/ { deny all; }'],
    ['an expression inside, before', include, `${regex('^/b/')} ${include}`],
    ['a prefix inside with its own', include, `location /b/ { ${include} } ${include}`],
    ['a prefix inside with ^~', include, `location ^~ /b/ { deny all; } ${include}`],
    ...[
      String.raw`\.(?:css|js)$`,
      String.raw`\.(jpe?g|png|woff2?)$`,
      String.raw`\.php$`,
      '/-/(health|metrics)$',
      String.raw`^/(favicon\.ico|robots\.txt)$`,
      String.raw`\.(git|svn)/config$`,
      '^/metrics$',
    ].map((ending) => [`the ending of ${ending}`, '# here', regex(ending)]),
    ['what protects nothing', '# here', 'location ~ ^/(assets)/ { expires max; root /srv; }'],
    ['a fixed Host', '# here', 'set $gitcache_vhost ""; proxy_set_header Host git.example.org;'],
    ["the client's Host", '# here', 'set $gitcache_vhost $host; proxy_set_header Host $host;'],
    [
      'a Host that is in the key',
      '# here',
      'set $gitcache_vhost "$host $ssl_server_name"; proxy_set_header Host $ssl_server_name;',
    ],
    ['two variables', '# here', 'set $a ""; auth_request_set $b $upstream_http_x;'],
  ])('%s protects as before', (_, from, to) => {
    expect(found(RIGHT.replace(from, () => to))).toEqual([])
  })

  test('an expression of names that no repository has is said, and no failure', () => {
    const dump = RIGHT.replace('# here', () => String.raw`location ~ /\.(ht|git) { deny all; }`)
    expect(found(dump).map(({ level }) => level)).toEqual(['warn'])
  })

  test('an expression with the include, and others around it', () => {
    const dump = RIGHT.replace('location / {', 'location ~ ^/ {').replace('# here', regex('^/b/'))
    expect(found(dump)).toEqual([])
  })

  test.each([
    [
      'a group of the location',
      '',
      'proxy_set_header X-Tenant $1;',
      '$1 in `proxy_set_header X-Tenant $1`',
    ],
    [
      'a group of server_name',
      '',
      'set $tenant $2; proxy_set_header X-Tenant $tenant;',
      '$2 in `set $tenant $2`',
    ],
    [
      'a map on a group',
      'map $1 $realm { private x; default off; }',
      'auth_basic $realm;',
      '$1 in `map $1 $realm`',
    ],
    [
      'a map behind a map',
      'map $1 $who { default $1; } map "a$who" $service { default ""; }',
      'proxy_set_header Authorization $service;',
      '$1 in `map $1 $who`',
    ],
    [
      'a map on the path, to its end',
      'map $uri $s { ~^/b/.*/git-upload-pack$ ""; }',
      'auth_basic $s;',
      '$uri in `map $uri $s`',
    ],
    [
      'a map on what follows the repository',
      'map $uri $s { ~^/b/[^/]+/(info/refs|git-upload-pack) x; }',
      'auth_basic $s;',
      '$uri in `map $uri $s`',
    ],
    [
      'a map on whole paths',
      'map $document_uri $s { /b ""; }',
      'auth_basic $s;',
      '$document_uri in `map $document_uri $s`',
    ],
    [
      'a map to the path',
      'map $host $s { default $uri; }',
      'auth_basic $s;',
      '$uri in `map $host $s`',
    ],
    [
      'the path itself',
      '',
      'proxy_set_header X-Path $uri;',
      '$uri in `proxy_set_header X-Path $uri`',
    ],
    [
      'a map of a setting',
      'map $1 $gitcache_vhost { default $1; }',
      '',
      '$1 in `map $1 $gitcache_vhost`',
    ],
  ])('%s is another one inside', (_, map, inServer, text) => {
    const dump = RIGHT.replace('include sites', `${map} include sites`).replace(
      '# here',
      () => inServer
    )
    const texts = found(dump).map((finding) => finding.text)
    expect(texts).toEqual([
      `${text} is another one for git-upload-pack in ${PLACE}: the locations inside have expressions and paths of their own`,
    ])
  })

  test.each([
    ['$1.internal', '`proxy_set_header X-Host $1.internal`'],
    ['$proxy_host', '`proxy_set_header X-Host $proxy_host` names the sidecar'],
    ['$host:$proxy_port', '`proxy_set_header X-Host $host:$proxy_port` names the sidecar'],
  ])('a header %s', (value, text) => {
    const texts = found(RIGHT.replace('# here', () => `proxy_set_header X-Host ${value};`))
    expect(texts.map((finding) => finding.text)).toEqual([expect.stringContaining(text)])
  })

  test.each([
    ['^/(.*)$ /git/$1', 1],
    ['^/(.*)$ /git/$1 last', 1],
    ['^(.*)$ /git$1 break', 1],
    ['^/(.*)$ https://other.example/$1 permanent', 0],
    ['^/(.*)$ /git/$1 redirect', 0],
    ['^/old/(.*)$ /new/$1', 0],
    ['^/(?!git/)(.*)$ /git/$1', 0],
    ['^(.*)$ $1', 0],
    ['^/(?<all>.*)$ /git/$all', 1],
    ['^/(*UTF8)x /y', 0],
    ['(?i)^/(.*)$ /git/$1', 1],
    [String.raw`^/(.+?)(?:\.git)?/(info/refs|git-upload-pack)$ /$1.git/$2`, 1],
    ['^(.*)$ https://$host$1', 0],
    ['^(.*)$ $scheme://$host$1', 0],
  ])("the server's rewrite %s is done twice: %i", (rewrite, times) => {
    const texts = found(RIGHT.replace('# here', () => `rewrite ${rewrite};`))
    expect(texts.map(({ text }) => text)).toEqual(
      times === 0
        ? []
        : [`\`rewrite ${rewrite}\` of the server is done again on its own result in ${PLACE}`]
    )
  })

  test.each([
    ['a named group', '', 'proxy_set_header X-Tenant $tenant;'],
    ['the request as it came', '', 'proxy_set_header X-Path $request_uri;'],
    ['a map on it', 'map $request_uri $s { ~^/b/.*/git-upload-pack$ ""; }', 'auth_basic $s;'],
    [
      'a map by the beginning of the path',
      'map $uri $s { default ""; ~^/b/ x; }',
      'auth_basic $s;',
    ],
    ['a set that nothing uses', '', 'set $a $uri; set $b $1;'],
    [
      'a header of http that the server has anew',
      'proxy_set_header X-P $uri;',
      'proxy_set_header X-A b;',
    ],
    ['a map that nothing uses', 'map $1 $s { default ""; }', ''],
    ['a log', 'map $uri $s { /b ""; }', 'access_log /dev/null combined if=$s;'],
    ['the group of an if', '', 'if ($host ~ ^(\\w+)) { set $a $1; }'],
    ['groups of its own expression', 'map $host $s { ~^(\\w+) $1; }', 'auth_basic $s;'],
    ['Host by proxy_pass', '', 'proxy_set_header Host $proxy_host;'],
  ])('%s is the same inside', (_, map, inServer) => {
    const dump = RIGHT.replace('include sites', () => `${map} include sites`)
    const texts = found(dump.replace('# here', () => inServer)).filter(
      ({ text }) => !text.startsWith('no access_log')
    )
    expect(texts).toEqual([])
  })

  test.each([
    ['js_body_filter', 'fail', 'js_body_filter x.y;'],
    ['js_header_filter', 'warn', 'js_header_filter x.y;'],
    ['alias', 'fail', 'alias /srv/;'],
    ['a length', 'fail', 'proxy_set_header Content-Length $content_length;'],
    ['Lua', 'warn', 'access_by_lua_file /x.lua;'],
  ])('%s beside the include: %s', (_, level, directive) => {
    const dump = RIGHT.replace('proxy_pass http://forge;', `${directive} $&`)
    expect(found(dump).map((finding) => finding.level)).toEqual([level])
    const elsewhere = RIGHT.replace('# here', `location ^~ /x/ { ${directive} }`)
    expect(found(elsewhere)).toEqual([])
  })

  test.each([
    ['server a; server b;', 1],
    ['server a max_fails=0; server b;', 1],
    ['server a max_fails=0; server b max_fails=0;', 0],
    ['server a;', 0],
  ])('upstream with %s: warned of %i times', (servers, times) => {
    const texts = found(RIGHT.replace('server 10.0.0.5:3000;', servers)).map(({ text }) => text)
    expect(texts).toEqual(times === 0 ? [] : [expect.stringContaining('has several servers')])
  })

  test.each([
    ['if ($uri !~ "^/[^/_]+/(info/refs|git-upload-pack)$") { return 404; }', 1],
    ['if ($uri ~ "^/private/") { return 403; }', 0],
    ['if ($request_uri ~ "git-upload-pack$") { return 403; }', 0],
  ])('%s is asked again: %i', (condition, times) => {
    expect(found(RIGHT.replace('# here', () => condition))).toHaveLength(times)
  })

  test('two fixed Hosts of one upstream want a $gitcache_vhost each', () => {
    const at = (host: string, vhost: string) =>
      `server { listen 8${host.length}; set $gitcache_upstream http://forge; set $gitcache_vhost "${vhost}"; location / { proxy_set_header Host ${host}; proxy_pass http://forge; include gitcache/gitcache-location.conf; } }\n`
    const two = (first: string, second: string) =>
      RIGHT.replace(
        '# configuration file /etc/nginx/gitcache/gitcache-location',
        `${at('a.example', first)}${at('bb.example', second)}$&`
      )
    expect(found(two('', '')).map(({ text }) => text)).toEqual([
      '$gitcache_vhost is "" for Host a.example and for Host bb.example, of location / of server 810: one\'s answers would be the other\'s',
    ])
    expect(found(two('a.example', 'bb.example'))).toEqual([])
  })

  test('a second server without its own', () => {
    const second =
      'server { listen 81; location /b/ { include gitcache/gitcache-location.conf; } }\n'
    const texts = found(
      RIGHT.replace('# configuration file /etc/nginx/gitcache/gitcache-location', `${second}$&`)
    )
    expect(texts.map(({ text }) => text)).toEqual([
      '$gitcache_upstream is not set for location /b/ of server 81: its fetches get 500',
    ])
  })

  test('what cannot be read is said', () => {
    const lua = 'content_by_lua_block { if x then y = "}" end -- it\'s }'
    expect(checkPlaces(RIGHT.replace('# here', lua))).toEqual([
      expect.objectContaining({ level: 'warn', text: expect.stringContaining('where') }),
    ])
  })
})

describe('what the sidecar has as well', () => {
  const dump = `upstream gitcache_sidecar {
    server unix:/run/s.sock max_fails=0;
}
map "" $gitcache_packs { default /srv/cache/packs; }
access_log syslog:server=127.0.0.1:7419,tag=gitcache,nohostname gitcache_report if=$gitcache_result;`

  test('is the same', () => {
    const same = { socket: ['/run/s.sock'], data: ['/srv/cache'], reports: ['127.0.0.1:7419'] }
    expect(checkBothSides(dump, same)).toEqual([])
    expect(checkBothSides(dump, {})).toEqual([])
  })

  test.each([
    [{ socket: ['/run/t.sock'] }, '--socket: nginx has /run/s.sock, and not /run/t.sock'],
    [{ data: ['/srv'] }, '--data: nginx has /srv/cache/packs, and not /srv/packs'],
    [{ reports: ['127.0.0.1:1'] }, '--reports: nginx has 127.0.0.1:7419, and not 127.0.0.1:1'],
  ])('%j is not', (raw, text) => {
    expect(checkBothSides(dump, raw)).toEqual([expect.objectContaining({ level: 'fail', text })])
  })

  test('a secret is compared, and neither of them shown', () => {
    const file = path.join(work.dir, 'secret')
    writeFileSync(file, `${'s'.repeat(32)}\n`)
    const checked = (secret: string) =>
      checkBothSides(`${dump}\nset $gitcache_secret ${secret};`, { 'secret-file': [file] })
    expect(checked('s'.repeat(32))).toEqual([])
    const different = checked('t'.repeat(32))
    expect(different.map(({ text }) => text)).toEqual([`--secret-file ${file}: nginx has another`])
    expect(JSON.stringify(different)).not.toMatch(/ssss|tttt/)
  })
})

test('whether somebody listens', async () => {
  const file = path.join(work.dir, 'socket')
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(file, resolve))
  expect(await canConnect(file)).toBe(true)
  await new Promise((resolve) => server.close(resolve))
  expect(await canConnect(file)).toBe(false)
  expect(await canConnect('127.0.0.1:1')).toBe(false)
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
  ['owner/repo.git', '/owner/repo'],
  ['/owner/repo/', '/owner/repo'],
  ['https://git.example.org/owner/repo.git', '/owner/repo'],
])('purge %s: %s', (given, repository) => {
  expect(readRepository(given)).toBe(repository)
})

test('a name that is none is refused, and no password shown', () => {
  expect(() => readRepository('https://me:hunter2@git.example.org/a b')).toThrow(/is not the path/)
  expect(() => readRepository('https://me:hunter2@git.example.org/a b')).not.toThrow(/hunter2/)
})
