import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { tombstone } from '../../lsm/kind.ts'
import { Memtable } from '../../lsm/memtable.ts'
import { ImageReader, MemtableSource } from '../../lsm/memtable-source.ts'
import { WriteBatch } from '../../lsm/write-batch.ts'
import { bytes, text } from './model.ts'

function drainSource(source: MemtableSource, target?: string): string[] {
  const entries: string[] = []
  for (source.seek(target === undefined ? undefined : bytes(target)); source.valid; source.advance()) {
    const key = text(source.keyBuffer.slice(source.keyStart, source.keyEnd))
    entries.push(`${key}=${source.kind === 0 ? '-' : text(source.valueBuffer.slice(source.valueStart, source.valueEnd))}`)
  }
  return entries
}

describe('memtable', () => {
  it('holds all versions of all keys, each seen at its sequence number (seed 3)', () => {
    const random = new SeededRandom(3)
    const memtable = new Memtable(1000, 64 * 1024)
    const history: { key: string; value: string | undefined; sequence: number }[] = []
    // Enough for three levels of the tree, with runs of one key that are longer than a leaf.
    for (let sequence = 1001; sequence < 9000; sequence++) {
      const key = random.below(10) === 0 ? 'hot' : `k${'z'.repeat(random.below(12))}${random.below(3000)}`
      const value = random.below(8) === 0 ? undefined : `v${sequence}`
      const batch = new WriteBatch()
      if (value === undefined) batch.delete(bytes(key))
      else batch.put(bytes(key), bytes(value))
      memtable.add(batch.encoded(), sequence)
      history.push({ key, value, sequence })
    }
    expect(memtable.entries).toBe(history.length)
    for (const limit of [1000, 1001, 1500, 4000, 8999, 20_000]) {
      const model = new Map<string, string | undefined>()
      for (const { key, value, sequence } of history) if (sequence <= limit) model.set(key, value)
      for (const key of ['hot', 'k', 'zzz', ...[...model.keys()].slice(0, 500)]) {
        const found = memtable.get(bytes(key), limit)
        expect(found === tombstone ? '-' : found && text(found)).toBe(model.has(key) ? (model.get(key) ?? '-') : undefined)
      }
      const expected = [...model.keys()].sort().map((key) => `${key}=${model.get(key) ?? '-'}`)
      expect(drainSource(new MemtableSource(memtable, limit, false))).toEqual(expected)
      expect(drainSource(new MemtableSource(memtable, limit, true))).toEqual([...expected].reverse())
      expect(drainSource(new MemtableSource(memtable, limit, false), 'kzz5')).toEqual(expected.filter((entry) => entry >= 'kzz5'))
      expect(drainSource(new MemtableSource(memtable, limit, true), 'kzz5')).toEqual(expected.filter((entry) => entry < 'kzz5').reverse())
    }
    // As a worker gets it: the same memory, all versions, the newest of a key first.
    const reader = new ImageReader(structuredClone(memtable.image()))
    const all: string[] = []
    while (reader.advance()) all.push(`${text(reader.arena.buffer.slice(reader.arena.keyStart, reader.arena.keyEnd))}@${reader.sequence}`)
    const order = [...history].sort((a, b) => (a.key === b.key ? b.sequence - a.sequence : a.key < b.key ? -1 : 1))
    expect(all).toEqual(order.map(({ key, sequence }) => `${key}@${sequence}`))
  })

  it.each([false, true])('jumps over the versions of a key that has thousands, backwards: %s', (isReverse) => {
    const memtable = new Memtable(0, 1 << 20)
    const versions = 5000
    let sequence = 0
    for (const [key, count] of [
      ['a', 1],
      ['hot', versions],
      ['hot2', 3],
      ['z', 1],
    ] as const) {
      for (let i = 1; i <= count; i++) memtable.add(new WriteBatch().put(bytes(key), bytes(`${key}${i}`)).encoded(), ++sequence)
    }
    const walked = (limit: number) => drainSource(new MemtableSource(memtable, limit, isReverse))
    const inOrder = (entries: string[]) => (isReverse ? entries.reverse() : entries)
    let steps = 0
    for (const name of ['slotAfter', 'slotBefore'] as const) {
      const step = memtable[name].bind(memtable)
      memtable[name] = (slot) => {
        steps++
        return step(slot)
      }
    }
    expect(walked(sequence)).toEqual(inOrder(['a=a1', `hot=hot${versions}`, 'hot2=hot23', 'z=z1']))
    expect(steps).toBeLessThan(100)
    // An older view: it steps over what is newer, and finds the same.
    expect(walked(1 + 17)).toEqual(inOrder(['a=a1', 'hot=hot17']))
    expect(walked(1)).toEqual(['a=a1'])
  })

  it('takes keys in rising and in falling order, and batches larger than a unit of its arena', () => {
    for (const direction of [1, -1]) {
      const memtable = new Memtable(0, 1024)
      for (let i = 0; i < 5000; i++) {
        const key = String(direction > 0 ? i : 4999 - i).padStart(5, '0')
        memtable.add(new WriteBatch().put(bytes(key), bytes(i % 1000 === 0 ? 'x'.repeat(10_000) : key)).encoded(), i + 1)
      }
      const entries = drainSource(new MemtableSource(memtable, 5000, false))
      expect(entries.map((entry) => entry.slice(0, 5))).toEqual(Array.from({ length: 5000 }, (_, i) => String(i).padStart(5, '0')))
      expect(memtable.bytes).toBeGreaterThan(50_000)
    }
  })

  it('holds an empty batch, and lets the last operation of a batch win', () => {
    const memtable = new Memtable(0, 1024)
    memtable.add(new WriteBatch().encoded(), 1)
    memtable.add(new WriteBatch().put(bytes('a'), bytes('1')).delete(bytes('a')).put(bytes('a'), bytes('2')).encoded(), 2)
    expect(memtable.get(bytes('a'), 2)).toEqual(bytes('2'))
    expect(memtable.get(bytes('a'), 1)).toBeUndefined()
    expect(() => memtable.add(new WriteBatch().encoded(), 2)).toThrow('rises')
  })
})
