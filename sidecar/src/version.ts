/** Of package.json, written in by the build; the include files name it in their first line. */
declare const GITCACHE_VERSION: string

export const VERSION: string = typeof GITCACHE_VERSION === 'string' ? GITCACHE_VERSION : '0.1.0'
