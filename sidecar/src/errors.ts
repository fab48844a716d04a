/** Every error that a person can meet: a stable code, the offending value, the way out. */
export class UserError extends Error {
  readonly code: string
  readonly hint: string

  constructor(code: `GITCACHE_${string}`, message: string, hint: string) {
    super(message)
    this.code = code
    this.hint = hint
  }

  /** One line for a terminal. */
  line(): string {
    return `nginx-git-cache: ${this.message}: ${this.hint} (${this.code})`
  }
}

export function cannotListen(
  flag: string,
  address: string,
  error: NodeJS.ErrnoException
): UserError {
  // The kernel's words end with the address.
  const why = error.code === 'EADDRINUSE' ? 'is taken' : error.message
  return new UserError('GITCACHE_LISTEN', `${flag} ${address}: ${why}`, 'give another address')
}
