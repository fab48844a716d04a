/** nginx's configuration as `nginx -T` shows it, read as a tree. Source: ngx_conf_file.c, ngx_conf_read_token. */
import path from 'node:path'

export interface Directive {
  name: string
  args: string[]
  /** Null of one that ends with a semicolon. */
  block: Directive[] | null
}

/** Space and comments, then one of: a sign, a quoted word, a word. */
const TOKEN =
  /(?:\s|#[^\n]*)*(?:([;{}])|"((?:\\[\s\S]|[^"\\])*)"|'((?:\\[\s\S]|[^'\\])*)'|((?:\\[\s\S]|\$\{|[^\s;{}"'#\\])(?:\\[\s\S]|\$\{|[^\s;{\\])*))/y

interface Token {
  text: string
  isSign: boolean
}

/**
 * What stands in the main file, with all includes in their places. Null where it cannot be read so, as
 * where a module has a language of its own in a block (Lua).
 */
export function readDirectives(dump: string): Directive[] | null {
  const [first = '', ...rest] = dump.split(/^# configuration file (.*):$/m)
  const files = new Map<string, string>()
  for (let i = 0; i + 1 < rest.length; i += 2) files.set(rest[i] ?? '', rest[i + 1] ?? '')
  const main = rest[0] ?? 'nginx.conf'
  if (rest.length === 0) files.set(main, first)
  const read = (name: string): Directive[] =>
    expand(parse(tokens(files.get(name) ?? ''), false), (pattern) =>
      matching([...files.keys()], path.resolve(path.dirname(main), pattern)).flatMap(read)
    )
  try {
    return read(main)
  } catch {
    return null
  }
}

/** Throws on what is no token. */
function tokens(text: string): Token[] {
  const found: Token[] = []
  const end = text.replace(/(?:\s|#[^\n]*)*$/, '').length
  for (TOKEN.lastIndex = 0; TOKEN.lastIndex < end; ) {
    const match = TOKEN.exec(text)
    if (match === null) throw new Error('no token')
    const [, sign, double, single, word] = match
    found.push({ text: sign ?? double ?? single ?? word ?? '', isSign: sign !== undefined })
  }
  return found.reverse()
}

/** `left`: what is still to come, the next at the end. Throws where a block does not end as it began. */
function parse(left: Token[], inside: boolean): Directive[] {
  const directives: Directive[] = []
  let words: string[] = []
  for (let token = left.pop(); token !== undefined; token = left.pop()) {
    if (!token.isSign) {
      words.push(token.text)
      continue
    }
    if (token.text === '}') {
      if (!inside || words.length > 0) throw new Error('a block that did not begin')
      return directives
    }
    const [name = '', ...args] = words
    directives.push({ name, args, block: token.text === '{' ? parse(left, true) : null })
    words = []
  }
  if (inside || words.length > 0) throw new Error('a block that does not end')
  return directives
}

function expand(directives: Directive[], include: (pattern: string) => Directive[]): Directive[] {
  return directives.flatMap((one) => {
    if (one.name === 'include' && one.block === null) return include(one.args[0] ?? '')
    return [one.block === null ? one : { ...one, block: expand(one.block, include) }]
  })
}

/** As glob(7), for names that are all there; in its order. */
function matching(names: string[], pattern: string): string[] {
  const escaped = pattern.replace(/[.+^${}()|\\]/g, '\\$&')
  const expression = escaped.replace(/\*/g, '[^/]*').replace(/\?/g, '[^/]')
  return names.filter((name) => new RegExp(`^${expression}$`).test(name)).sort()
}
