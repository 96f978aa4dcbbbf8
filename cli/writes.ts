import { readFileSync } from 'node:fs'
import type { Readable } from 'node:stream'
import type { Command } from 'commander'
import type { Condition, Replacement } from '../client/types.ts'
import { limits } from '../proto/limits.ts'
import { CommandError, exitCode, usageError } from './exit-code.ts'
import { examples, type Registry } from './invocation.ts'
import { checkKey, checkValue, valueJson } from './text.ts'

/** put, delete, append, increment, cas. */
export function addWrites(program: Command, registry: Registry): void {
  addPut(program, registry)
  addDelete(program, registry)
  addAppend(program, registry)
  addIncrement(program, registry)
  addCompareAndSet(program, registry)
}

function addPut(program: Command, registry: Registry): void {
  const command = program
    .command('put')
    .description('set a key')
    .argument('<key>')
    .argument('[value]', "the value; '-' reads it from stdin")
    .option('--file <path>', 'read the value from a file')
    .option('--ttl <seconds>', 'the key is gone after so long (default: never)')
    .addHelpText('after', examples('put colour blue', 'put logo --file logo.png', 'date | ostraka put now - --ttl 60', "put debt -- '-5'"))
  registry.add(command, async (invocation) => {
    const key = checkKey(command.processedArgs[0] as string)
    const options = command.opts<{ file?: string; ttl?: string }>()
    const ttlMs = parseTtl(options.ttl)
    const value = await readValue(command.processedArgs[1] as string | undefined, options.file, invocation.world.stdin, registry.words)
    await invocation.withDatabase(async (database) => {
      const { revision } = await database.put(key, value, ttlMs === undefined ? {} : { ttlMs })
      invocation.print({ revision }, 'OK')
    })
    return undefined
  })
}

function addDelete(program: Command, registry: Registry): void {
  const command = program
    .command('delete')
    .description('remove a key; a missing key is no failure')
    .argument('<key>')
    .addHelpText('after', examples('delete colour'))
  registry.add(command, async (invocation) => {
    const key = checkKey(command.processedArgs[0] as string)
    await invocation.withDatabase(async (database) => {
      const { existed } = await database.delete(key)
      invocation.print({ existed }, existed ? 'OK' : 'OK (there was none)')
    })
    return undefined
  })
}

function addAppend(program: Command, registry: Registry): void {
  const command = program
    .command('append')
    .description('append to a value; a missing one counts as empty')
    .argument('<key>')
    .argument('<value>')
    .addHelpText('after', examples('append log "one more line"'))
  registry.add(command, async (invocation) => {
    const key = checkKey(command.processedArgs[0] as string)
    const value = checkValue(command.processedArgs[1] as string)
    await invocation.withDatabase(async (database) => {
      const { length, revision } = await database.append(key, value)
      invocation.print({ length, revision }, String(length))
    })
    return undefined
  })
}

function addIncrement(program: Command, registry: Registry): void {
  const command = program
    .command('increment')
    .description('add to an integer, stored as decimal text; a missing one counts as 0')
    .argument('<key>')
    .argument('[by]', 'a whole number, also a negative one', '1')
    .addHelpText('after', examples('increment visits', 'increment stock -5'))
  registry.add(command, async (invocation) => {
    const key = checkKey(command.processedArgs[0] as string)
    const text = command.processedArgs[1] as string
    if (!/^[+-]?\d{1,19}$/.test(text) || BigInt.asIntN(64, BigInt(text)) !== BigInt(text)) {
      throw usageError(`'${text}' is no whole number of 64 bits`)
    }
    await invocation.withDatabase(async (database) => {
      const { value, revision } = await database.increment(key, BigInt(text))
      // A number where JSON's readers keep it exact, else text.
      const exact = BigInt(Number(value)) === value && Number.isSafeInteger(Number(value))
      invocation.print({ value: exact ? Number(value) : String(value), revision }, String(value))
    })
    return undefined
  })
}

function addCompareAndSet(program: Command, registry: Registry): void {
  const command = program
    .command('cas')
    .description('set a key if it is what is expected; else 4, and what is there')
    .argument('<key>')
    .option('--expect <value>', 'expect this value')
    .option('--expect-revision <number>', 'expect this revision')
    .option('--absent', 'expect that there is none')
    .requiredOption('--value <value>', 'the new value')
    .option('--ttl <seconds>', 'the key is gone after so long (default: never)')
    .addHelpText(
      'after',
      examples(
        'cas colour --expect blue --value green',
        'cas lock --absent --value me --ttl 30',
        'cas colour --expect-revision 12 --value red',
      ),
    )
  registry.add(command, async (invocation) => {
    const key = checkKey(command.processedArgs[0] as string)
    const options = command.opts<{ expect?: string; expectRevision?: string; absent?: boolean; value: string; ttl?: string }>()
    const condition = conditionOf(options)
    const replacement: Replacement = checkValue(options.value)
    const ttlMs = parseTtl(options.ttl)
    return await invocation.withDatabase(async (database) => {
      const result = await database.compareAndSet(key, condition, replacement, ttlMs === undefined ? {} : { ttlMs })
      if (!result.applied) {
        const there = result.current === undefined ? 'there is none' : `it is at revision ${result.current.revision}`
        throw new CommandError(exitCode.conditionFailed, 'CONDITION_FAILED', `${key} is not what was expected: ${there}`)
      }
      const current = result.current
      const json = current === undefined ? {} : { current: { ...valueJson(current.value), revision: current.revision } }
      invocation.print({ applied: true, ...json }, 'OK')
      return undefined
    })
  })
}

function conditionOf(options: { expect?: string; expectRevision?: string; absent?: boolean }): Condition {
  const given = [options.expect, options.expectRevision, options.absent].filter((option) => option !== undefined)
  if (given.length !== 1) throw usageError('give exactly one of --expect, --expect-revision and --absent')
  if (options.expect !== undefined) return { value: options.expect }
  if (options.absent === true) return { absent: true }
  const revision = Number(options.expectRevision)
  if (!/^\d{1,15}$/.test(options.expectRevision ?? '')) throw usageError(`--expect-revision ${options.expectRevision}: give a whole number`)
  return { revision }
}

function parseTtl(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const seconds = Number(text)
  if (!/^\d*\.?\d+$/.test(text) || seconds <= 0 || seconds > 1e10) throw usageError(`--ttl ${text}: give seconds, above 0`)
  return Math.max(1, Math.round(seconds * 1000))
}

async function readValue(
  value: string | undefined,
  file: string | undefined,
  stdin: Readable,
  words: readonly string[],
): Promise<string | Uint8Array> {
  if (value !== undefined && file !== undefined) throw usageError('give a value or --file, not both')
  if (file !== undefined) return checkValue(readValueFile(file))
  if (value === undefined) throw usageError("the value is missing: give it, or '-' for stdin, or --file")
  // Behind '--' a dash is a value like any other.
  if (value === '-' && !words.includes('--')) return await readAll(stdin)
  return checkValue(value)
}

function readValueFile(file: string): Uint8Array {
  try {
    return readFileSync(file)
  } catch (error) {
    throw usageError(`--file ${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`)
  }
}

/** All of `input`, refused as soon as it is more than a value may be. */
async function readAll(input: Readable): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of input) {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : (chunk as Uint8Array)
    chunks.push(bytes)
    length += bytes.length
    if (length > limits.valueBytesMax) throw usageError(`the value has more than ${limits.valueBytesMax} bytes`)
  }
  return Buffer.concat(chunks)
}
