/** One line of what `check` says. */
export interface Finding {
  level: 'ok' | 'warn' | 'fail'
  text: string
  fix?: string
}
