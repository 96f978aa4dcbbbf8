import { assert } from '../../base/assert.ts'
import { concatBytes, emptyBytes, readU32, writeU32 } from '../../base/bytes.ts'
import type { ConfChange, ConfStep } from './types.ts'

/**
 * A membership change as the data of an entry of kind ConfChange. No bytes at all: leave the joint configuration.
 *
 *     0         1            2         4
 *     ┌─────────┬────────────┬─────────┬───────────────────┬─────────┐
 *     │ version │ transition │ n u16   │ step × n          │ context │
 *     └─────────┴────────────┴─────────┴───────────────────┴─────────┘
 *                              step:   │ type u8, replica u32 │
 *
 * Numbers are little-endian. The context reaches to the end and is the proposer's business.
 */
const version = 1
const headerBytes = 4
const stepBytes = 5
const stepsMax = 0xffff

const transitions = ['auto', 'joint-implicit', 'joint-explicit'] as const
const stepTypes = ['add-voter', 'add-learner', 'remove'] as const

export interface DecodedConfChange {
  readonly change: ConfChange
  readonly context: Uint8Array
}

const leave: DecodedConfChange = { change: { transition: 'auto', steps: [] }, context: emptyBytes }

export function encodeConfChange({ transition, steps }: ConfChange, context: Uint8Array): Uint8Array {
  if (steps.length === 0 && context.length === 0) return emptyBytes
  assert(steps.length <= stepsMax, `a membership change of ${steps.length} steps`)
  const bytes = new Uint8Array(headerBytes + steps.length * stepBytes)
  bytes[0] = version
  bytes[1] = transitions.indexOf(transition)
  bytes[2] = steps.length
  bytes[3] = steps.length >>> 8
  let offset = headerBytes
  for (const { type, replica } of steps) {
    assert(Number.isInteger(replica) && replica >= 0 && replica <= 0xffffffff, `replica number ${replica}`)
    bytes[offset] = stepTypes.indexOf(type)
    writeU32(bytes, offset + 1, replica)
    offset += stepBytes
  }
  return concatBytes(bytes, context)
}

/** Undefined for bytes that no `encodeConfChange` of this version made. `context` is a view of `data`. */
export function decodeConfChange(data: Uint8Array): DecodedConfChange | undefined {
  if (data.length === 0) return leave
  if (data.length < headerBytes || data[0] !== version) return undefined
  const transition = transitions[data[1] as number]
  const count = (data[2] as number) | ((data[3] as number) << 8)
  const end = headerBytes + count * stepBytes
  if (transition === undefined || data.length < end) return undefined
  const steps: ConfStep[] = []
  for (let offset = headerBytes; offset < end; offset += stepBytes) {
    const type = stepTypes[data[offset] as number]
    if (type === undefined) return undefined
    steps.push({ type, replica: readU32(data, offset + 1) })
  }
  return { change: { transition, steps }, context: data.subarray(end) }
}
