import { describe, expect, it } from 'vitest'
import { FetchSlots } from '../../raft/fetch-slots.ts'

/** A fetch that ends when the test says so. */
function held() {
  let end: () => void = () => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  return { fetch: () => ended, end }
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

describe('slots for fetches', () => {
  it('lets so many run, and the others in the order in which they came', async () => {
    const slots = new FetchSlots(2)
    const { signal } = new AbortController()
    const begun: number[] = []
    const fetches = [held(), held(), held(), held()]
    const runs = fetches.map(({ fetch }, i) =>
      slots.run(signal, () => {
        begun.push(i)
        return fetch()
      }),
    )
    await turn()
    expect(begun).toEqual([0, 1])
    fetches[1]?.end()
    await turn()
    expect(begun).toEqual([0, 1, 2])
    expect(slots.taken).toBe(2)
    for (const { end } of fetches) end()
    await Promise.all(runs)
    expect(begun).toEqual([0, 1, 2, 3])
    expect(slots.taken).toBe(0)
  })

  it('gives the slot of a fetch that failed to the next', async () => {
    const slots = new FetchSlots(1)
    const { signal } = new AbortController()
    const failing = slots.run(signal, () => Promise.reject(new Error('no such peer')))
    const next = slots.run(signal, async () => 'fetched')
    await expect(failing).rejects.toThrow('no such peer')
    expect(await next).toBe('fetched')
    expect(slots.taken).toBe(0)
  })

  it('who gives up while waiting takes no slot', async () => {
    const slots = new FetchSlots(1)
    const first = held()
    const running = slots.run(new AbortController().signal, first.fetch)
    const abort = new AbortController()
    const waiting = slots.run(abort.signal, () => expect.unreachable())
    abort.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'CANCELLED' })
    await expect(slots.run(abort.signal, () => expect.unreachable())).rejects.toMatchObject({ code: 'CANCELLED' })
    first.end()
    await running
    expect(slots.taken).toBe(0)
  })
})
