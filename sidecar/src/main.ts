/** The command line: `nginx-git-cache run|serve|check|purge`. */
import { check } from './commands/check.ts'
import { purge } from './commands/purge.ts'
import { run } from './commands/run.ts'
import { serve } from './commands/serve.ts'
import { UserError } from './errors.ts'
import {
  type CommandName,
  isFor,
  type Name,
  OPTIONS,
  type RawOptions,
  readOptions,
} from './options.ts'
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

const EXAMPLES = [
  '  nginx-git-cache run --upstream https://git.example.org',
  '  nginx-git-cache serve --upstream http://forge=http://10.0.0.5:3000',
  '  nginx-git-cache check --upstream http://forge=http://10.0.0.5:3000 --repository group/public.git',
  '  nginx-git-cache purge --data /var/cache/nginx-git-cache /owner/repository.git',
]

/** `command`: whose options alone are shown. */
function help(command: CommandName | null): string {
  const commands = Object.entries(COMMANDS).map(([name, row]) => `  ${name.padEnd(8)}${row.help}`)
  const names = (Object.keys(OPTIONS) as Name[]).filter(
    (name) => command === null || isFor(name, command)
  )
  const options = names.map((name) => {
    const row = OPTIONS[name]
    const fallback = 'default' in row ? ` (${row.default})` : ''
    const of = 'of' in row && command === null ? `${row.of}: ` : ''
    return `  ${`--${name} ${row.value}`.padEnd(30)}${of}${row.help}${fallback}`
  })
  return [
    `nginx-git-cache ${command ?? 'COMMAND'} [OPTION]...${command === 'purge' ? ' REPOSITORY' : ''}`,
    ...(command === null ? commands : [`  ${COMMANDS[command].help}`]),
    'Options; each has a twin in the environment, --git-processes is GITCACHE_GIT_PROCESSES:',
    ...options,
    'Examples:',
    ...EXAMPLES.filter((line) => command === null || line.includes(` ${command} `)),
  ].join('\n')
}

function isCommand(name: string): name is CommandName {
  return Object.hasOwn(COMMANDS, name)
}

async function main(argv: string[]): Promise<void> {
  const [name = '', ...rest] = argv
  if (name === '' || name === 'help' || argv.includes('--help') || argv.includes('-h')) {
    const named = argv.find(isCommand)
    console.log(help(named ?? null))
    return
  }
  if (name === 'version' || argv.includes('--version') || argv.includes('-V')) {
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
