/** nginx's configuration with all its includes, or nginx's own words against it and what they mean here. */
import { spawnSync } from 'node:child_process'
import type { Nginx } from './find-nginx.ts'
import { type Finding, fail } from './finding.ts'

/** nginx -T: the configuration with all its includes, or what nginx says against it. */
export function dumpConfiguration(nginx: Nginx, conf: string): string | Finding {
  const { status, stdout, stderr } = spawnSync(nginx.binary, ['-T', '-q', '-c', conf], {
    encoding: 'utf8',
  })
  if (status === 0) {
    return stdout
  }
  const { text, fix } = firstError(stderr)
  return fail(`nginx -t: ${text}`, fix)
}

/** nginx's own words why it does not start, without level and process id, and what they mean here. */
export function firstError(stderr: string): { text: string; fix: string } {
  const said = stderr.trim().split('\n')
  const line = said.find((one) => /\[emerg\]|\[alert\]/.test(one)) ?? said[0] ?? ''
  return { text: line.replace(/^.*\] (\d+#\d+: )?/, ''), fix: fixOf(line) }
}

function fixOf(line: string): string {
  const fixes: [RegExp, string][] = [
    [/Permission denied/, 'run the check as root, as nginx is started'],
    [
      /not allowed here in .*gitcache-location\.conf/,
      'include it in a location with proxy_pass, not in a server',
    ],
    [
      /unknown directive "js_/,
      'load_module modules/ngx_http_js_module.so; at the top (apt-get install libnginx-mod-http-js)',
    ],
    [
      /unknown "gitcache_|no imports defined/,
      'include gitcache-http.conf in http {} before the location',
    ],
    [
      /host not found in upstream/,
      'the name does not resolve: check it, or write an upstream {} with an address',
    ],
    [
      /SyntaxError|js.*module|failed to/i,
      'copy gitcache.js of this version beside the include files',
    ],
  ]
  return fixes.find(([pattern]) => pattern.test(line))?.[1] ?? 'mend it, then check again'
}

/** What is commented out is not set. */
export function withoutComments(dump: string): string {
  return dump.replace(/(^|\s)#.*$/gm, '')
}
