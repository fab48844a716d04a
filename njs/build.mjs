/** Bundles the module for every njs from 0.7.9 on into dist/gitcache.js. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))

/**
 * What njs 0.7.9 can run. With target es5, esbuild lowers what it can and refuses the rest with file
 * and line: classes, destructuring, array spread, for-of, generators, default parameters.
 */
export const NJS_OPTIONS = {
  absWorkingDir: root,
  bundle: true,
  format: 'esm',
  platform: 'neutral',
  mainFields: ['module', 'main'],
  target: 'es5',
  charset: 'ascii',
  legalComments: 'none',
  external: ['crypto', 'fs'],
  logLevel: 'error',
  supported: {
    'const-and-let': true,
    arrow: true,
    'template-literal': true,
    'async-await': true,
    'object-extensions': true,
    'object-accessors': true,
    'exponent-operator': true,
    'nullish-coalescing': true,
    'regexp-lookbehind-assertions': true,
    'regexp-named-capture-groups': true,
    'regexp-sticky-and-unicode-flags': true,
    'rest-argument': false,
  },
}

/** What esbuild lets through and an engine then dies of: a pattern on the source, and why. */
const FORBIDDEN = [
  [/\b\d+n\b/g, 'BigInt'],
  [
    /\bimport\s*(\w+\s*,\s*)?[{*][^;'"]*?from\s*['"](crypto|fs)['"]/g,
    'named or star import of a built-in module',
  ],
  [
    /[=(,:!&|?\s]\/(?![*/])(\\.|\[(\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[gimy]*[su]/g,
    'regular expression flag s or u',
  ],
  [
    /\.(flat|flatMap|at|findLast|replaceAll|matchAll)\(|Array\.from\(/g,
    'method that njs 0.7.9 lacks',
  ],
  [/\bnew (Map|Set|WeakMap|WeakSet)\b/g, 'class that njs lacks'],
]

/** `line: why: text` for each place that some engine cannot run. */
export function forbidden(source) {
  const code = blankComments(source)
  const lines = source.split('\n')
  const found = FORBIDDEN.flatMap(([pattern, why]) =>
    [...code.matchAll(pattern)].map((match) => [match.index + match[0].search(/\S/), why])
  )
  const awaits = [...code.matchAll(/\bawait\b/g)]
    .filter((match) => isInCall(code, match.index))
    .map((match) => [match.index, 'await inside call arguments'])
  return [...found, ...awaits].map(([at, why]) => {
    const line = code.slice(0, at).split('\n').length
    return `${line}: ${why}: ${lines[line - 1].trim()}`
  })
}

const KEYWORDS = ['if', 'while', 'for', 'switch', 'return', 'await', 'async']

/** Whether a parenthesis that is open at `at` is a call's, up to the start of the statement. */
function isInCall(code, at) {
  let closed = 0
  for (let i = at - 1; i >= 0; i--) {
    const c = code[i]
    if (c === ')') closed += 1
    else if (c === '(' && closed > 0) closed -= 1
    else if (c === '(' && isCallee(code.slice(0, i).trimEnd())) return true
    else if (closed === 0 && /[{};]/.test(c)) return false
  }
  return false
}

function isCallee(before) {
  const word = /\w+$/.exec(before)?.[0]
  return word === undefined ? /[\])]$/.test(before) : !KEYWORDS.includes(word)
}

/** Comments become spaces, so that lines keep their numbers. */
function blankComments(source) {
  const blank = (text) => text.replace(/[^\n]/g, ' ')
  return source.replace(/^\s*\/\*[\s\S]*?\*\//gm, blank).replace(/(^|\s)\/\/.*$/gm, blank)
}

/** An esbuild plugin that refuses, with file and line, what esbuild itself does not. */
const refuse = {
  name: 'njs-dialect',
  setup(builder) {
    builder.onLoad({ filter: /\.ts$/ }, async ({ path: file }) => {
      const contents = await readFile(file, 'utf8')
      const errors = forbidden(contents).map((text) => ({ text: `${file}:${text}` }))
      return errors.length > 0 ? { errors } : { contents, loader: 'ts' }
    })
  },
}

/**
 * Each request and subrequest runs a bundle's top level in a context of its own, which makes a function
 * of every declaration. What stands in these modules, and in all that they import, is made anew by
 * each call of what they export: nginx's variables and filters do without the first, and hits without
 * the others. They export functions alone.
 */
const ON_DEMAND =
  /^njs\/src\/(nginx\/(upload-pack|sidecar)|git\/(gzip|protocol-v0|protocol-v2|tag-state))\.ts$/

/** An esbuild plugin: each of these modules is a bundle of its own. */
function onDemand(plugins) {
  return {
    name: 'njs-on-demand',
    setup(builder) {
      builder.onResolve({ filter: /\.ts$/ }, ({ path: file, resolveDir, kind }) => {
        // From the root: esbuild writes it into the bundle, which is the same wherever it is built.
        const name = path.relative(root, path.resolve(resolveDir, file))
        const made = kind === 'import-statement' && ON_DEMAND.test(name)
        return made ? { path: name, namespace: 'on-demand' } : undefined
      })
      builder.onLoad({ filter: /./, namespace: 'on-demand' }, async ({ path: file }) => ({
        contents: wrap(await bundle(path.join(root, file), plugins)),
        loader: 'js',
      }))
    },
  }
}

/** A bundle as a function that runs it, and its exports as functions that call that first. */
function wrap(code) {
  const [, list] = /export \{([^}]*)\};\s*$/.exec(code)
  const names = list.split(',').map((name) => name.trim())
  const imports = code.match(/^import .*$/gm) ?? []
  const body = code.replace(/^import .*$|^export [^;]*;\s*$/gm, '')
  const calls = names.map(
    (name) => `export function ${name}() { return run().${name}.apply(null, arguments) }`
  )
  return [
    ...imports,
    `function run() {\n${body}\nreturn { ${names.join(', ')} }\n}`,
    ...calls,
  ].join('\n')
}

async function bundle(entry, plugins) {
  const result = await build({
    ...NJS_OPTIONS,
    entryPoints: [entry],
    write: false,
    plugins: [onDemand(plugins), ...plugins],
  })
  return result.outputFiles[0].text
}

/** Bundles one entry point, with more plugins of esbuild's where a test weakens it; njs before 0.7.12 cannot read the export that esbuild writes. */
export async function bundleForNjs(entry, outfile, plugins = []) {
  const code = await bundle(entry, [...plugins, refuse])
  await mkdir(path.dirname(outfile), { recursive: true })
  await writeFile(
    outfile,
    code.replace(/export \{\s*(\S+) as default\s*\};\s*$/, 'export default $1;\n')
  )
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await bundleForNjs(path.join(root, 'njs/src/main.ts'), path.join(root, 'dist/gitcache.js'))
  } catch (error) {
    // esbuild has printed file and line.
    process.exitCode = 1
    if (!error.errors) throw error
  }
}
