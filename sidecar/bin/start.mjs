/**
 * `npm start`: from a fresh checkout to a running cache. Installs what is missing, builds, and runs
 * `nginx-git-cache run`. Plain JavaScript without imports of ours: nothing is installed yet.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
const MODULE = '/usr/lib/nginx/modules/ngx_http_js_module.so'

function fail(line) {
  console.error(`nginx-git-cache: ${line}`)
  process.exit(2)
}

function has(command) {
  return spawnSync('sh', ['-c', `command -v ${command}`], { stdio: 'ignore' }).status === 0
}

/** Debian's packages of what is missing. nginx built elsewhere may have its js module elsewhere. */
function missingPackages() {
  const nginx = has('nginx') || existsSync('/usr/sbin/nginx')
  return [
    ...(has('git') ? [] : ['git']),
    ...(nginx ? [] : ['nginx']),
    ...(nginx && !existsSync('/usr/lib/nginx/modules')
      ? []
      : existsSync(MODULE)
        ? []
        : ['libnginx-mod-http-js']),
  ]
}

/** Without starting a service: nginx's package would take port 80. */
function installPackages(packages) {
  const command = `apt-get install -y --no-install-recommends ${packages.join(' ')}`
  if (process.getuid?.() !== 0) fail(`${packages.join(', ')} missing: run  sudo ${command}`)
  const policy = '/usr/sbin/policy-rc.d'
  const ours = !existsSync(policy)
  if (ours) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    execFileSync('sh', ['-c', `apt-get update -qq && ${command} -qq >/dev/null`], {
      env,
      stdio: ['ignore', 'inherit', 'inherit'],
    })
  } catch {
    fail(`${packages.join(', ')} could not be installed: run  ${command}`)
  } finally {
    if (ours) rmSync(policy, { force: true })
  }
}

function installLibraries() {
  const marker = path.join(root, 'node_modules/.package-lock.json')
  const lock = path.join(root, 'package-lock.json')
  if (existsSync(marker) && statSync(marker).mtimeMs >= statSync(lock).mtimeMs) return
  // All of them build: NODE_ENV=production would leave them out.
  const { status } = spawnSync(
    'npm',
    ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'],
    { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] }
  )
  if (status !== 0) fail('npm ci failed: see above, then run it again')
}

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19))
  fail(`Node ${process.versions.node} is too old: install 20.19 or later`)
const dist = path.join(root, 'dist')
try {
  accessSync(existsSync(dist) ? dist : root, constants.W_OK)
} catch {
  fail(`${dist} cannot be written: run npm start as the owner of this checkout`)
}
const missing = missingPackages()
if (missing.length > 0) installPackages(missing)
installLibraries()
for (const script of ['njs/build.mjs', 'sidecar/build.mjs']) {
  const { status } = spawnSync(process.execPath, [path.join(root, script)], {
    cwd: root,
    stdio: 'inherit',
  })
  if (status !== 0) fail(`${script} failed: see above`)
}
const main = path.join(root, 'dist/nginx-git-cache.mjs')
process.argv = [process.argv[0], main, 'run', ...process.argv.slice(2)]
await import(pathToFileURL(main).href)
