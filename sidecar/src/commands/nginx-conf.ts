/** The private nginx of `run`: one server, the shipped include files, nothing of /etc/nginx. */
import type { Upstream } from '../upstreams.ts'

export interface Site {
  listen: string
  /** DIR/nginx, DIR/run, DIR/log, DIR/packs. */
  dirs: { prefix: string; run: string; log: string; packs: string }
  /** ngx_http_js_module.so, or null where nginx has it built in. */
  jsModule: string | null
  /** Workers' user when started as root. */
  user: string | null
  upstreams: Target[]
  /** The first path segment names the host. */
  byPath: boolean
  reports: string
}

/** An upstream as nginx needs it: `block` is its upstream{} name, stable since it is in the keys. */
export interface Target extends Upstream {
  block: string
  host: string
  server: string
  secure: boolean
  pathPrefix: string
}

export function targetOf(upstream: Upstream): Target {
  const url = new URL(upstream.url)
  const port = url.port || (url.protocol === 'https:' ? '443' : '80')
  const block = `${url.hostname.replace(/[^A-Za-z0-9.-]/g, '_')}_${port}`
  return {
    ...upstream,
    name: `${url.protocol}//${block}`,
    url: url.origin,
    block,
    host: url.host,
    server: `${url.hostname}:${port}`,
    secure: url.protocol === 'https:',
    pathPrefix: url.pathname.replace(/\/+$/, ''),
  }
}

export function writeNginxConf(site: Site): string {
  const { dirs } = site
  return `${site.jsModule === null ? '' : `load_module ${site.jsModule};`}
${site.user === null ? '' : `user ${site.user};`}
worker_processes auto;
pid ${dirs.run}/nginx.pid;
error_log ${dirs.log}/nginx-error.log warn;
events { worker_connections 4096; }
http {
    client_body_temp_path ${dirs.prefix}/tmp/body;
    proxy_temp_path ${dirs.prefix}/tmp/proxy;
    fastcgi_temp_path ${dirs.prefix}/tmp/fastcgi;
    uwsgi_temp_path ${dirs.prefix}/tmp/uwsgi;
    scgi_temp_path ${dirs.prefix}/tmp/scgi;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    server_tokens off;
    include gitcache/gitcache-http.conf;
    map "" $gitcache_packs { default ${dirs.packs}; }
    map "" $gitcache_vhost { default ""; }
${settingsMaps(site)}
    # These authenticate connections: one that is kept would be the next client's.
    map $http_authorization $gitcache_connection { default ""; "~*^(ntlm|negotiate)" close; }
    log_format gitcache '$remote_addr [$time_iso8601] "$request" $status $body_bytes_sent $request_time "$gitcache_result" $request_id';
    access_log ${dirs.log}/nginx-access.log gitcache;
    access_log syslog:server=${site.reports},tag=gitcache,nohostname gitcache_report if=$gitcache_result;
${site.upstreams.map(upstreamBlock).join('')}
    server {
        listen ${site.listen};
        client_max_body_size 0;
        proxy_http_version 1.1;
        proxy_request_buffering off;
        proxy_buffering off;
        proxy_read_timeout 3600s;
        proxy_send_timeout 3600s;
${site.byPath ? '        location / { return 404; }\n' : ''}${site.upstreams.map((target) => location(site, target)).join('')}    }
}
`
}

/**
 * With several upstreams, what the settings are depends on the first path segment: of $uri, by which
 * nginx chooses the location, and not of the raw $request_uri, which a `%2e%2e` leads elsewhere.
 */
function settingsMaps(site: Site): string {
  const rows = (value: (target: Target) => string) =>
    site.upstreams.map((target) => `${matcher(site, target)} "${value(target)}";`).join(' ')
  return `    map $uri $gitcache_upstream { ${rows((t) => t.name)} }
    map $uri $gitcache_prefix { ${rows((t) => (site.byPath ? `/${t.host}` : ''))} }
    map $uri $gitcache_upstream_prefix { ${rows((t) => t.pathPrefix)} }
    map $request_uri $gitcache_rest { ${site.byPath ? '"~^/[^/]+(?<gitcache_after_host>/.*)$" $gitcache_after_host;' : 'default $request_uri;'} }`
}

function matcher(site: Site, target: Target): string {
  return site.byPath ? `"~^/${target.host.replace(/[.[\]]/g, '\\$&')}/"` : 'default'
}

/** Kept for less long than the usual servers do (5 s): nginx sends no push twice. */
function upstreamBlock(target: Target): string {
  return `    upstream ${target.block} { server ${target.server} max_fails=0; keepalive 32; keepalive_timeout 4s; }\n`
}

function location(site: Site, target: Target): string {
  const origin = target.url
  return `        location ${site.byPath ? `^~ /${target.host}/` : '/'} {
            proxy_set_header Host ${target.host};
            proxy_set_header Connection $gitcache_connection;
            proxy_pass ${target.name}${target.pathPrefix}$gitcache_rest;
            proxy_redirect ${origin}${target.pathPrefix}/ ${site.byPath ? `/${target.host}/` : '/'};
${target.secure ? tls(target) : ''}            include gitcache/gitcache-location.conf;
        }
`
}

/** nginx's defaults verify nothing. */
function tls(target: Target): string {
  return `            proxy_ssl_server_name on;
            proxy_ssl_name ${new URL(target.url).hostname};
            proxy_ssl_verify on;
            proxy_ssl_verify_depth 4;
            proxy_ssl_trusted_certificate ${target.caFile ?? '/etc/ssl/certs/ca-certificates.crt'};
            proxy_ssl_protocols TLSv1.2 TLSv1.3;
${clientCertificate(target)}`
}

function clientCertificate({ clientCert, clientKey }: Target): string {
  return clientCert === undefined
    ? ''
    : `            proxy_ssl_certificate ${clientCert};
            proxy_ssl_certificate_key ${clientKey};
`
}
