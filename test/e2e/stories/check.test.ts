/** `nginx-git-cache check`: each thing that can be wrong with a set-up is named, and how to mend it. */
import { expect, test } from 'vitest'
import { layOutProduct } from '../support/product.ts'

import { client, must, sh, uniqueId } from '../support/servers.ts'
import { onEachNginx } from '../support/versions.ts'

const UPSTREAM = '--upstream http://upstream=http://upstream:80'

interface Row {
  name: string
  /** Shell in a copy of the suite's nginx directory, which is right. */
  edit?: string
  /** Options; else those that fit. */
  options?: string
  /** A line that is printed, and that a right set-up does not print. */
  line: RegExp
  /** How many checks fail, where it is more than this one. */
  fails?: number
}

const ROWS: Row[] = [
  {
    name: 'nginx without its js module',
    edit: "sed -i '/^load_module/d' nginx.conf",
    line: /^fail nginx -t: unknown directive "js_import".*: load_module .*libnginx-mod-http-js/m,
  },
  {
    name: 'http {} without our file',
    edit: "sed -i '/include gitcache.gitcache-http/d; /gitcache_packs/d; /access_log syslog/d; /log_format/d; /access_log/d; /map .*gitcache/d; /set .gitcache/d' nginx.conf",
    line: /^fail nginx -t: (unknown "gitcache_\w+" variable|no imports).*: include gitcache-http.conf in http/m,
  },
  {
    name: 'no location with our file',
    edit: "sed -i 's/include gitcache.gitcache-location.conf;//' nginx.conf",
    line: /^fail gitcache-location.conf is not included: include it in the location with proxy_pass/m,
  },
  {
    name: 'include files of another version',
    edit: "sed -i '1s/nginx-git-cache [0-9.]*/nginx-git-cache 0.0.7/' gitcache/gitcache-location.conf",
    line: /^fail include files of version 0\.0\.7, this is \d.*: copy the files/m,
  },
  {
    name: 'a module that does not parse',
    edit: "printf 'function (' > gitcache/gitcache.js",
    line: /^fail nginx -t: .*: copy gitcache\.js of this version/m,
  },
  {
    name: 'no $gitcache_upstream',
    edit: "sed -i '/map .*gitcache_upstream/d; /set .gitcache_upstream/d' nginx.conf",
    fails: 4,
    line: /^fail \$gitcache_upstream is not set for location \/fault\/ of server \S+: its fetches get 500: set \$gitcache_upstream/m,
  },
  {
    name: 'a name that needs a resolver',
    edit: "sed -i 's!set .gitcache_upstream http://gitea;!set $gitcache_upstream http://elsewhere;!' nginx.conf",
    fails: 2,
    line: /^fail \$gitcache_upstream http:\/\/elsewhere needs a resolver: write upstream elsewhere \{/m,
  },
  {
    name: 'refs of one forge and fetches of another',
    edit: "sed -i 's!set .gitcache_upstream http://gitea;!set $gitcache_upstream http://upstream;!' nginx.conf",
    line: /^fail refs of location \/ of server 8081 are of http:\/\/gitea, fetches of \$gitcache_upstream http:\/\/upstream: /m,
  },
  {
    name: 'a prefix that proxy_pass does not replace',
    edit: "sed -i 's!set .gitcache_upstream http://gitea;!& set $gitcache_upstream_prefix /a;!' nginx.conf",
    line: /^fail refs of location \/ of server 8081 and its fetches are not those of one repository: /m,
  },
  {
    name: 'nobody reports hits',
    edit: "sed -i '/access_log syslog/d' nginx.conf",
    line: /^warn no access_log reports to the sidecar for location \/fault\/ of server \S+: /m,
  },
  {
    name: 'a condition that nginx gives to no nested location',
    edit: "sed -i 's|location /fault/ {|& if ($http_x_key != sesame) { return 403; }|' nginx.conf",
    line: /^fail `if \(\$http_x_key != sesame\)` in location \/fault\/ of server \S+ does not hold for git-upload-pack: put it in the server, or use auth_request/m,
  },
  {
    name: 'no sidecar',
    edit: "sed -i 's!sidecar/sidecar.sock!sidecar/other-sidecar.sock!' gitcache/gitcache-http.conf",
    line: /^fail \S*other-sidecar\.sock is not there: start the sidecar/m,
  },
  {
    name: 'a sidecar that was killed',
    edit: `perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => "dead.sock", Listen => 1) or die'; chmod 666 dead.sock; sed -i "s!unix:[^ ;]*sidecar.sock!unix:$PWD/dead.sock!" gitcache/gitcache-http.conf`,
    line: /^fail no sidecar answers at \S*dead\.sock: start it/m,
  },
  {
    name: "a socket that nginx's user cannot open",
    edit: "sed -i 's/^user www-data/user games/' nginx.conf",
    fails: 2,
    line: /^fail games cannot reach \S*sidecar\.sock: .*must be open to it/m,
  },
  {
    name: 'packs that nginx cannot enter',
    edit: "sed -i 's!default /w/data/[a-z]*/packs!default /root/packs!' nginx.conf; mkdir -p /root/packs",
    line: /^fail www-data cannot reach \/root\/packs: /m,
  },
  {
    name: 'a name that nginx does not have',
    options: '--upstream http://Upstream=http://upstream:80 --repository pub/small.git',
    line: /^fail --upstream http:\/\/Upstream is no \$gitcache_upstream of nginx \(.*http:\/\/upstream[,)]/m,
  },
  {
    name: 'a name with a port, where upstream {} has none',
    edit: "sed -i 's!set .gitcache_upstream http://gitea;!set $gitcache_upstream http://gitea:3000;!' nginx.conf",
    fails: 2,
    line: /^fail \$gitcache_upstream http:\/\/gitea:3000 needs a resolver: .* without a port/m,
  },
  {
    name: 'nobody listens there',
    options: '--upstream http://upstream=http://127.0.0.1:1 --repository pub/small.git',
    line: /^fail http:\/\/127\.0\.0\.1:1\/pub\/small\.git: .*: check the address/m,
  },
  {
    name: 'a repository that is not there',
    options: `${UPSTREAM} --repository pub/none.git`,
    line: /^fail \S*pub\/none\.git\/info\/refs: 404: give a --repository that everyone may read/m,
  },
  {
    name: 'one that needs credentials',
    options: `${UPSTREAM} --repository priv/small.git`,
    line: /^fail \S*priv\/small\.git\/info\/refs: 401: give a --repository that everyone may read/m,
  },
  {
    name: 'no repository to ask for',
    options: UPSTREAM,
    line: /^warn http:\/\/upstream was not asked: give --repository PATH/m,
  },
]

onEachNginx((suite) => {
  async function check({ edit = '', options = `${UPSTREAM} --repository pub/small.git` }) {
    const dir = `/w/work/${uniqueId('check')}`
    await must(client(suite), `cp -r /w/nginx/${suite} ${dir}; cd ${dir}; ${edit}`)
    return sh(
      client(suite),
      `timeout 60 ${layOutProduct()} check --nginx-conf ${dir}/nginx.conf ${options}`
    )
  }

  test('nothing is wrong', async () => {
    const { code, out } = await check({})
    expect(out.split('\n').filter((line) => !/^ok {3}\S/.test(line))).toEqual([])
    expect(out).toMatch(/^ok {3}http:\/\/upstream\/pub\/small\.git answers the probe$/m)
    expect(code).toBe(0)
  })

  test.each(ROWS)('$name', async ({ line, fails = 1, ...row }) => {
    const { code, out } = await check(row)
    expect(out).toMatch(line)
    const expected = String(line).startsWith('/^fail') ? fails : 0
    expect(
      out.split('\n').filter((text) => text.startsWith('fail ')),
      out
    ).toHaveLength(expected)
    const summary = new RegExp(
      `^nginx-git-cache: ${expected} of \\d+ checks failed: .*CHECK\\)$`,
      'm'
    )
    expect(summary.test(out), out).toBe(expected > 0)
    expect(code).toBe(expected > 0 ? 2 : 0)
  })
})
