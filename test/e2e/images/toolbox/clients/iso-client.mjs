#!/usr/bin/env node
// iso-client.mjs clone URL DIR | fetch DIR  [--depth N] [--user U --password P]
import fs from 'node:fs'
import { parseArgs } from 'node:util'
import git from 'isomorphic-git'
import http from 'isomorphic-git/http/node'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    depth: { type: 'string' },
    user: { type: 'string' },
    password: { type: 'string' },
  },
})

// Asked for only after a 401; a second one ends the attempt.
const credentials = values.user && {
  onAuth: () => ({ username: values.user, password: values.password }),
}
const common = { fs, http, ...credentials, ...(values.depth && { depth: Number(values.depth) }) }

async function run([command, ...rest]) {
  if (command === 'clone' && rest.length === 2) {
    return git.clone({ ...common, url: rest[0], dir: rest[1] })
  }
  if (command === 'fetch' && rest.length === 1) {
    return git.fetch({ ...common, dir: rest[0], remote: 'origin' })
  }
  throw new Error('usage: iso-client.mjs clone URL DIR | fetch DIR')
}

run(positionals).catch((error) => {
  console.error(`${error.name}: ${error.message}`)
  process.exitCode = 1
})
