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
    if (one.mayRead(false)) {
      made++
      one.took(0, us / 1000, 0)
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

it('overlooks a slow read among many fast ones, and not many', () => {
  const tested = pace()
  expect(atOnce(tested, 3, 1000)).toBe(1000)
  for (let i = 0; i < 10; i++) {
    expect(atOnce(tested, 200, 1)).toBe(1)
    expect(atOnce(tested, 3, 100)).toBe(100)
  }
  expect(atOnce(tested, 200, 10)).toBeLessThan(5)
})

it('gives a large read its time', () => {
  const { one } = pace()
  one.took(0, 0.15, 256 * 1024)
  expect(one.mayRead(false)).toBe(true)
  one.took(0.15, 0.35, 4096)
  expect(one.mayRead(false)).toBe(false)
})

it('lets others have their turn 4 ms after its first read, and who waits for the next goes on in it', async () => {
  const { one, endTurn } = pace()
  let nowMs = 100
  const readAll = () => {
    let made = 0
    for (; one.mayRead(false); made++) {
      one.took(nowMs, nowMs + 1 / 128, 4096)
      // Half of the time goes to what is done with the block.
      nowMs += 1 / 64
    }
    return made
  }
  expect(one.isSpent).toBe(false)
  expect(readAll()).toBe(257)
  expect(one.isSpent).toBe(true)
  const nextTurn = one.nextTurn()
  expect(endTurn()).toBe(1)
  await nextTurn
  expect(one.isSpent).toBe(false)
  expect(readAll()).toBe(257)
})

it('what is known to come from the page cache is read at once, whatever other reads took, for the rest of the turn', () => {
  const { one, endTurn } = pace()
  expect(one.mayRead(false)).toBe(true)
  one.took(0, 1, 4096)
  expect(one.mayRead(false)).toBe(false)
  expect(one.mayRead(true)).toBe(true)
  one.took(1, 5, 4096)
  expect(one.mayRead(true)).toBe(false)
  endTurn()
  expect(one.mayRead(true)).toBe(true)
})
