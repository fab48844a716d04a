import { writeSync } from 'node:fs'
import { type Logger, pino } from 'pino'

const STDOUT = 1

/**
 * The log, to standard output. One that cannot be written (a full disk, a terminal that has gone)
 * loses its lines and stops nobody: pino's own stream would try again for ever.
 */
export function openLog(level: string, write: typeof writeSync = writeSync): Logger {
  const destination = {
    write: (line: string) => {
      try {
        let rest = Buffer.from(line)
        while (rest.length > 0) rest = rest.subarray(write(STDOUT, rest))
      } catch {
        // There is nowhere to say so.
      }
    },
  }
  return pino({ level, base: null }, destination)
}
