import { once } from 'node:events'
import type { Command } from 'commander'
import { CommandError, exitCode, usageError } from './exit-code.ts'
import { addFreshness, type FreshnessFlags, freshnessOf } from './freshness.ts'
import { examples, type Registry } from './invocation.ts'
import { checkKey, recordJson } from './text.ts'
import type { Output } from './world.ts'

/** get, scan. */
export function addReads(program: Command, registry: Registry): void {
  addGet(program, registry)
  addScan(program, registry)
}

function addGet(program: Command, registry: Registry): void {
  const command = addFreshness(program.command('get'))
    .description('write a value, as it is, to stdout; 3 if there is none')
    .argument('<key>')
    .addHelpText('after', examples('get colour', 'get logo > logo.png', 'get colour --json'))
  registry.add(command, async (invocation) => {
    const key = checkKey(command.processedArgs[0] as string)
    const freshness = freshnessOf(command.opts<FreshnessFlags>())
    const found = await invocation.withDatabase((database) => database.get(key, freshness))
    if (found === undefined) throw new CommandError(exitCode.keyNotFound, 'NOT_FOUND', `no key '${key}'`)
    if (invocation.json) invocation.print(recordJson(Buffer.from(key), found), '')
    else invocation.world.stdout.write(found.value)
    return undefined
  })
}

interface ScanFlags extends FreshnessFlags {
  readonly prefix?: string
  readonly start?: string
  readonly end?: string
  readonly reverse?: boolean
  readonly limit?: string
}

function addScan(program: Command, registry: Registry): void {
  const command = addFreshness(program.command('scan'))
    .description('all records in the order of their keys: key, tab, value; or a JSON object a line')
    .option('--prefix <text>', 'only keys that begin with it')
    .option('--start <key>', 'from this key on')
    .option('--end <key>', 'up to this key, without it')
    .option('--reverse', 'from the end downwards')
    .option('--limit <count>', 'at most so many')
    .addHelpText('after', examples('scan --prefix user: --limit 10', 'scan --json | jq .key', 'scan --start a --end b --reverse'))
  registry.add(command, async (invocation) => {
    const { limit, ...options } = command.opts<ScanFlags>()
    if (limit !== undefined && !/^\d{1,15}$/.test(limit)) throw usageError(`--limit ${limit}: give a whole number`)
    const { prefix, start, end, reverse } = options
    const freshness = freshnessOf(options)
    await invocation.withDatabase(async (database) => {
      if (limit !== undefined && Number(limit) === 0) return
      for await (const record of database.scan({
        prefix,
        start,
        end,
        reverse,
        ...freshness,
        limit: limit === undefined ? undefined : Number(limit),
      })) {
        const line = invocation.json
          ? Buffer.from(`${JSON.stringify(recordJson(record.key, record))}\n`)
          : Buffer.concat([record.key, Buffer.from('\t'), record.value, Buffer.from('\n')])
        await writeAll(invocation.world.stdout, line)
      }
    })
    return undefined
  })
}

/** Waits where the reader is slower than the scan. */
export async function writeAll(output: Output, bytes: Uint8Array): Promise<void> {
  if (!output.write(bytes)) await once(output, 'drain')
}
