import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { finished } from 'node:stream/promises'
import type { Command } from 'commander'
import { CommandError, exitCode } from './exit-code.ts'
import { examples, type Registry } from './invocation.ts'
import { recordJson } from './text.ts'
import type { Database } from './world.ts'

export function addExport(program: Command, registry: Registry): void {
  const command = program
    .command('export')
    .description('write all records to an ndjson file, in the order of their keys')
    .argument('<file>')
    .option('--prefix <text>', 'only keys that begin with it')
    .addHelpText('after', examples('export records.ndjson', 'export users.ndjson --prefix user:'))
  registry.add(command, async (invocation) => {
    const file = command.processedArgs[0] as string
    const { prefix } = command.opts<{ prefix?: string }>()
    await invocation.withDatabase(async (database) => {
      const records = await exportTo(database, file, prefix)
      invocation.print({ records }, `${records} records`)
    })
    return undefined
  })
}

/** Under its name only when it is whole. */
async function exportTo(database: Database, file: string, prefix: string | undefined): Promise<number> {
  const temporary = `${file}.tmp`
  const output = createWriteStream(temporary, { flush: true })
  try {
    await once(output, 'open')
  } catch (error) {
    throw new CommandError(
      exitCode.failed,
      'FAILED',
      `${file} cannot be written: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
  let records = 0
  try {
    for await (const record of database.scan({ prefix })) {
      records++
      if (!output.write(`${JSON.stringify(recordJson(record.key, record))}\n`)) await once(output, 'drain')
    }
    output.end()
    await finished(output)
    await rename(temporary, file)
    return records
  } catch (error) {
    output.destroy()
    await rm(temporary, { force: true })
    throw error
  }
}
