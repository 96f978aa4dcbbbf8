import { runInNewContext } from 'node:vm'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ClosedError, type Database, WriteBatch } from '../../lsm/index.ts'
import { environmentOf, openDatabase, simulate } from './environment.ts'
import { bytes } from './model.ts'

/** What callers without types may pass. */
const wrong: readonly [string, unknown][] = [
  ['a string', 'key'],
  ['a number', 3],
  ['undefined', undefined],
  ['null', null],
  ['a Array', [1, 2]],
  ['a Uint16Array', new Uint16Array([300, 301])],
  ['a ArrayBuffer', new ArrayBuffer(3)],
  ['a Object', {}],
]

describe('what is no bytes', () => {
  const { world, process } = simulate(3)
  let db: Database
  beforeAll(async () => {
    db = await world.settle(openDatabase(environmentOf(process)))
    for (const key of ['\0', '\0\0\0', 'key']) await world.settle(Promise.resolve(db.put(bytes(key), bytes('v'))))
  })
  afterAll(() => world.settle(db.close()))

  it.each(wrong)('is refused as a key, a value and a bound: %s', async (name, value) => {
    const given = value as Uint8Array
    const told = new RegExp(`is a Uint8Array, not ${name}`)
    expect(() => new WriteBatch().put(given, bytes('v'))).toThrow(told)
    expect(() => new WriteBatch().put(bytes('k'), given)).toThrow(TypeError)
    expect(() => new WriteBatch().delete(given)).toThrow(told)
    expect(() => db.put(given, bytes('v'))).toThrow(told)
    expect(() => db.delete(given)).toThrow(told)
    expect(() => db.get(given)).toThrow(told)
    expect(() => db.getSync(given)).toThrow(told)
    expect(() => db.getMany([bytes('key'), given])).toThrow(told)
    if (value === undefined) return
    expect(() => db.iterate({ lower: given })).toThrow(told)
    expect(() => db.iterate({ prefix: given })).toThrow(told)
    await expect(db.deleteRange(given, bytes('z'))).rejects.toThrow(told)
    expect(() => db.excise(bytes('a'), given)).toThrow(told)
    await expect(db.compactRange(given)).rejects.toThrow(told)
    await expect(db.approximateBytes(given, bytes('z'))).rejects.toThrow(told)
  })

  it('leaves everything as it was', async () => {
    for (const key of ['\0', '\0\0\0', 'key']) expect(db.getSync(bytes(key))).toEqual(bytes('v'))
  })

  it('is not an array of another realm', () => {
    const key = runInNewContext('new Uint8Array([107, 101, 121])') as Uint8Array
    expect(db.getSync(key)).toEqual(bytes('v'))
  })

  it('is told from what comes too late', async () => {
    const other = simulate(4)
    const closed = await other.world.settle(openDatabase(environmentOf(other.process)))
    const snapshot = closed.snapshot()
    snapshot.release()
    expect(() => closed.get(bytes('a'), snapshot)).toThrow(ClosedError)
    await other.world.settle(closed.close())
    expect(() => closed.get(bytes('a'))).toThrow(ClosedError)
    await expect(closed.put(bytes('a'), bytes('b'))).rejects.toThrow(ClosedError)
  })
})
