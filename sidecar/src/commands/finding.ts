/** One line of what `check` says. */
export interface Finding {
  level: 'ok' | 'warn' | 'fail'
  text: string
  fix?: string
}

export function ok(text: string): Finding {
  return { level: 'ok', text }
}

export function warn(text: string, fix: string): Finding {
  return { level: 'warn', text, fix }
}

export function fail(text: string, fix: string): Finding {
  return { level: 'fail', text, fix }
}
