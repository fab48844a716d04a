/** Builds the images ahead of a test run: `node test/e2e/support/prepare.ts [names…]`. */
import { ensureDockerEngine, SetupError } from './engine.ts'
import { ensureImages, IMAGE_NAMES, type ImageName } from './images.ts'

const started = performance.now()

function report(line: string): void {
  const seconds = ((performance.now() - started) / 1000).toFixed(1).padStart(6)
  console.log(`${seconds} s  ${line}`)
}

function isImageName(name: string): name is ImageName {
  return IMAGE_NAMES.some((known) => known === name)
}

function chosenNames(args: string[]): ImageName[] {
  const unknown = args.filter((name) => !isImageName(name))
  if (unknown.length > 0) {
    throw new SetupError(`unknown image ${unknown.join(', ')}: one of ${IMAGE_NAMES.join(', ')}`)
  }
  return args.length > 0 ? args.filter(isImageName) : IMAGE_NAMES
}

try {
  const names = chosenNames(process.argv.slice(2))
  await ensureDockerEngine()
  report('the Docker engine answers')
  for (const [name, image] of Object.entries(await ensureImages(names, report))) {
    report(`${name}: ${image ?? 'not available'}`)
  }
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  console.error(error.message)
  process.exitCode = 2
}
