/** Sequential specifications of one key. */
import { Text } from './text.ts'

/** What `step` answers when no such output is possible in this state. */
export const impossible = Symbol('impossible')

export interface Model<State, Input, Output> {
  init(): State
  /** The state after `input` answered `output`, which is undefined where the outcome is unknown: then after `input` took effect. */
  step(state: State, input: Input, output: Output | undefined): State | typeof impossible
  /** 32 bits; equal states have equal hashes. */
  hash(state: State): number
  equal(a: State, b: State): boolean
  /** True for inputs that change nothing: without an outcome they say nothing, and are left out. */
  isRead(input: Input): boolean
  /** One line, for reports. */
  describe(input: Input, output: Output | undefined): string
}

// A string per key, at first empty.

export type KvInput = { readonly op: 'get' } | { readonly op: 'put' | 'append'; readonly value: Text }
export interface KvOutput {
  /** Of a get. */
  readonly value?: Text
}

export const kvModel: Model<Text, KvInput, KvOutput> = {
  init: () => Text.of(''),
  step(state, input, output) {
    switch (input.op) {
      case 'get':
        return output?.value === undefined || output.value.equals(state) ? state : impossible
      case 'put':
        return input.value
      case 'append':
        return state.append(input.value)
    }
  },
  hash: (state) => state.hash,
  equal: (a, b) => a.equals(b),
  isRead: (input) => input.op === 'get',
  describe: (input, output) => (input.op === 'get' ? `get → ${output?.value?.value ?? '?'}` : `${input.op} ${input.value.value}`),
}

// A register of integers, at first null.

export type RegisterInput =
  | { readonly op: 'read' }
  | { readonly op: 'write'; readonly value: number }
  | { readonly op: 'cas'; readonly from: number; readonly to: number }
/** Of a read the value, of a compare-and-set whether it was applied. */
export type RegisterOutput = { readonly value: number | null } | { readonly applied: boolean } | Record<string, never>

export const registerModel: Model<number | null, RegisterInput, RegisterOutput> = {
  init: () => null,
  step(state, input, output) {
    switch (input.op) {
      case 'read':
        return output === undefined || ('value' in output && output.value === state) ? state : impossible
      case 'write':
        return input.value
      case 'cas': {
        const applies = state === input.from
        if (output !== undefined && 'applied' in output && output.applied !== applies) return impossible
        return applies ? input.to : state
      }
    }
  },
  hash: (state) => state ?? -1,
  equal: (a, b) => a === b,
  isRead: (input) => input.op === 'read',
  describe: (input, output) => `${JSON.stringify(input)} → ${JSON.stringify(output)}`,
}
