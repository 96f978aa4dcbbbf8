import { SeededRandom } from '../../../base/random.ts'
import { type Operation, randomKey, randomOperation, randomRange } from '../random-operations.ts'

/** What asks and changes nothing. Snapshots and iterators are held in slots; one that is not there answers so. */
export type Reading =
  | { readonly kind: 'get' | 'getSync'; readonly key: string; readonly snapshot: number | undefined }
  | { readonly kind: 'getMany'; readonly keys: readonly string[]; readonly snapshot: number | undefined }
  | ({ readonly kind: 'scan'; readonly snapshot: number | undefined } & Bounds)
  /** Takes the place of the one that the slot held. */
  | { readonly kind: 'snapshot'; readonly slot: number }
  | { readonly kind: 'release'; readonly slot: number }
  | ({ readonly kind: 'iterator'; readonly slot: number; readonly snapshot: number | undefined } & Bounds)
  | { readonly kind: 'next'; readonly slot: number; readonly count: number }
  /** Opens the last checkpoint and reads all of it. */
  | { readonly kind: 'openCheckpoint' }
  /** Ends all snapshots and iterators, too. */
  | { readonly kind: 'reopen' }

export interface Bounds {
  readonly lower: string | undefined
  readonly upper: string | undefined
  readonly reverse: boolean
}

/** One step of a history. Any part of a list of steps is a list of steps. */
export interface Step {
  readonly action: Operation | Reading
  /** Changes: what follows, if it is a change, does not wait for it. */
  readonly together: boolean
}

export const slotCount = 6

export function randomSteps(seed: number, count: number): Step[] {
  const random = new SeededRandom(seed)
  return Array.from({ length: count }, (_, i) => {
    const action = random.below(100) < 60 ? aborted(randomOperation(random, i + 1), i) : randomReading(random)
    return { action, together: random.below(2) === 0 }
  })
}

/** Of long work each second is aborted. */
function aborted(operation: Operation, i: number): Operation {
  const isLong = operation.kind === 'compact' || operation.kind === 'ingest' || operation.kind === 'checkpoint'
  return isLong && i % 2 === 0 ? { ...operation, abortAfter: ((7 * i) % 61) - 1 } : operation
}

function randomReading(random: SeededRandom): Reading {
  const draw = random.below(100)
  const slot = random.below(slotCount)
  const snapshot = random.below(3) === 0 ? random.below(slotCount) : undefined
  const bounds = () => ({ ...randomRange(random), reverse: random.below(2) === 0 })
  if (draw < 20) return { kind: draw % 2 === 0 ? 'get' : 'getSync', key: randomKey(random), snapshot }
  if (draw < 30) return { kind: 'getMany', keys: Array.from({ length: 1 + random.below(6) }, () => randomKey(random)), snapshot }
  if (draw < 50) return { kind: 'scan', ...bounds(), snapshot }
  if (draw < 60) return { kind: 'snapshot', slot }
  if (draw < 66) return { kind: 'release', slot }
  if (draw < 76) return { kind: 'iterator', slot, ...bounds(), snapshot }
  if (draw < 92) return { kind: 'next', slot, count: 1 + random.below(12) }
  if (draw < 96) return { kind: 'openCheckpoint' }
  return { kind: 'reopen' }
}

/** For people: short, and without what fills a value up. */
export function describeStep({ action, together }: Step): string {
  const fields = Object.entries(action)
    .filter(([name, value]) => name !== 'kind' && value !== undefined)
    .map(([name, value]) => `${name} ${typeof value === 'object' ? describeList(value) : JSON.stringify(value)}`)
  return [action.kind, ...fields, ...(together ? ['together'] : [])].join(' ')
}

function describeList(list: readonly unknown[]): string {
  const items = list.map((item) => {
    if (typeof item === 'string') return item
    const { key, value } = item as { key: string; value: string | undefined }
    return value === undefined ? `-${key}` : `${key}=${value.replace(/\.+$/, (dots) => `(+${dots.length})`)}`
  })
  return `[${items.join(' ')}]`
}
