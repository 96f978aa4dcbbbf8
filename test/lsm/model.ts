import type { Database, DatabaseIterator, IterateOptions, Snapshot } from '../../lsm/index.ts'

/** A dumb database: text keys (all ASCII) and text values. */
export type Model = ReadonlyMap<string, string>

export interface Change {
  readonly key: string
  /** Undefined: a delete. */
  readonly value: string | undefined
}

export function applyChanges(model: Model, changes: readonly Change[]): Model {
  const next = new Map(model)
  for (const { key, value } of changes) {
    if (value === undefined) next.delete(key)
    else next.set(key, value)
  }
  return next
}

export function without(model: Model, lower: string | undefined, upper: string | undefined): Model {
  return new Map([...model].filter(([key]) => !within(key, lower, upper)))
}

export function within(key: string, lower: string | undefined, upper: string | undefined): boolean {
  return (lower === undefined || key >= lower) && (upper === undefined || key < upper)
}

/** In the order in which an iterator gives it. */
export function recordsOf(model: Model, lower?: string, upper?: string, reverse = false): string[] {
  const keys = [...model.keys()].filter((key) => within(key, lower, upper)).sort()
  if (reverse) keys.reverse()
  return keys.map((key) => `${key}=${model.get(key)}`)
}

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
export const text = (value: Uint8Array): string => Buffer.from(value).toString('latin1')

/** All records of an iterator as 'key=value'. */
export async function drain(iterator: DatabaseIterator): Promise<string[]> {
  const records: string[] = []
  while (await iterator.next()) records.push(`${text(iterator.key)}=${text(iterator.value)}`)
  return records
}

export function scan(db: Database, lower?: string, upper?: string, reverse = false, snapshot?: Snapshot): Promise<string[]> {
  const options: IterateOptions = {
    reverse,
    ...(lower === undefined ? {} : { lower: bytes(lower) }),
    ...(upper === undefined ? {} : { upper: bytes(upper) }),
    ...(snapshot === undefined ? {} : { snapshot }),
  }
  return drain(db.iterate(options))
}

export async function getText(db: Database, key: string, snapshot?: Snapshot): Promise<string | undefined> {
  const value = await db.get(bytes(key), snapshot)
  return value === undefined ? undefined : text(value)
}
