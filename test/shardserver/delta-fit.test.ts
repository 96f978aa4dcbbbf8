import { expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { countUpTo, lastThatFits, type SummedRecord } from '../../shardserver/delta-fit.ts'

interface Plain {
  readonly index: number
  readonly bytes: number
  readonly cost: number
}

function summed(tail: readonly Plain[]): SummedRecord[] {
  let [bytesUpTo, costUpTo] = [0, 0]
  return tail.map(({ index, bytes, cost }) => {
    bytesUpTo += bytes
    costUpTo += cost
    return { index, bytesUpTo, costUpTo }
  })
}

it('as much of several deltas fits as taking one record after the other says, and all of the oldest entry', () => {
  const random = new SeededRandom(1)
  for (let round = 0; round < 2000; round++) {
    const tails = Array.from({ length: 1 + random.below(5) }, () => {
      const tail: Plain[] = []
      for (let index = 5; index < 40; index++)
        if (random.below(3) === 0) tail.push({ index, bytes: 1 + random.below(9), cost: random.below(9) })
      return tail
    })
    const room = { bytes: random.below(150), cost: random.below(150) }
    const upTo = 3 + random.below(40)
    const all = tails.flat().filter(({ index }) => index <= upTo)
    const oldest = Math.min(...all.map(({ index }) => index))
    const isIn = (end: number) => {
      const upToEnd = all.filter(({ index }) => index <= end)
      const sum = (of: (record: Plain) => number) => upToEnd.reduce((total, record) => total + of(record), 0)
      return end <= oldest || (sum(({ bytes }) => bytes) <= room.bytes && sum(({ cost }) => cost) <= room.cost)
    }
    const end = lastThatFits(tails.map(summed), upTo, room)
    const taken = (last: number) => all.filter(({ index }) => index <= last).length
    let wanted = upTo
    while (!isIn(wanted)) wanted--
    expect(taken(end), `round ${round}`).toBe(taken(wanted))
    expect(end).toBeLessThanOrEqual(upTo)
    for (const tail of tails) expect(countUpTo(summed(tail), end)).toBe(tail.filter(({ index }) => index <= end).length)
  }
})

it('what fits of many long deltas is found in few steps', () => {
  let looks = 0
  const tails = Array.from({ length: 256 }, (_, shard) =>
    Array.from({ length: 1000 }, (_, at) => ({
      get index() {
        looks++
        return 256 * at + shard
      },
      bytesUpTo: 40 * (at + 1),
      costUpTo: 0,
    })),
  )
  const end = lastThatFits(tails, 256_000, { bytes: 1024 * 1024, cost: 1 })
  expect(end).toBe(Math.floor((1024 * 1024) / 40) - 1)
  expect(looks).toBeLessThan((256 * 1000) / 2)
})
