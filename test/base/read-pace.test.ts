import { expect, it } from 'vitest'
import { ReadPace } from '../../base/read-pace.ts'

/** A pace, and the end of its turn. */
function pace() {
  let end: (() => void)[] = []
  const one = new ReadPace((turnEnded) => end.push(turnEnded))
  const endTurn = () => {
    const ended = end
    end = []
    for (const callback of ended) callback()
    return ended.length
  }
  return { one, endTurn }
}

/** Of `count` reads that would each take `us`, those that were made at once; each in a turn of its own. */
function atOnce({ one, endTurn }: ReturnType<typeof pace>, us: number, count: number): number {
  let made = 0
  for (let i = 0; i < count; i++) {
    if (one.mayRead()) {
      made++
      one.took(us)
    }
    endTurn()
  }
  return made
}

it('reads from the page cache are made at once', () => {
  expect(atOnce(pace(), 3, 10_000)).toBe(10_000)
  expect(atOnce(pace(), 25, 10_000)).toBe(10_000)
})

it.each([50, 150, 1000, 10_000])('where a read takes %i us the thread gives less than 25 us to each read', (us) => {
  const made = atOnce(pace(), us, 100_000)
  expect(made).toBeGreaterThan(0)
  expect((made * us) / 100_000).toBeLessThan(25)
})

it('goes back to reads at once when they are fast again', () => {
  const tested = pace()
  expect(atOnce(tested, 1_000_000, 1)).toBe(1)
  expect(atOnce(tested, 3, 16_000)).toBe(0)
  expect(atOnce(tested, 3, 100)).toBe(100)
})

it('lets others have their turn after 128 reads, and who waits for the next goes on in it', async () => {
  const { one, endTurn } = pace()
  const readAll = () => {
    let made = 0
    for (; one.mayRead(); made++) one.took(3)
    return made
  }
  expect(one.isSpent).toBe(false)
  expect(readAll()).toBe(128)
  expect(one.isSpent).toBe(true)
  const nextTurn = one.nextTurn()
  expect(endTurn()).toBe(1)
  await nextTurn
  expect(one.isSpent).toBe(false)
  expect(readAll()).toBe(128)
})
