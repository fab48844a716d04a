/** The command line: `nginx-git-cache run|serve|check`. */
import { check } from './commands/check.ts'
import { run } from './commands/run.ts'
import { serve } from './commands/serve.ts'
import { OPTIONS, type RawOptions, readOptions } from './config.ts'
import { UserError } from './errors.ts'
import { VERSION } from './version.ts'

const COMMANDS: Record<string, { help: string; act: (raw: RawOptions) => Promise<void> }> = {
  run: { help: 'nginx and the sidecar, supervised, in the foreground', act: run },
  serve: { help: 'the sidecar alone, for an nginx of your own', act: serve },
  check: { help: 'what is wrong with a set-up, before nginx is reloaded', act: check },
}

function help(): string {
  const commands = Object.entries(COMMANDS).map(([name, row]) => `  ${name.padEnd(8)}${row.help}`)
  const options = Object.entries(OPTIONS).map(([name, row]) => {
    const fallback = 'default' in row ? ` (${row.default})` : ''
    return `  ${`--${name} ${row.value}`.padEnd(30)}${row.help}${fallback}`
  })
  return [
    'nginx-git-cache COMMAND [OPTION]...',
    ...commands,
    'Options; each has a twin in the environment, --git-processes is GITCACHE_GIT_PROCESSES:',
    ...options,
    'Examples:',
    '  nginx-git-cache run --upstream https://git.example.org',
    '  nginx-git-cache serve --upstream http://forge=http://10.0.0.5:3000',
  ].join('\n')
}

async function main(argv: string[]): Promise<void> {
  const [name = '', ...rest] = argv
  if (name === '--help' || name === '' || rest.includes('--help')) {
    console.log(help())
    return
  }
  if (name === '--version') {
    console.log(VERSION)
    return
  }
  const command = COMMANDS[name]
  if (command === undefined) {
    throw new UserError(
      'GITCACHE_COMMAND',
      `${name}: no such command`,
      'see nginx-git-cache --help'
    )
  }
  await command.act(readOptions(rest, process.env))
}

try {
  await main(process.argv.slice(2))
  process.exit()
} catch (error) {
  if (!(error instanceof UserError)) throw error
  console.error(error.line())
  process.exit(2)
}
