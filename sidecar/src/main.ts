/** The command line: `nginx-git-cache run|serve|check|purge`. */
import { check } from './commands/check.ts'
import { purge } from './commands/purge.ts'
import { run } from './commands/run.ts'
import { serve } from './commands/serve.ts'
import { type CommandName, OPTIONS, type RawOptions, readOptions } from './config.ts'
import { UserError } from './errors.ts'
import { VERSION } from './version.ts'

interface Command {
  help: string
  act: (raw: RawOptions, operands: string[]) => Promise<void>
}

const COMMANDS: Record<CommandName, Command> = {
  run: { help: 'nginx and the sidecar, supervised, in the foreground', act: run },
  serve: { help: 'the sidecar alone, for an nginx of your own', act: serve },
  check: { help: 'what is wrong with a set-up, before nginx is reloaded', act: check },
  purge: { help: 'removes all that is kept of a REPOSITORY, at once', act: purge },
}

function help(): string {
  const commands = Object.entries(COMMANDS).map(([name, row]) => `  ${name.padEnd(8)}${row.help}`)
  const options = Object.entries(OPTIONS).map(([name, row]) => {
    const fallback = 'default' in row ? ` (${row.default})` : ''
    const of = 'of' in row ? `${row.of}: ` : ''
    return `  ${`--${name} ${row.value}`.padEnd(30)}${of}${row.help}${fallback}`
  })
  return [
    'nginx-git-cache COMMAND [OPTION]...',
    ...commands,
    'Options; each has a twin in the environment, --git-processes is GITCACHE_GIT_PROCESSES:',
    ...options,
    'Examples:',
    '  nginx-git-cache run --upstream https://git.example.org',
    '  nginx-git-cache serve --upstream http://forge=http://10.0.0.5:3000',
    '  nginx-git-cache purge --data /var/cache/nginx-git-cache /owner/repository.git',
  ].join('\n')
}

function isCommand(name: string): name is CommandName {
  return Object.hasOwn(COMMANDS, name)
}

async function main(argv: string[]): Promise<void> {
  const [name = '', ...rest] = argv
  if (name === '' || argv.includes('--help') || argv.includes('-h')) {
    console.log(help())
    return
  }
  if (name === '--version') {
    console.log(VERSION)
    return
  }
  if (!isCommand(name)) {
    throw new UserError(
      'GITCACHE_COMMAND',
      `${name}: no such command`,
      'see nginx-git-cache --help'
    )
  }
  const { raw, operands } = readOptions(rest, process.env, name)
  await COMMANDS[name].act(raw, operands)
}

// Who reads what we say may go away (`run | head`): nothing ends by that.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})

try {
  await main(process.argv.slice(2))
  process.exit()
} catch (error) {
  if (!(error instanceof UserError)) throw error
  console.error(error.line())
  process.exit(2)
}
