import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import type { Client } from '../../client/client.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { AppendLists } from './append-lists.ts'
import { SetFull } from './set-full.ts'

/** A store in memory that answers as `Client` does, as far as these two ask. */
class FakeStore {
  readonly values = new Map<string, string>()

  async put(key: string, value: string): Promise<object> {
    this.values.set(key, value)
    return {}
  }

  async append(key: string, text: string): Promise<object> {
    this.values.set(key, (this.values.get(key) ?? '') + text)
    return {}
  }

  async get(key: string): Promise<{ value: Buffer } | undefined> {
    const value = this.values.get(key)
    return value === undefined ? undefined : { value: Buffer.from(value) }
  }

  async *scan({ prefix }: { prefix: string }): AsyncGenerator<{ key: Buffer }> {
    for (const key of this.values.keys()) if (key.startsWith(prefix)) yield { key: Buffer.from(key) }
  }
}

const asClient = (store: FakeStore) => store as unknown as Client
const insist = (call: () => Promise<void>) => call()

async function setsOver(store: FakeStore, between: (round: number) => void = () => {}): Promise<string | undefined> {
  const sets = new SetFull(new SeededRandom(1))
  for (let round = 0; round < 300; round++) {
    await sets.one(asClient(store)).catch(() => {})
    between(round)
  }
  await sets.readAll(asClient(store), insist)
  return sets.verdict()
}

async function listsOver(store: FakeStore, between: (round: number) => void = () => {}): Promise<string | undefined> {
  const lists = new AppendLists(new SeededRandom(1))
  for (let round = 0; round < 300; round++) {
    await lists.one(`client${round % 3}`, asClient(store)).catch(() => {})
    between(round)
  }
  await lists.readAll(asClient(store), insist)
  return lists.verdict()
}

describe('set-full', () => {
  it('has nothing against a store that keeps what it acknowledges', async () => {
    expect(await setsOver(new FakeStore())).toBeUndefined()
  })

  it('notices an element that is lost', async () => {
    const store = new FakeStore()
    const lose = (round: number) => round === 200 && store.values.delete('{set-1}3')
    expect(await setsOver(store, lose)).toBe('set-full: {set-1}3 is lost')
  })

  it('notices an element that is not there for a while', async () => {
    const store = new FakeStore()
    const blink = (round: number) => {
      if (round === 100) store.values.delete('{set-1}3')
      if (round === 130) store.values.set('{set-1}3', 'here')
    }
    expect(await setsOver(store, blink)).toBe('set-full: {set-1}3 is stale')
  })

  it('notices an element that was refused for sure, and is there', async () => {
    class Liar extends FakeStore {
      override async put(key: string, value: string): Promise<object> {
        await super.put(key, value)
        if (key === '{set-2}5') throw new OstrakaError('NOT_LEADER', 'not me', true)
        return {}
      }
    }
    expect(await setsOver(new Liar())).toBe('set-full: {set-2}5 is never added')
  })

  it('notices an element that was seen without an acknowledgement, and then is not', async () => {
    class Doubter extends FakeStore {
      override async put(key: string, value: string): Promise<object> {
        await super.put(key, value)
        if (key === '{set-1}3') throw new OstrakaError('UNKNOWN', 'who knows', false)
        return {}
      }
    }
    const store = new Doubter()
    const lose = (round: number) => round === 200 && store.values.delete('{set-1}3')
    expect(await setsOver(store, lose)).toBe('set-full: {set-1}3 is gone')
  })
})

describe('appends', () => {
  it('has nothing against a store that appends once and in order', async () => {
    expect(await listsOver(new FakeStore())).toBeUndefined()
  })

  it('notices one that is there twice', async () => {
    class Twice extends FakeStore {
      override async append(key: string, text: string): Promise<object> {
        await super.append(key, text)
        return text.endsWith('.7;') ? await super.append(key, text) : {}
      }
    }
    expect(await listsOver(new Twice())).toMatch(/^appends: list-\d holds client\d\.7 twice/)
  })

  it('notices one that is lost', async () => {
    class Loses extends FakeStore {
      override async append(key: string, text: string): Promise<object> {
        return text.endsWith('.7;') ? {} : await super.append(key, text)
      }
    }
    expect(await listsOver(new Loses())).toMatch(/^appends: list-\d was read as .* without client\d\.7, which had been acknowledged/)
  })

  it('notices a value that goes back', async () => {
    const store = new FakeStore()
    let old: string | undefined
    const goBack = (round: number) => {
      if (round === 60) old = store.values.get('list-1')
      if (round === 90) store.values.set('list-1', `${old}nobody.1;`)
    }
    expect(await listsOver(store, goBack)).toMatch(/^appends: list-1 /)
  })

  it('notices items of one client in another order than that of its calls', async () => {
    const store = new FakeStore()
    const swap = (round: number) => {
      const value = store.values.get('list-2')
      if (round !== 299 || value === undefined) return
      const items = value.split(';').slice(0, -1)
      store.values.set('list-2', `${items.reverse().join(';')};`)
    }
    expect(await listsOver(store, swap)).toMatch(/^appends: list-2 /)
  })
})
