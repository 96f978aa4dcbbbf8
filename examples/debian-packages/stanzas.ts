/** A record of Debian's package index: RFC 822-like fields up to an empty line. */
export interface Stanza {
  /** The field `Package`. */
  readonly name: string
  /** All of it, without the empty line. */
  readonly text: string
}

/** Splits the lines of a package index into stanzas. Throws on one that names no package, with the number of its first line. */
export async function* stanzas(lines: AsyncIterable<string>): AsyncGenerator<Stanza> {
  let gathered: string[] = []
  let first = 1
  let number = 0
  for await (const line of lines) {
    number++
    if (line !== '') {
      if (gathered.length === 0) first = number
      gathered.push(line)
      continue
    }
    if (gathered.length > 0) yield stanza(gathered, first)
    gathered = []
  }
  if (gathered.length > 0) yield stanza(gathered, first)
}

function stanza(lines: readonly string[], first: number): Stanza {
  const name = lines
    .find((line) => line.startsWith('Package: '))
    ?.slice('Package: '.length)
    .trim()
  if (name === undefined || name === '') throw new Error(`line ${first}: this stanza has no field "Package"`)
  return { name, text: `${lines.join('\n')}\n` }
}
