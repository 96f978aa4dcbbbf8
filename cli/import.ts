import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import type { SingleBar } from 'cli-progress'
import type { Command } from 'commander'
import { usageError } from './exit-code.ts'
import { InFlight } from './in-flight.ts'
import { examples, type Registry } from './invocation.ts'
import { durationText } from './units.ts'
import type { Database, Output } from './world.ts'

/** Puts under way at once: enough to fill batches for every group. */
const PUTS_MAX = 1_024
const BYTES_MAX = 16 * 1024 * 1024

export function addImport(program: Command, registry: Registry): void {
  const command = program
    .command('import')
    .description('put the records of an ndjson file, one {"key":…,"value":…} a line')
    .argument('<file>')
    .option('--progress', 'show a progress bar')
    .addHelpText('after', examples('import records.ndjson --progress'))
  registry.add(command, async (invocation) => {
    const file = command.processedArgs[0] as string
    const { progress } = command.opts<{ progress?: boolean }>()
    const bytes = await sizeOf(file)
    await invocation.withDatabase(async (database) => {
      const bar = progress === true ? await startBar(invocation.world.stderr, bytes) : undefined
      try {
        const { records, seconds } = await importFile(database, file, (done, records) => bar?.update(done, { records }))
        bar?.update(bytes, { records })
        bar?.stop()
        const perSecond = Math.round(records / seconds)
        invocation.print({ records, seconds, perSecond }, `${records} records in ${seconds.toFixed(1)} s (${perSecond}/s)`)
      } finally {
        bar?.stop()
      }
    })
    return undefined
  })
}

async function importFile(
  database: Database,
  file: string,
  onProgress: (bytes: number, records: number) => void,
): Promise<{ records: number; seconds: number }> {
  const { parseLine } = await import('./import-line.ts')
  const startMs = performance.now()
  const flight = new InFlight(PUTS_MAX, BYTES_MAX)
  const input = createReadStream(file)
  await once(input, 'open')
  let lineNumber = 0
  let records = 0
  try {
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      lineNumber++
      if (line.trim() === '') continue
      const { key, value, ttlMs } = parseLine(line, lineNumber)
      const number = lineNumber
      await flight.add(key.length + value.length, () => putOf(database, key, value, ttlMs, number))
      records++
      onProgress(input.bytesRead, records)
    }
  } finally {
    input.destroy()
    // What came before a broken line stays, so it is waited for.
    await flight.settled()
  }
  flight.throwIfFailed()
  return { records, seconds: Math.max(performance.now() - startMs, 1) / 1000 }
}

async function putOf(database: Database, key: Buffer, value: Buffer, ttlMs: number | undefined, lineNumber: number): Promise<void> {
  try {
    await database.put(key, value, ttlMs === undefined ? {} : { ttlMs })
  } catch (error) {
    if (error instanceof Error) error.message = `line ${lineNumber}: ${error.message}`
    throw error
  }
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size
  } catch (error) {
    throw usageError(`${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`)
  }
}

async function startBar(stream: Output, total: number): Promise<SingleBar> {
  const { Presets, SingleBar } = await import('cli-progress')
  const bar = new SingleBar(
    {
      format: '{bar} {percentage} % | {value}/{total} bytes | {records} records | {eta_formatted} left',
      formatTime: (seconds) => durationText(Number.isFinite(seconds) ? seconds * 1000 : 0),
      stream,
      noTTYOutput: true,
    },
    Presets.shades_classic,
  )
  bar.start(total, 0, { records: 0 })
  return bar
}
