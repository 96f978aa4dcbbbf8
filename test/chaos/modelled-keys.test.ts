import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import type { Client } from '../../client/index.ts'
import { ModelledKeys } from './modelled-keys.ts'

/** A store in memory that answers as `Client` does, as far as is asked. */
class FakeStore {
  readonly values = new Map<string, Uint8Array>()

  async put(key: string, value: Uint8Array): Promise<object> {
    this.values.set(key, value)
    return {}
  }

  async delete(key: string): Promise<{ existed: boolean }> {
    return { existed: this.values.delete(key) }
  }

  async *scan({ prefix }: { prefix: string }): AsyncGenerator<{ key: Buffer; value: Uint8Array }> {
    for (const [key, value] of this.values) if (key.startsWith(prefix)) yield { key: Buffer.from(key), value }
  }
}

async function changed(store = new FakeStore()) {
  const keys = new ModelledKeys(new SeededRandom(1), { tag: 't', keys: 100, valueBytesMax: 20, deletes: 0.4 })
  const db = store as unknown as Client
  await keys.fill(db)
  const filled = new Map(store.values)
  for (let i = 0; i < 20; i++) await keys.change(db, 10)
  const deleted = [...filled].find(([key]) => !store.values.has(key))
  const [kept] = [...store.values.keys()]
  return { store, keys, deleted, kept, compare: () => keys.compare(db) }
}

describe('keys beside a model', () => {
  it('have nothing against a store that does what it is told', async () => {
    const { store, keys, compare } = await changed()
    expect(await compare()).toBe(store.values.size)
    expect(keys.size).toBe(store.values.size)
    expect(keys.deletes).toBeGreaterThan(50)
    expect(keys.bytes).toBe([...store.values].reduce((bytes, [key, value]) => bytes + key.length + value.length, 0))
  })

  it('notice one that is back', async () => {
    const { store, deleted, compare } = await changed()
    store.values.set(...(deleted as [string, Uint8Array]))
    await expect(compare()).rejects.toThrow(`${deleted?.[0]} is there, and was deleted`)
  })

  it('notice one that is lost, and one that is another', async () => {
    const { store, kept = '', compare } = await changed()
    store.values.set(kept, Buffer.concat([store.values.get(kept) as Uint8Array, Buffer.from('more')]))
    await expect(compare()).rejects.toThrow(`${kept} holds`)
    store.values.delete(kept)
    await expect(compare()).rejects.toThrow(`${kept} is missing`)
  })

  it('reject where a change failed: its outcome is not known', async () => {
    class Refusing extends FakeStore {
      override async delete(): Promise<never> {
        throw new Error('who knows')
      }
    }
    await expect(changed(new Refusing())).rejects.toThrow('who knows')
  })
})
