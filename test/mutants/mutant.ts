/**
 * A deliberate break of the code, as a patch file with a head that says what must catch it:
 *
 *     Title: a vote is granted to a log that is behind
 *     Class: Raft 5.4.1
 *     Caught-by: test test/raft/core/paper.test.ts          one test file, or more, separated by blanks
 *     Caught-by: sim --scenario map --seeds 200             the simulator; the seeds needed go into the table
 *
 *     diff --git a/… b/…
 *
 * With several Caught-by lines each of them must catch it.
 */
export interface Mutant {
  /** Of the file, without its ending. */
  readonly name: string
  readonly title: string
  /** The class of bugs that it stands for. */
  readonly bugClass: string
  readonly checks: readonly Check[]
  /** Text of the whole file: what applies a patch skips the head. */
  readonly patch: string
}

export type Check =
  | { readonly kind: 'test'; readonly files: readonly string[] }
  /** `options` of `npm run sim`, `--seeds N` among them. */
  | { readonly kind: 'sim'; readonly options: readonly string[] }

/** Throws Error, naming `name`, where the head is not as it must be. */
export function parseMutant(name: string, content: string): Mutant {
  const start = content.search(/^diff --git /m)
  if (start < 0) throw new Error(`${name}: there is no patch in it`)
  const fields = new Map<string, string[]>()
  for (const line of content.slice(0, start).split('\n')) {
    if (line.trim() === '') continue
    const match = /^(Title|Class|Caught-by): (.+)$/.exec(line)
    if (match === null) throw new Error(`${name}: its head has a line '${line}'`)
    const [, field = '', value = ''] = match
    fields.set(field, [...(fields.get(field) ?? []), value.trim()])
  }
  const one = (field: string) => {
    const values = fields.get(field) ?? []
    if (values.length !== 1 || values[0] === undefined) throw new Error(`${name}: one line '${field}: …' is needed`)
    return values[0]
  }
  const checks = (fields.get('Caught-by') ?? []).map((line) => parseCheck(name, line))
  if (checks.length === 0) throw new Error(`${name}: a line 'Caught-by: …' is needed`)
  return { name, title: one('Title'), bugClass: one('Class'), checks, patch: content }
}

function parseCheck(name: string, line: string): Check {
  const [kind, ...rest] = line.split(/\s+/)
  if (kind === 'test' && rest.length > 0) return { kind, files: rest }
  if (kind === 'sim' && rest.includes('--seeds')) return { kind, options: rest }
  throw new Error(`${name}: 'Caught-by: ${line}' is neither 'test FILE …' nor 'sim … --seeds N'`)
}

/** For people, and to tell equal checks. */
export function describeCheck(check: Check): string {
  return check.kind === 'test' ? check.files.join(' ') : `sim ${check.options.join(' ')}`
}
