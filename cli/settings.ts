import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { isShardCount } from '../base/slot.ts'
import type { ListenAddress } from '../base/transport.ts'
import { limits } from '../proto/limits.ts'
import { parseAddress, parseAddresses, parseListenAddress, parseMembers, parseName } from './address.ts'
import { CommandError, usageError } from './exit-code.ts'

/**
 * What `up`, `controller` and `server` are told: a flag goes over the environment (`OSTRAKA_` and the flag's name in capitals), that over
 * the JSON file of `--config` (keys are the flags without dashes in front), that over the default. One schema checks what comes out.
 */

const integer = (min: number, max: number) =>
  z
    .union([z.number(), z.string().regex(/^\d+$/, 'give a whole number').transform(Number)], `give a whole number from ${min} to ${max}`)
    .refine((value) => Number.isSafeInteger(value) && value >= min && value <= max, `give a whole number from ${min} to ${max}`)

const boolean = z.union(
  [z.boolean(), z.enum(['true', 'false', '1', '0']).transform((text) => text === 'true' || text === '1')],
  'give true or false',
)

/** Runs one of our parsers; what it throws becomes the issue's message. */
function parsed<T>(parse: (text: string) => T) {
  return z.string('give text').transform((text, context): T => {
    try {
      return parse(text)
    } catch (error) {
      context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) })
      return z.NEVER
    }
  })
}

/** A repeated flag, a comma-separated text or a JSON list. */
function list<T>(parse: (text: string) => T) {
  return z
    .union([z.array(z.string()), z.string().transform((text) => text.split(',').map((part) => part.trim()))], 'give a list')
    .pipe(z.array(parsed(parse)).min(1, 'give at least one'))
}

const listenList = (allowPortZero: boolean) =>
  list((text) => parseListenAddress(text, allowPortZero)).refine(
    (addresses: ListenAddress[]) => new Set(addresses.map(({ name }) => name)).size === addresses.length,
    'two addresses have the same name: give NAME=HOST:PORT with different names',
  )

const GiB = 1024 ** 3

const tuning = {
  'election-timeout-ms': integer(50, 600_000).default(1_000),
  'heartbeat-ms': integer(10, 60_000).default(100),
  'snapshot-log-bytes': integer(65_536, 1024 * GiB).default(67_108_864),
  'snapshot-bytes-per-second': integer(1_024, 1024 * GiB).optional(),
  'memtable-bytes': integer(1_048_576, 2 * GiB).default(67_108_864),
  'block-cache-bytes': integer(1_048_576, 64 * GiB).default(134_217_728),
  'disk-reserve-bytes': integer(0, 64 * GiB).default(16_777_216),
  'migration-bytes-per-second': integer(1_024, 1024 * GiB).optional(),
  'max-migrations': integer(1, 64).default(2),
  'balance-leaders': boolean.default(true),
  'read-mode': z.enum(['linearizable', 'lease'], "give 'linearizable' or 'lease'").default('linearizable'),
  'log-level': z.enum(['debug', 'info', 'warn', 'error', 'silent'], "give 'debug', 'info', 'warn', 'error' or 'silent'").default('info'),
}

const shards = integer(limits.shardCountMin, limits.shardCountMax)
  .refine(isShardCount, 'give a power of two from 16 to 16384')
  .default(limits.shardCountDefault)

const processKeys = {
  ...tuning,
  id: parsed((text) => parseName(text, 'id')),
  listen: listenList(true),
  advertise: listenList(false).optional(),
  data: z.string('give a folder').min(1, 'give a folder'),
  http: parsed((text) => parseAddress(text, true)).optional(),
}

export const controllerSchema = z.strictObject({ ...processKeys, peers: parsed(parseMembers), shards })
export const serverSchema = z.strictObject({ ...processKeys, controllers: parsed(parseAddresses) })
export const upSchema = z.strictObject({
  ...tuning,
  nodes: integer(1, 10).default(3),
  groups: integer(1, 64).default(3),
  replicas: integer(1, 9).optional(),
  shards,
  data: z.string('give a folder').min(1, 'give a folder').default('.ostraka'),
  'base-port': integer(0, 65_000).default(7_400),
  fresh: boolean.default(false),
  'no-restart': boolean.default(false),
})

export type ControllerFlags = z.output<typeof controllerSchema>
export type ServerFlags = z.output<typeof serverSchema>
export type UpFlags = z.output<typeof upSchema>
export type TuningFlags = Pick<UpFlags, keyof typeof tuning>

/** The flags in the order of the schema's tuning keys, for handing them to a child process. */
export function tuningArguments(flags: TuningFlags): string[] {
  return Object.keys(tuning).flatMap((name) => {
    const value = flags[name as keyof typeof tuning]
    return value === undefined ? [] : [`--${name}`, String(value)]
  })
}

export interface Given {
  /** As typed, by flag name; what was not typed is missing. */
  readonly flags: Readonly<Record<string, unknown>>
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Path of the `--config` file. */
  readonly file: string | undefined
}

/** Merges and checks. Throws wrong usage (2) that names the flag or key. */
export function resolveSettings<S extends Schema>(schema: S, given: Given): z.output<S> {
  return resolveGiven(schema, given).settings
}

type Schema = typeof controllerSchema | typeof serverSchema | typeof upSchema

/** The same, and which of the settings were given in any way, so are no defaults. */
export function resolveGiven<S extends Schema>(schema: S, given: Given): { settings: z.output<S>; names: ReadonlySet<string> } {
  const names = Object.keys(schema.shape)
  const values: Record<string, unknown> = given.file === undefined ? {} : readConfig(given.file, names)
  const origins = new Map(Object.keys(values).map((name) => [name, `${name} in ${given.file}`]))
  for (const name of names) {
    const variable = variableOf(name)
    const fromEnvironment = given.environment[variable]
    if (fromEnvironment !== undefined && fromEnvironment !== '') {
      values[name] = fromEnvironment
      origins.set(name, variable)
    }
    if (given.flags[name] !== undefined) {
      values[name] = given.flags[name]
      origins.set(name, `--${name}`)
    }
  }
  const result = schema.safeParse(values)
  if (result.success) return { settings: result.data as z.output<S>, names: new Set(origins.keys()) }
  const issue = result.error.issues[0]
  const name = String(issue?.path[0] ?? '')
  if (values[name] === undefined) throw usageError(`--${name} is missing`)
  throw usageError(`${origins.get(name) ?? name}: ${issue?.message ?? 'not valid'}`)
}

export function variableOf(name: string): string {
  return `OSTRAKA_${name.toUpperCase().replaceAll('-', '_')}`
}

function readConfig(file: string, names: readonly string[]): Record<string, unknown> {
  let content: unknown
  try {
    content = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw usageError(`--config ${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`)
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) throw usageError(`--config ${file} is no JSON object`)
  for (const key of Object.keys(content)) {
    if (!names.includes(key))
      throw new CommandError(2, 'INVALID_ARGUMENT', `--config ${file}: unknown key '${key}'; known are ${names.join(', ')}`)
  }
  return { ...content }
}
