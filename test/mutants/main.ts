#!/usr/bin/env node
/**
 * Breaks the code on purpose, one patch after the other, in a temporary copy: each must be caught by what its head names, and the unbroken
 * code must pass the same. Prints a table.
 *
 *   npm run mutants                       all of test/mutants/patches
 *   npm run mutants -- vote commit        those whose names contain one of these
 *   npm run mutants -- --list             what there is
 *   npm run mutants -- --write            all; the table goes into docs/testing.md if every one was caught
 */
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Command } from 'commander'
import { root } from '../../testing/up.ts'
import { describeCheck, type Mutant, parseMutant } from './mutant.ts'
import { type Row, renderTable, withTable } from './table.ts'
import { type Verdict, Workshop } from './workshop.ts'

const folder = join(root, 'test/mutants/patches')
const document = join(root, 'docs/testing.md')

async function readMutants(parts: readonly string[]): Promise<Mutant[]> {
  const files = (await readdir(folder)).filter((file) => file.endsWith('.patch')).sort()
  const mutants = await Promise.all(
    files.map(async (file) => parseMutant(file.replace(/\.patch$/, ''), await readFile(join(folder, file), 'utf8'))),
  )
  return parts.length === 0 ? mutants : mutants.filter(({ name }) => parts.some((part) => name.includes(part)))
}

class Run {
  readonly #workshop: Workshop
  /** What the unbroken code does, by check. */
  readonly #whole = new Map<string, Verdict>()

  constructor(workshop: Workshop) {
    this.#workshop = workshop
  }

  async try(mutant: Mutant): Promise<Row> {
    // First the unbroken code: a check that fails anyway catches nothing.
    for (const check of mutant.checks) {
      const key = describeCheck(check)
      const whole = this.#whole.get(key) ?? (await this.#workshop.run(check))
      this.#whole.set(key, whole)
      if (whole.result !== 'passed') return { mutant, caught: [], escaped: `the unbroken code does not pass ${key}: ${whole.by}` }
    }
    try {
      await this.#workshop.apply(mutant.patch)
    } catch (error) {
      return { mutant, caught: [], escaped: error instanceof Error ? error.message : String(error) }
    }
    try {
      return await this.#check(mutant)
    } finally {
      await this.#workshop.revert(mutant.patch)
    }
  }

  async #check(mutant: Mutant): Promise<Row> {
    const caught: Verdict[] = []
    for (const check of mutant.checks) {
      const verdict = await this.#workshop.run(check)
      if (verdict.result !== 'failed') return { mutant, caught, escaped: `${describeCheck(check)}: ${verdict.result} ${verdict.by}` }
      caught.push(verdict)
    }
    return { mutant, caught, escaped: undefined }
  }
}

async function tryAll(mutants: readonly Mutant[]): Promise<Row[]> {
  const workshop = await Workshop.open(root)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void workshop.close().finally(() => process.exit(130)))
  const rows: Row[] = []
  try {
    const run = new Run(workshop)
    for (const [i, mutant] of mutants.entries()) {
      const startMs = performance.now()
      const row = await run.try(mutant)
      rows.push(row)
      const { escaped, caught } = row
      const told = escaped ?? caught.map(({ by, seeds }) => (seeds === undefined ? by : `${by} (seeds: ${seeds})`)).join('; ')
      console.error(
        `${i + 1}/${mutants.length} ${escaped === undefined ? 'caught' : 'ESCAPED'} ${mutant.name}, ${secondsSince(startMs)} s: ${told}`,
      )
    }
  } finally {
    await workshop.close()
  }
  return rows
}

function secondsSince(startMs: number): string {
  return ((performance.now() - startMs) / 1000).toFixed(0)
}

interface Options {
  readonly list?: boolean
  readonly write?: boolean
}

async function main(parts: readonly string[], options: Options): Promise<void> {
  if (options.write === true && parts.length > 0) throw new Error('--write is for all of them')
  const startMs = performance.now()
  const mutants = await readMutants(parts)
  if (options.list === true) {
    for (const { name, title, bugClass, checks } of mutants)
      console.log(`${name}: ${title} (${bugClass}); ${checks.map(describeCheck).join('; ')}`)
    return
  }
  const rows = await tryAll(mutants)
  const table = renderTable(rows)
  const escaped = rows.filter((row) => row.escaped !== undefined).length
  console.log(table)
  if (options.write === true && escaped === 0) await writeFile(document, withTable(await readFile(document, 'utf8'), table))
  console.log(`${rows.length - escaped} passed, ${escaped} failed, in ${secondsSince(startMs)} s`)
  // No mutant at all proves nothing either.
  process.exitCode = escaped === 0 && rows.length > 0 ? 0 : 1
}

await new Command('mutants')
  .description('breaks the code on purpose: each break must be caught')
  .argument('[parts...]', 'only mutants whose names contain one of these')
  .option('--list', 'print what there is')
  .option('--write', 'put the table into docs/testing.md')
  .action(main)
  .parseAsync()
