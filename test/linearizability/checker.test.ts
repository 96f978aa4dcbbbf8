import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { checkLinearizable, describeVerdict } from './checker.ts'
import { HistoryRecorder, type Operation } from './history.ts'
import { type KvInput, type KvOutput, kvModel, type RegisterInput, type RegisterOutput, registerModel } from './model.ts'
import { type OstrakaInput, type OstrakaOutput, ostrakaModel } from './ostraka-model.ts'
import { Text } from './text.ts'

type Registers = Operation<RegisterInput, RegisterOutput>

const write = (client: string, value: number, called: number, returned: number): Registers => ({
  client,
  key: 'x',
  input: { op: 'write', value },
  output: returned === Number.POSITIVE_INFINITY ? undefined : {},
  called,
  returned,
})
const read = (client: string, value: number | null, called: number, returned: number): Registers => ({
  client,
  key: 'x',
  input: { op: 'read' },
  output: { value },
  called,
  returned,
})
const open = Number.POSITIVE_INFINITY
const verdictOf = (history: readonly Registers[]) => checkLinearizable(registerModel, history).verdict

describe('checkLinearizable', () => {
  it('accepts an empty history, and reads of the first state', () => {
    expect(verdictOf([])).toBe('linearizable')
    expect(verdictOf([read('a', null, 0, 1)])).toBe('linearizable')
  })

  it('refutes a read that misses a write which ended before it', () => {
    expect(verdictOf([write('a', 1, 0, 1), read('b', 1, 2, 3)])).toBe('linearizable')
    expect(verdictOf([write('a', 1, 0, 1), read('b', null, 2, 3)])).toBe('refuted')
  })

  it('lets concurrent operations take effect in any order, but in one', () => {
    const both = [write('a', 1, 0, 10), write('b', 2, 0, 10)]
    expect(verdictOf([...both, read('c', 1, 11, 12), read('d', 1, 13, 14)])).toBe('linearizable')
    expect(verdictOf([...both, read('c', 2, 11, 12), read('d', 2, 13, 14)])).toBe('linearizable')
    expect(verdictOf([...both, read('c', 1, 11, 12), read('d', 2, 13, 14)])).toBe('refuted')
  })

  it('takes steps with the number of keys, not with its square', () => {
    const history = Array.from({ length: 300_000 }, (_, i) => ({ ...write('a', 1, i, i + 1), key: String(i) }))
    expect(checkLinearizable(registerModel, history)).toMatchObject({ verdict: 'linearizable', keys: history.length })
  })

  it('refutes a value that goes back', () => {
    const slow = write('a', 1, 0, 100)
    expect(verdictOf([slow, read('b', null, 1, 2), read('b', 1, 3, 4)])).toBe('linearizable')
    expect(verdictOf([slow, read('b', 1, 1, 2), read('b', null, 3, 4)])).toBe('refuted')
  })

  it('lets an operation without an outcome take effect late or never, but not before its call', () => {
    const lost = write('a', 1, 5, open)
    expect(verdictOf([lost, read('b', null, 6, 7)])).toBe('linearizable')
    expect(verdictOf([lost, read('b', null, 6, 7), read('b', 1, 100, 101)])).toBe('linearizable')
    expect(verdictOf([lost, read('b', 1, 6, 7), read('b', null, 100, 101)])).toBe('refuted')
    expect(verdictOf([lost, read('b', 1, 0, 1)])).toBe('refuted')
  })

  it('lets an operation without an outcome take effect once only', () => {
    const lost = { ...write('a', 1, 0, open), input: { op: 'cas', from: 0, to: 1 } as const }
    const base = [write('z', 0, -2, -1), lost, read('b', 1, 1, 2), write('b', 0, 3, 4)]
    expect(verdictOf([...base, read('b', 0, 5, 6)])).toBe('linearizable')
    expect(verdictOf([...base, read('b', 1, 5, 6)])).toBe('refuted')
  })

  it('counts operations that touch as concurrent', () => {
    expect(verdictOf([write('a', 1, 0, 5), read('b', null, 5, 6)])).toBe('linearizable')
  })

  it('names the refuted key, the longest order that fits and what does not', () => {
    const other = { ...read('c', 9, 0, 1), key: 'y' }
    const history = [
      write('a', 1, 0, 1),
      read('b', 1, 2, 3),
      write('a', 2, 4, 5),
      read('b', 1, 6, 7),
      { ...other, output: { value: null } },
    ]
    const verdict = checkLinearizable(registerModel, history)
    if (verdict.verdict !== 'refuted') throw new Error(verdict.verdict)
    expect(verdict.key).toBe('x')
    expect(verdict.linearized).toEqual(history.slice(0, 3))
    expect(verdict.stuck).toEqual([history[3]])
    expect(describeVerdict(registerModel, verdict)).toContain('none of these fits:\n  [6, 7] b: {"op":"read"} → {"value":1}')
    expect(checkLinearizable(registerModel, [other])).toMatchObject({ verdict: 'refuted', key: 'y' })
  })

  /** Many open writes and reads of values never written later: exponential. */
  const hard = (key: string): Registers[] => [
    ...Array.from({ length: 26 }, (_, i) => ({ ...write(`w${i}`, i, 0, open), key })),
    ...Array.from({ length: 12 }, (_, i) => ({ ...read('r', i, 10 + 2 * i, 11 + 2 * i), key })),
    { ...read('r', 99, 100, 101), key },
  ]

  it('says unknown when its budget is used up', () => {
    const verdict = checkLinearizable(registerModel, hard('x'), { stepsMax: 50_000 })
    expect(verdict).toMatchObject({ verdict: 'unknown', keys: ['x'] })
    expect(describeVerdict(registerModel, verdict)).toContain('too many concurrent operations on x')
    expect(checkLinearizable(registerModel, hard('x'), { statesMax: 1_000 }).verdict).toBe('unknown')
  })

  it('refutes an easy key although a hard one comes first', () => {
    const easy = [write('a', 1, 0, 1), read('b', null, 2, 3)].map((operation) => ({ ...operation, key: 'easy' }))
    expect(checkLinearizable(registerModel, [...hard('hard'), ...easy], { stepsMax: 50_000 })).toMatchObject({
      verdict: 'refuted',
      key: 'easy',
    })
  })
})

