import { join } from 'node:path'
import {
  GenericContainer,
  type StartedNetwork,
  type StartedTestContainer,
  Wait,
} from 'testcontainers'
import { createToken, type GiteaUser, giteaApi, randomSecret } from './gitea-api.ts'
import { ensureImages } from './images.ts'
import { TEST_LABEL } from './sweep.ts'

export type { GiteaUser, Repository } from './gitea-api.ts'

const PORT = 3000
const ALIAS = 'gitea'
const IMAGE_DIR = join(import.meta.dirname, '../images/gitea')
const START_MS = 120_000

/** Also for commands run later in the container: the public image has other places in mind. */
const ENVIRONMENT = {
  HOME: '/tmp/gitea/home',
  GITEA_WORK_DIR: '/tmp/gitea',
  GITEA_CUSTOM: '/tmp/gitea/custom',
}

/** Both images, the public one and ours, have this user; Gitea refuses to run as root. */
const GIT_USER = '1000:1000'

export type Gitea = ReturnType<typeof giteaApi> & {
  container: StartedTestContainer
  /** From this machine. */
  url: string
  /** From a container in the same network. */
  internalUrl: string
  admin: GiteaUser
  stop(): Promise<void>
}

async function startContainer(network?: StartedNetwork): Promise<StartedTestContainer> {
  const { gitea: image } = await ensureImages(['gitea'], console.error)
  if (image === null) throw new Error('there is no Gitea image')
  const container = new GenericContainer(image)
    .withLabels({ [TEST_LABEL]: '1' })
    .withUser(GIT_USER)
    .withEnvironment(ENVIRONMENT)
    .withCopyFilesToContainer([
      { source: join(IMAGE_DIR, 'app.ini'), target: '/etc/gitea/app.ini', mode: 0o644 },
      { source: join(IMAGE_DIR, 'start.sh'), target: '/usr/local/bin/start-gitea', mode: 0o755 },
    ])
    .withEntrypoint(['/usr/local/bin/start-gitea'])
    // What the image has as its command would become the script's arguments.
    .withCommand([])
    .withExposedPorts(PORT)
    .withWaitStrategy(Wait.forHttp('/api/healthz', PORT))
    .withStartupTimeout(START_MS)
  if (network) container.withNetwork(network).withNetworkAliases(ALIAS)
  return container.start()
}

/** The first account cannot be made over the network. */
async function createAdmin(container: StartedTestContainer, url: string): Promise<GiteaUser> {
  const account = { user: 'e2e-admin', password: randomSecret() }
  const settings = {
    username: account.user,
    password: account.password,
    email: 'admin@e2e.invalid',
  }
  const options = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
  const { exitCode, output } = await container.exec([
    ...['gitea', '--config', '/tmp/gitea/app.ini', 'admin', 'user', 'create', '--admin'],
    ...['--must-change-password=false', ...options],
  ])
  if (exitCode !== 0) throw new Error(`gitea admin user create: exit ${exitCode}: ${output}`)
  return { ...account, token: await createToken(url, account) }
}

/** A new, empty forge; the caller MUST stop it, also when a test throws. */
export async function startGitea(network?: StartedNetwork): Promise<Gitea> {
  const container = await startContainer(network)
  try {
    // `localhost` may be tried as ::1 first, where the engine does not publish ports.
    const host = container.getHost().replace('localhost', '127.0.0.1')
    const url = `http://${host}:${container.getMappedPort(PORT)}`
    const admin = await createAdmin(container, url)
    const stop = async () => void (await container.stop())
    return {
      container,
      url,
      internalUrl: `http://${ALIAS}:${PORT}`,
      admin,
      ...giteaApi(url, admin),
      stop,
    }
  } catch (error) {
    await container.stop()
    throw error
  }
}
