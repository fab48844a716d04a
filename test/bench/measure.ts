/** Wall times of commands, load by wrk(1), and the table. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'

export interface Row {
  name: string
  unit: string
  ours: number
  direct?: number
  /** nginx with the same bytes as a static file, or what else cannot be beaten. */
  limit?: number
  ratio: number
  goal: string
  met: boolean
}

/** `goal`: `<= 1.1`, `>= 0.9` or `= 1`, of the ratio. */
export function row(figures: Omit<Row, 'met'>): Row {
  const [sign = '', value = ''] = figures.goal.split(' ')
  const goal = Number(value)
  const met = {
    '<=': figures.ratio <= goal,
    '>=': figures.ratio >= goal,
    '=': figures.ratio === goal,
  }
  return { ...figures, met: met[sign as keyof typeof met] ?? false }
}

export interface Load {
  rps: number
  bytes: number
  requests: number
  seconds: number
  /** Microseconds, median. */
  latency: number
}

const LUA = `
local file = os.getenv("BENCH_BODY")
if file then
  local handle = io.open(file, "rb")
  wrk.method = "POST"
  wrk.body = handle:read("*a")
  wrk.headers["Content-Type"] = "application/x-git-upload-pack-request"
  wrk.headers["Git-Protocol"] = "version=2"
end
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.bytes, summary.duration,
    latency:percentile(50), errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
`

/** Sends the same request for so many seconds. Throws where one was not answered with 200. */
export async function load(
  dir: string,
  url: string,
  { body, connections, seconds }: { body?: string; connections: number; seconds: number }
): Promise<Load> {
  const script = path.join(dir, 'load.lua')
  writeFileSync(script, LUA)
  const env: NodeJS.ProcessEnv = { ...process.env }
  if (body !== undefined) env.BENCH_BODY = bodyFile(dir, body)
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '60s', '-s', script, url]
  const { stdout: out } = await promisify(execFile)('wrk', args, { env })
  const [, requests, bytes, micros, latency, errors] = (
    /RESULT (\d+) (\d+) (\d+) (\d+) (\d+)/.exec(out) ?? []
  ).map(Number)
  if (errors !== 0 || !requests || !micros) throw new Error(`${url}: ${out}`)
  const time = micros / 1e6
  return {
    rps: requests / time,
    bytes: bytes ?? 0,
    requests,
    seconds: time,
    latency: latency ?? 0,
  }
}

let bodies = 0

export function bodyFile(dir: string, body: string | Buffer): string {
  bodies += 1
  const file = path.join(dir, `body-${bodies}`)
  writeFileSync(file, body)
  return file
}

/** curl's arguments for a fetch request. */
export function post(file: string, ...headers: string[]): string[] {
  const header = (text: string) => ['-H', text]
  return [
    ...headers.flatMap(header),
    ...header('Content-Type: application/x-git-upload-pack-request'),
    ...header('Git-Protocol: version=2'),
    '--data-binary',
    `@${file}`,
  ]
}

export const GIT: NodeJS.ProcessEnv = {
  ...process.env,
  GIT_TERMINAL_PROMPT: '0',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
}

/** Runs commands at once; seconds until the last has ended. The delay proxy lives in this process: never wait in it. */
export async function together(commands: [string, string[]][]): Promise<number> {
  const begun = process.hrtime.bigint()
  const children = commands.map(([command, args]) =>
    spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'], env: GIT })
  )
  const codes = await Promise.all(children.map((child) => once(child, 'exit')))
  if (codes.some(([code]) => code !== 0)) throw new Error('a client failed')
  return Number(process.hrtime.bigint() - begun) / 1e9
}

/** Seconds of one command. The work directory is not there before, and is removed afterwards. */
export async function timed(command: string, args: string[], work?: string): Promise<number> {
  if (work) rmSync(work, { recursive: true, force: true })
  const time = await together([[command, args]])
  if (work) rmSync(work, { recursive: true, force: true })
  return time
}

const ROUNDS = 5

/** Each in turn, some times over, so that what else the machine does meets them all. Medians. */
export async function inTurns(...measures: (() => Promise<number>)[]): Promise<number[]> {
  const figures = measures.map((): number[] => [])
  for (let i = 0; i < ROUNDS; i++) {
    for (const [n, measure] of measures.entries()) figures[n]?.push(await measure())
  }
  return figures.map(median)
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

export function table(rows: Row[]): string {
  const number = (value: number | undefined) =>
    value === undefined ? '' : value >= 100 ? value.toFixed(0) : value.toPrecision(3)
  const lines = rows.map(
    ({ name, unit, ours, direct, limit, ratio, goal, met }) =>
      `| ${name} | ${unit} | ${[ours, direct, limit, ratio].map(number).join(' | ')} | ${goal} | ${met ? 'met' : '**not met**'} |`
  )
  return [
    '| row | unit | ours | direct | limit | ratio | goal | |',
    '|---|---|---|---|---|---|---|---|',
    ...lines,
  ].join('\n')
}