describe('HistoryRecorder', () => {
  it('leaves failed operations out and unknown ones open, in the order of events', () => {
    const recorder = new HistoryRecorder<string, number>()
    const first = recorder.call('a', 'k', 'put')
    const second = recorder.call('b', 'k', 'get')
    recorder.call('c', 'k', 'lost')
    recorder.fail(second)
    recorder.return(first, 7)
    expect(() => recorder.return(first, 8)).toThrow('operation 0 has ended')
    expect(recorder.operations()).toMatchObject([
      { client: 'a', called: 0, returned: 3, output: 7 },
      { client: 'c', called: 2, returned: open, output: undefined },
    ])
  })
})

describe('Text', () => {
  it('knows the hash of a concatenation, seed 5', () => {
    const random = new SeededRandom(5)
    for (let round = 0; round < 200; round++) {
      const parts = Array.from({ length: random.below(6) }, () => String(random.below(1000)))
      const joined = parts.reduce((text, part) => text.append(Text.of(part)), Text.of(''))
      expect(joined.hash).toBe(Text.of(parts.join('')).hash)
      expect(joined.equals(Text.of(parts.join('')))).toBe(true)
      expect(joined.equals(Text.of(`${parts.join('')}x`))).toBe(false)
    }
    expect(Text.of('ab').equals(Text.of('ba'))).toBe(false)
  })
})

