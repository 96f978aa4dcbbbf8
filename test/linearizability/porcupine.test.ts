import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { checkLinearizable, describeVerdict } from './checker.ts'
import { kvModel, registerModel } from './model.ts'
import { parseKv, parseRegister } from './porcupine-data.ts'

/** What the data's authors say; all other register histories are not. */
const LINEARIZABLE_REGISTERS = new Set([2, 5, 7, 18, 25, 31, 38, 45, 48, 49])

const data = process.env.OSTRAKA_TEST_DATA
const files = (folder: string) => (data === undefined ? [] : readdirSync(path.join(data, 'porcupine', folder)).sort())
const read = (folder: string, file: string) => readFileSync(path.join(data ?? '', 'porcupine', folder, file), 'utf8')

describe.skipIf(data === undefined)(`histories of others${data === undefined ? ' (skipped: OSTRAKA_TEST_DATA is not set)' : ''}`, () => {
  it('are all there', () => {
    expect([files('kv').length, files('register').length]).toEqual([6, 51])
  })

  it.each(files('kv'))(
    'key-value history %s gets the verdict of its name',
    (file) => {
      const operations = parseKv(read('kv', file))
      expect(operations.length).toBeGreaterThan(20)
      const verdict = checkLinearizable(kvModel, operations)
      expect(verdict.verdict, describeVerdict(kvModel, verdict)).toBe(file.includes('-ok') ? 'linearizable' : 'refuted')
    },
    60_000,
  )

  it.each(files('register'))('register history %s gets its known verdict', (file) => {
    const operations = parseRegister(read('register', file))
    expect(operations.length).toBeGreaterThan(20)
    const verdict = checkLinearizable(registerModel, operations)
    const isLinearizable = LINEARIZABLE_REGISTERS.has(Number(/\d+/.exec(file)?.[0]))
    expect(verdict.verdict, describeVerdict(registerModel, verdict)).toBe(isLinearizable ? 'linearizable' : 'refuted')
  })
})

describe('parsers', () => {
  it('read key-value events', () => {
    const lines = [
      '{:process 1, :type :invoke, :f :append, :key "5", :value "x 1"}',
      '{:process 2, :type :invoke, :f :get, :key "5", :value nil}',
      '{:process 2, :type :ok, :f :get, :key "5", :value "x 1"}',
    ]
    expect(parseKv(lines.join('\n'))).toMatchObject([
      { client: '1', key: '5', input: { op: 'append', value: { value: 'x 1' } }, called: 0, returned: Number.POSITIVE_INFINITY },
      { client: '2', key: '5', input: { op: 'get' }, output: { value: { value: 'x 1' } }, called: 1, returned: 2 },
    ])
    expect(() => parseKv('nonsense')).toThrow('not an event: nonsense')
  })

  it('read register events', () => {
    const lines = [
      'INFO  jepsen.util - 0\t:invoke\t:write\t3',
      'INFO  jepsen.util - 1\t:invoke\t:cas\t[3 4]',
      'INFO  jepsen.core - something else',
      'INFO  jepsen.util - 0\t:info\t:write\t:timed-out',
      'INFO  jepsen.util - 1\t:fail\t:cas\t[3 4]',
      'INFO  jepsen.util - 2\t:invoke\t:read\tnil',
      'INFO  jepsen.util - 2\t:ok\t:read\tnil',
      'INFO  jepsen.util - 3\t:invoke\t:read\tnil',
      'INFO  jepsen.util - 3\t:fail\t:read\t:timed-out',
    ]
    expect(parseRegister(lines.join('\n'))).toMatchObject([
      { input: { op: 'write', value: 3 }, output: undefined, returned: Number.POSITIVE_INFINITY },
      { input: { op: 'cas', from: 3, to: 4 }, output: { applied: false } },
      { input: { op: 'read' }, output: { value: null } },
    ])
  })
})
