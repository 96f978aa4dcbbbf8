/**
 * A script is a story told in commands, each with what it is expected to print:
 *
 *     # comments, kept
 *     command positional key=value key=(a,b)
 *     further lines that the command reads
 *     ----
 *     expected output, up to an empty line
 *
 * Output that has empty lines itself stands between `----` `----` pairs.
 */
export interface Command {
  /** Where the command stands, for messages: 1 and up. */
  readonly line: number
  /** Everything from the end of the last command's output to the line before `----`: what a rewrite keeps. */
  readonly source: string
  readonly text: string
  readonly name: string
  readonly args: readonly string[]
  readonly options: ReadonlyMap<string, readonly string[]>
  readonly input: readonly string[]
  readonly expected: readonly string[]
}

const SEPARATOR = '----'

export function parseScript(content: string): Command[] {
  const lines = content.split('\n')
  const commands: Command[] = []
  let from = 0
  for (let at = 0; at < lines.length; at++) {
    if (lines[at] !== SEPARATOR) continue
    const body = lines.slice(from, at)
    const head = body.findIndex((line) => line.trim() !== '' && !line.startsWith('#'))
    if (head < 0) throw new Error(`line ${at + 1}: ${SEPARATOR} without a command`)
    const doubled = lines[at + 1] === SEPARATOR
    const begin = at + (doubled ? 2 : 1)
    let end = begin
    while (end < lines.length && !(doubled ? lines[end] === SEPARATOR && lines[end + 1] === SEPARATOR : lines[end] === '')) end++
    commands.push({
      line: from + head + 1,
      source: body.join('\n'),
      ...parseCommand(body[head] as string),
      input: body.slice(head + 1).filter((line) => line.trim() !== ''),
      expected: lines.slice(begin, end),
    })
    from = end + (doubled ? 2 : 0)
    at = from - 1
  }
  return commands
}

function parseCommand(text: string): Pick<Command, 'text' | 'name' | 'args' | 'options'> {
  const words = text.match(/[^\s(]+(\([^)]*\))?/g) ?? []
  const options = new Map<string, readonly string[]>()
  const args: string[] = []
  for (const word of words.slice(1)) {
    const at = word.indexOf('=')
    if (at < 0) args.push(word)
    else options.set(word.slice(0, at), listOf(word.slice(at + 1)))
  }
  return { text, name: words[0] ?? '', args, options }
}

function listOf(value: string): readonly string[] {
  const inner = value.startsWith('(') ? value.slice(1, -1) : value
  return inner === '' ? [] : inner.split(',').map((part) => part.trim())
}

/** The script again, with these outputs in place of the expected ones. */
export function rewriteScript(commands: readonly Command[], outputs: readonly string[]): string {
  return commands
    .map(({ source }, i) => {
      const output = outputs[i] ?? ''
      const mark = output.split('\n').includes('') ? `${SEPARATOR}\n${SEPARATOR}` : SEPARATOR
      const close = mark === SEPARATOR ? '' : `${mark}\n`
      return `${source}\n${mark}\n${output}\n${close}`
    })
    .join('')
}
