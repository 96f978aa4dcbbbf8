import type { FileSystem } from '../base/file-system.ts'
import { bloomProbes } from '../lsm/bloom.ts'
import { compressionOf, type Damage, type IndexEntry, type TableEntryView, TableInspection } from '../lsm/index.ts'
import { kindTombstone } from '../lsm/kind.ts'
import { usageError } from './exit-code.ts'
import type { InspectOptions } from './inspect-options.ts'
import { type Printer, quoted } from './printer.ts'
import { bytesJson } from './text.ts'

const numberNames = ['entries', 'tombstones', 'maxSequence'] as const

/** Prints a table for people; returns it for `--json`. */
export async function inspectTable(
  fileSystem: FileSystem,
  path: string,
  options: InspectOptions,
  printer: Printer,
  damages: Damage[],
): Promise<object> {
  const table = await TableInspection.open(fileSystem, path, (damage) => damages.push(damage))
  try {
    const count = table.index?.length ?? 0
    if (options.block !== undefined && options.block >= count) {
      throw usageError(`--block ${options.block}: the table has ${count} readable blocks, from 0 on`)
    }
    const head = headJson(table)
    await printer.line(() => headText(table))
    const blocks: object[] = []
    const withEntries = options.entries === true || options.values === true || options.block !== undefined
    if (count > 0) await printer.line(() => '   block      offset     bytes  compression  entries  keys')
    for (const [number, entry] of (table.index ?? []).entries()) {
      if (options.block !== undefined && number !== options.block) continue
      blocks.push(await inspectBlock(table, number, entry, withEntries, options.values === true, printer))
    }
    return { ...head, blocks }
  } finally {
    await table.close()
  }
}

async function inspectBlock(
  table: TableInspection,
  number: number,
  entry: IndexEntry,
  withEntries: boolean,
  withValues: boolean,
  printer: Printer,
): Promise<object> {
  const raw = await table.rawBlock(number)
  let count = 0
  let first: Uint8Array | undefined
  let last: Uint8Array | undefined
  for (const { key } of raw === undefined ? [] : table.entries(number, raw)) {
    first ??= key.slice()
    last = key.slice()
    count++
  }
  const compression = raw === undefined ? 'unreadable' : compressionOf(raw)
  const range = first !== undefined && last !== undefined ? `${quoted(first)} to ${quoted(last)}` : 'unreadable'
  await printer.line(
    () =>
      `${String(number).padStart(8)}  ${String(entry.offset).padStart(10)}  ${String(entry.length).padStart(8)}  ${compression.padStart(11)}  ${String(count).padStart(7)}  ${range}`,
  )
  const entries: object[] = []
  // The damage that the first pass met has been reported.
  const readable = withEntries && raw !== undefined ? table.entries(number, raw, count) : []
  for (const each of readable) {
    if (printer.json) entries.push(entryJson(each, withValues))
    else await printer.line(() => entryText(each, withValues))
  }
  return {
    block: number,
    offset: entry.offset,
    length: entry.length,
    compression,
    entries: count,
    ...(first === undefined ? {} : bytesJson('firstKey', first)),
    ...(last === undefined ? {} : bytesJson('lastKey', last)),
    ...bytesJson('separator', entry.separator),
    ...(withEntries ? { content: entries } : {}),
  }
}

function headJson(table: TableInspection): object {
  const { footer, filter, properties } = table
  const others = [...(properties ?? [])].filter(([name]) => !(numberNames as readonly string[]).includes(name))
  return {
    kind: 'table',
    path: table.path,
    bytes: table.size,
    footer: footer ?? null,
    filter: filter === undefined ? null : { bytes: filter.length, bits: 8 * (filter.length - 1), probes: bloomProbes(filter) },
    properties:
      properties === undefined
        ? null
        : Object.assign(
            {},
            ...numberNames.map((name) => ({ [name]: table.numberProperty(name) ?? null })),
            ...others.map(([name, value]) => bytesJson(name, value)),
          ),
  }
}

function headText(table: TableInspection): string {
  const { footer, filter, properties, index } = table
  const lines = [`table ${table.path}, ${table.size} bytes${footer === undefined ? '' : `, format ${footer.version}`}`]
  if (properties !== undefined) {
    for (const name of numberNames) lines.push(`  ${name}: ${table.numberProperty(name) ?? 'missing'}`)
    for (const [name, value] of properties) {
      if (!(numberNames as readonly string[]).includes(name)) lines.push(`  ${name}: ${quoted(value)}`)
    }
  }
  const place = (name: 'filter' | 'index' | 'properties') =>
    footer === undefined ? '' : `at ${footer[name].offset}, ${footer[name].length} bytes`
  lines.push(
    `  filter: ${place('filter')}${filter === undefined ? ' unreadable' : `, ${8 * (filter.length - 1)} bits, ${bloomProbes(filter)} probes`}`,
  )
  lines.push(`  index: ${place('index')}${index === undefined ? ' unreadable' : `, ${index.length} blocks`}`)
  lines.push(`  properties: ${place('properties')}${properties === undefined ? ' unreadable' : ''}`)
  return lines.join('\n')
}

function entryJson({ key, value, kind, sequence }: TableEntryView, withValue: boolean): object {
  return {
    ...bytesJson('key', key),
    kind: kind === kindTombstone ? 'tombstone' : 'value',
    sequence,
    valueBytes: value.length,
    ...(withValue && kind !== kindTombstone ? bytesJson('value', value) : {}),
  }
}

function entryText({ key, value, kind, sequence }: TableEntryView, withValue: boolean): string {
  if (kind === kindTombstone) return `          ${quoted(key)}  tombstone  sequence ${sequence}`
  return `          ${quoted(key)}  value of ${value.length} bytes  sequence ${sequence}${withValue ? `  ${quoted(value)}` : ''}`
}
