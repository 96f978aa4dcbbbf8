#!/usr/bin/env node
/**
 * Breaks the code on purpose, one patch after the other, in a temporary copy: each must be caught by what its head names, and the unbroken
 * code must pass the same. Prints the table of docs/testing.md.
 *
 *   npm run mutants                       all of test/mutants/patches
 *   npm run mutants -- vote commit        those whose names contain one of these
 *   npm run mutants -- --list             what there is
 */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Command } from 'commander'
import { root } from '../../testing/up.ts'
import { describeCheck, type Mutant, parseMutant } from './mutant.ts'
import { type Verdict, Workshop } from './workshop.ts'

const folder = join(root, 'test/mutants/patches')

async function readMutants(parts: readonly string[]): Promise<Mutant[]> {
  const files = (await readdir(folder)).filter((file) => file.endsWith('.patch')).sort()
  const mutants = await Promise.all(
    files.map(async (file) => parseMutant(file.replace(/\.patch$/, ''), await readFile(join(folder, file), 'utf8'))),
  )
  return parts.length === 0 ? mutants : mutants.filter(({ name }) => parts.some((part) => name.includes(part)))
}

/** One row of the table. */
interface Row {
  readonly mutant: Mutant
  /** Undefined: it was caught by every check. */
  readonly escaped: string | undefined
  readonly by: readonly string[]
}

class Run {
  readonly #workshop: Workshop
  /** What the unbroken code does, by check. */
  readonly #whole = new Map<string, Promise<Verdict>>()

  constructor(workshop: Workshop) {
    this.#workshop = workshop
  }

  async try(mutant: Mutant): Promise<Row> {
    const by: string[] = []
    // First the unbroken code: a check that fails anyway catches nothing.
    for (const check of mutant.checks) {
      const key = describeCheck(check)
      const whole = await (this.#whole.get(key) ?? this.#remember(key, this.#workshop.run(check)))
      if (whole.result !== 'passed') return { mutant, by, escaped: `the unbroken code does not pass ${key}: ${whole.by}` }
    }
    try {
      await this.#workshop.apply(mutant.patch)
    } catch (error) {
      return { mutant, by, escaped: error instanceof Error ? error.message : String(error) }
    }
    try {
      for (const check of mutant.checks) {
        const { result, by: what, seeds } = await this.#workshop.run(check)
        if (result !== 'failed') return { mutant, by, escaped: `${describeCheck(check)} ${result}${what === '' ? '' : `: ${what}`}` }
        by.push(`${describeCheck(check)}: ${what}${seeds === undefined ? '' : ` (seeds needed: ${seeds})`}`)
      }
    } finally {
      await this.#workshop.revert(mutant.patch)
    }
    return { mutant, by, escaped: undefined }
  }

  #remember(key: string, verdict: Promise<Verdict>): Promise<Verdict> {
    this.#whole.set(key, verdict)
    return verdict
  }
}

async function main(parts: readonly string[], options: { readonly list?: boolean }): Promise<void> {
  const mutants = await readMutants(parts)
  if (options.list === true) {
    for (const { name, title, bugClass, checks } of mutants)
      console.log(`${name}: ${title} (${bugClass}); ${checks.map(describeCheck).join('; ')}`)
    return
  }
  const workshop = await Workshop.open(root)
  const rows: Row[] = []
  try {
    const run = new Run(workshop)
    for (const mutant of mutants) {
      const startMs = performance.now()
      const row = await run.try(mutant)
      rows.push(row)
      const seconds = ((performance.now() - startMs) / 1000).toFixed(0)
      console.error(
        `${row.escaped === undefined ? 'caught ' : 'ESCAPED'} ${mutant.name}, ${seconds} s: ${row.escaped ?? row.by.join('; ')}`,
      )
    }
  } finally {
    await workshop.close()
  }
  console.log('| break | class | caught by |\n|---|---|---|')
  for (const { mutant, by, escaped } of rows) {
    const cells = [mutant.title, mutant.bugClass, escaped === undefined ? by.join('; ') : `**not caught**: ${escaped}`]
    console.log(`| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
  }
  const escaped = rows.filter((row) => row.escaped !== undefined).length
  console.log(`${rows.length - escaped} passed, ${escaped} failed`)
  // No mutant at all proves nothing either.
  process.exitCode = escaped === 0 && rows.length > 0 ? 0 : 1
}

await new Command('mutants')
  .description('breaks the code on purpose: each break must be caught')
  .argument('[parts...]', 'only mutants whose names contain one of these')
  .option('--list', 'print what there is')
  .action(main)
  .parseAsync()