/** A history of random operations of several clients on a store that takes each at one moment between its call and its return. */
function realRun<Input, Output>(
  random: SeededRandom,
  draw: () => { key: string; input: Input },
  apply: (key: string, input: Input) => Output,
): Operation<Input, Output>[] {
  const recorder = new HistoryRecorder<Input, Output>()
  interface Running {
    readonly call: number
    readonly key: string
    readonly input: Input
    output: Output | undefined
    done: boolean
  }
  const clients: (Running | undefined)[] = Array.from({ length: 5 }, () => undefined)
  for (let step = 0; step < 300; step++) {
    const index = random.below(clients.length)
    const running = clients[index]
    if (running === undefined) {
      const { key, input } = draw()
      clients[index] = { call: recorder.call(`c${index}`, key, input), key, input, output: undefined, done: false }
    } else if (!running.done && random.next() < 0.95) {
      running.output = apply(running.key, running.input)
      running.done = true
    } else {
      // Done or not, the outcome of some is never heard.
      if (running.done && running.output !== undefined && random.next() < 0.95) recorder.return(running.call, running.output)
      clients[index] = undefined
    }
  }
  return recorder.operations()
}

const seeds = Array.from({ length: 40 }, (_, i) => i + 1)

describe('histories of a real run', () => {
  const kvRun = (seed: number) => {
    const random = new SeededRandom(seed)
    const store = new Map<string, string>()
    let written = 0
    const draw = (): { key: string; input: KvInput } => {
      const op = (['get', 'get', 'put', 'append'] as const)[random.below(4)] ?? 'get'
      return { key: `k${random.below(3)}`, input: op === 'get' ? { op } : { op, value: Text.of(`<${written++}>`) } }
    }
    return realRun<KvInput, KvOutput>(random, draw, (key, input) => {
      const old = store.get(key) ?? ''
      if (input.op === 'get') return { value: Text.of(old) }
      store.set(key, input.op === 'put' ? input.value.value : old + input.value.value)
      return {}
    })
  }

  it.each(seeds)('are linearizable, and refuted with one read changed to what was never written, seed %i', (seed) => {
    const history = kvRun(seed)
    const verdict = checkLinearizable(kvModel, history)
    expect(verdict.verdict, describeVerdict(kvModel, verdict)).toBe('linearizable')
    const reads = history.filter(({ input, output }) => input.op === 'get' && output !== undefined)
    const victim = reads[new SeededRandom(seed).below(reads.length)]
    const changed = history.map((operation) => (operation === victim ? { ...operation, output: { value: Text.of('never') } } : operation))
    expect(checkLinearizable(kvModel, changed)).toMatchObject({ verdict: 'refuted', key: victim?.key })
  })

  it.each(seeds.slice(0, 20))('agree with a search through all orders, on small ones with wrong reads, seed %i', (seed) => {
    const random = new SeededRandom(seed)
    const wrong = { linearizable: 0, refuted: 0 }
    for (let round = 0; round < 60; round++) {
      const history = Array.from({ length: 6 }, (_, i): Registers => {
        const called = random.below(20)
        const returned = random.next() < 0.1 ? open : called + 1 + random.below(12)
        if (random.next() < 0.5) return write(`c${i}`, random.below(3), called, returned)
        return read(`c${i}`, random.next() < 0.2 ? null : random.below(3), called, returned === open ? called + 1 : returned)
      })
      const expected = bruteForce(history, null) ? 'linearizable' : 'refuted'
      wrong[expected]++
      expect(verdictOf(history), JSON.stringify(history)).toBe(expected)
    }
    expect(wrong.linearizable).toBeGreaterThan(3)
    expect(wrong.refuted).toBeGreaterThan(3)
  })
})

/** Tries every operation that may come next: nothing left with a return was called after another's return. */
function bruteForce(history: readonly Registers[], state: number | null): boolean {
  if (history.every(({ returned }) => returned === open)) return true
  const firstReturn = Math.min(...history.map(({ returned }) => returned))
  return history.some((operation) => {
    if (operation.called > firstReturn) return false
    const { input, output } = operation
    if (input.op === 'read' && output !== undefined && 'value' in output && output.value !== state) return false
    return bruteForce(
      history.filter((other) => other !== operation),
      input.op === 'write' ? input.value : state,
    )
  })
}

