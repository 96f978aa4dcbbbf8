import { utf8 } from '../base/bytes.ts'
import { CorruptionError } from '../base/errors.ts'
import { type Config, decodeConfig, encodeConfig } from '../proto/config.ts'
import { applyDifferences, type ConfigDifference } from '../proto/config-difference.ts'
import { pb } from '../proto/messages.ts'

/**
 * How the controllers' state lies in its database. A key is a letter, then:
 *
 *     m                      ControllerMeta
 *     c  number u64          ConfigDifference from the config before it
 *     w  number u64          Config, whole: each `wholeEvery`-th and the one that forms the cluster (0)
 *     n  node id             NodeRegistration of a node
 *     k  controller id       NodeRegistration of a controller
 *     r  replica number u64  ReplicaClaim
 *     q  sequence u64        AnsweredRequest
 *     j  group name          uid of the group that joined last under this name
 *     g  migration id u64    Migration
 *     b  shard u64           ShardBirth that its group has not confirmed
 *     t  group uid           nothing: the group was removed, forever
 *
 * Numbers in keys are big-endian, so that their order is that of the keys.
 */

/** What is needed of `lsm`'s Database; tests have one of their own. */
export interface RecordReader {
  get(key: Uint8Array): Uint8Array | undefined | Promise<Uint8Array | undefined>
  iterate(options: { lower?: Uint8Array; upper?: Uint8Array; reverse?: boolean }): AsyncIterable<{ key: Uint8Array; value: Uint8Array }>
}

export interface RecordWriter {
  put(key: Uint8Array, value: Uint8Array): unknown
  delete(key: Uint8Array): unknown
}

export const wholeEvery = 64

export const metaKey = utf8('m')
export const differenceKey = (number: number): Uint8Array => numberKey('c', number)
export const wholeKey = (number: number): Uint8Array => numberKey('w', number)
export const nodeKey = (id: string): Uint8Array => utf8(`n${id}`)
export const controllerKey = (id: string): Uint8Array => utf8(`k${id}`)
export const claimKey = (replica: number): Uint8Array => numberKey('r', replica)
export const requestKey = (sequence: number): Uint8Array => numberKey('q', sequence)
export const joinedKey = (name: string): Uint8Array => utf8(`j${name}`)
export const migrationKey = (id: number): Uint8Array => numberKey('g', id)
export const birthKey = (shard: number): Uint8Array => numberKey('b', shard)
export const tombstoneKey = (uid: string): Uint8Array => utf8(`t${uid}`)

export type Letter = 'm' | 'c' | 'w' | 'n' | 'k' | 'r' | 'q' | 'j' | 'g' | 'b' | 't'

/** All records of a letter, in the order of their keys, from key `lower` on where one is given. */
export async function* recordsOf(
  database: RecordReader,
  letter: Letter,
  lower?: Uint8Array,
): AsyncGenerator<{ key: Uint8Array; value: Uint8Array }> {
  const code = letter.charCodeAt(0)
  yield* database.iterate({ lower: lower ?? Uint8Array.of(code), upper: Uint8Array.of(code + 1) })
}

export function putStep(records: RecordWriter, step: ConfigDifference): void {
  records.put(differenceKey(step.to?.number ?? 0), pb.v1.ConfigDifference.encode(step).finish())
}

export function putWhole(records: RecordWriter, config: Config): void {
  records.put(wholeKey(config.number), pb.v1.Config.encode(encodeConfig(config)).finish())
}

/** A config by its number, put together from the whole one before it; undefined if there is none. Throws CorruptionError. */
export async function readConfig(database: RecordReader, number: number): Promise<Config | undefined> {
  const base = number - (number % wholeEvery)
  const whole = await database.get(wholeKey(base))
  if (whole === undefined) return undefined
  return await decoding(`config ${number}`, async () => {
    const steps: ConfigDifference[] = []
    for (let next = base + 1; next <= number; next++) {
      const bytes = await database.get(differenceKey(next))
      if (bytes === undefined) return undefined
      steps.push(pb.v1.ConfigDifference.decode(plain(bytes)))
    }
    return applyDifferences(decodeConfig(pb.v1.Config.decode(plain(whole))), steps)
  })
}

/** Runs what decodes our own records: what it throws means that they are not what was written. */
export async function decoding<T>(what: string, decode: () => Promise<T>): Promise<T> {
  try {
    return await decode()
  } catch (error) {
    // protobufjs throws plain errors too.
    const isOurs = error instanceof RangeError || (error instanceof Error && error.name === 'Error')
    if (isOurs) throw new CorruptionError('controller database', undefined, `${what}: ${error.message}`)
    throw error
  }
}

/** A copy in memory of its own, which outlives the database's block. */
export function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes)
}

function numberKey(letter: Letter, number: number): Uint8Array {
  const key = new Uint8Array(9)
  key[0] = letter.charCodeAt(0)
  new DataView(key.buffer).setBigUint64(1, BigInt(number))
  return key
}
