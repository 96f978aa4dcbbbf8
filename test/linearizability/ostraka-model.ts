/** Ostraka's data commands on one key. Values are strings; lengths are bytes of UTF-8. Revisions and expiry are not part of it. */
import { impossible, type Model } from './model.ts'
import { Text } from './text.ts'

export type OstrakaInput =
  | { readonly op: 'get' | 'delete' }
  | { readonly op: 'put' | 'append'; readonly value: string }
  | { readonly op: 'increment'; readonly by: bigint }
  | {
      readonly op: 'compareAndSet'
      readonly expect: { readonly value: string } | { readonly absent: true }
      readonly change: { readonly value: string } | { readonly delete: true }
    }

/** Each field is checked where it is given. */
export interface OstrakaOutput {
  /** get, increment: the value, undefined if the key is absent. */
  readonly value?: string | undefined
  /** delete. */
  readonly existed?: boolean
  /** append: of the whole value, in bytes. */
  readonly length?: number
  /** compareAndSet. */
  readonly applied?: boolean
  /** compareAndSet: what was there when it was not applied, undefined if nothing. */
  readonly current?: string | undefined
  /** increment: the value is no integer of 64 bits, or would leave their range. */
  readonly refused?: boolean
}

/** Null: the key is absent. */
export type OstrakaState = Text | null

const INT64_MIN = -(2n ** 63n)
const INT64_MAX = 2n ** 63n - 1n

export const ostrakaModel: Model<OstrakaState, OstrakaInput, OstrakaOutput> = {
  init: () => null,
  step,
  hash: (state) => state?.hash ?? 0x5bd1e995,
  equal: (a, b) => (a === null || b === null ? a === b : a.equals(b)),
  isRead: (input) => input.op === 'get',
  describe: (input, output) => `${show(input)} → ${output === undefined ? '?' : show(output)}`,
}

function step(state: OstrakaState, input: OstrakaInput, output: OstrakaOutput | undefined): OstrakaState | typeof impossible {
  switch (input.op) {
    case 'get':
      return output === undefined || isValue(state, output.value) ? state : impossible
    case 'put':
      return textOf(input.value)
    case 'delete':
      return output?.existed === undefined || output.existed === (state !== null) ? null : impossible
    case 'append': {
      const next = state === null ? textOf(input.value) : state.append(textOf(input.value))
      return output?.length === undefined || output.length === next.bytes ? next : impossible
    }
    case 'increment':
      return increment(state, input.by, output)
    case 'compareAndSet': {
      const applies = 'absent' in input.expect ? state === null : isValue(state, input.expect.value)
      if (output?.applied !== undefined && output.applied !== applies) return impossible
      if (!applies) return output !== undefined && 'current' in output && !isValue(state, output.current) ? impossible : state
      return 'delete' in input.change ? null : textOf(input.change.value)
    }
  }
}

function increment(state: OstrakaState, by: bigint, output: OstrakaOutput | undefined): OstrakaState | typeof impossible {
  const sum = state === null ? by : /^-?\d{1,19}$/.test(state.value) ? BigInt(state.value) + by : undefined
  const refused = sum === undefined || sum < INT64_MIN || sum > INT64_MAX
  if (output !== undefined && (output.refused ?? false) !== refused) return impossible
  if (refused) return state
  const next = String(sum)
  return output?.value === undefined || output.value === next ? Text.of(next) : impossible
}

function isValue(state: OstrakaState, value: string | undefined): boolean {
  if (state === null || value === undefined) return state === null && value === undefined
  return state.equals(textOf(value))
}

const texts = new Map<string, Text>()
const TEXTS_MAX = 100_000

/** What operations name is hashed once, not at each step of the search. */
function textOf(value: string): Text {
  let text = texts.get(value)
  if (text === undefined) {
    if (texts.size >= TEXTS_MAX) texts.clear()
    texts.set(value, (text = Text.of(value)))
  }
  return text
}

function show(value: object): string {
  return JSON.stringify(value, (_key, field: unknown) => (typeof field === 'bigint' ? String(field) : field))
}