describe('ostrakaModel', () => {
  const one = (...steps: [OstrakaInput, OstrakaOutput][]) =>
    checkLinearizable(
      ostrakaModel,
      steps.map(([input, output], i) => ({ client: 'a', key: 'k', input, output, called: 2 * i, returned: 2 * i + 1 })),
    ).verdict === 'linearizable'
  const put = (value: string): [OstrakaInput, OstrakaOutput] => [{ op: 'put', value }, {}]

  it('gets what was put, and nothing after a delete', () => {
    expect(one([{ op: 'get' }, { value: undefined }], put(''), [{ op: 'get' }, { value: '' }])).toBe(true)
    expect(one(put('a'), [{ op: 'delete' }, { existed: true }], [{ op: 'get' }, {}], [{ op: 'delete' }, { existed: false }])).toBe(true)
    expect(one(put('a'), [{ op: 'delete' }, { existed: false }])).toBe(false)
    expect(one(put(''), [{ op: 'get' }, { value: undefined }])).toBe(false)
  })

  it('appends, counting bytes', () => {
    expect(
      one([{ op: 'append', value: 'ä' }, { length: 2 }], [{ op: 'append', value: 'b' }, { length: 3 }], [{ op: 'get' }, { value: 'äb' }]),
    ).toBe(true)
    expect(one([{ op: 'append', value: 'ä' }, { length: 1 }])).toBe(false)
  })

  it('increments integers of 64 bits only', () => {
    expect(
      one([{ op: 'increment', by: 5n }, { value: '5' }], [{ op: 'increment', by: -7n }, { value: '-2' }], [{ op: 'get' }, { value: '-2' }]),
    ).toBe(true)
    expect(one(put('x'), [{ op: 'increment', by: 1n }, { refused: true }], [{ op: 'get' }, { value: 'x' }])).toBe(true)
    expect(one(put('9223372036854775807'), [{ op: 'increment', by: 1n }, { refused: true }])).toBe(true)
    expect(one(put('1'), [{ op: 'increment', by: 1n }, { refused: true }])).toBe(false)
    expect(one(put('x'), [{ op: 'increment', by: 1n }, { value: '1' }])).toBe(false)
    expect(one(put('1'), [{ op: 'increment', by: 1n }, { value: '3' }])).toBe(false)
  })

  it('compares and sets', () => {
    const cas = (expected: { value: string } | { absent: true }, change: { value: string } | { delete: true }, output: OstrakaOutput) =>
      [{ op: 'compareAndSet', expect: expected, change }, output] as [OstrakaInput, OstrakaOutput]
    expect(one(cas({ absent: true }, { value: 'a' }, { applied: true }), [{ op: 'get' }, { value: 'a' }])).toBe(true)
    expect(one(put('a'), cas({ value: 'a' }, { delete: true }, { applied: true }), [{ op: 'get' }, {}])).toBe(true)
    expect(one(put('a'), cas({ value: 'b' }, { value: 'c' }, { applied: false, current: 'a' }), [{ op: 'get' }, { value: 'a' }])).toBe(true)
    expect(one(put('a'), cas({ value: 'b' }, { value: 'c' }, { applied: false, current: 'z' }))).toBe(false)
    expect(one(put('a'), cas({ value: 'b' }, { value: 'c' }, { applied: true }))).toBe(false)
    expect(one(put('a'), cas({ absent: true }, { value: 'c' }, { applied: false, current: undefined }))).toBe(false)
  })

  it('finds a value that appears twice though it was appended once', () => {
    expect(one([{ op: 'append', value: '<1>' }, {}], [{ op: 'get' }, { value: '<1><1>' }])).toBe(false)
  })
})
