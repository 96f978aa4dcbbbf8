import { expect, it } from 'vitest'
import { Fitness } from '../../raft/fitness.ts'

const stallTicks = 10

function leader() {
  const fits: boolean[] = []
  let handOvers = 0
  const core = { role: 'leader' as const, setFit: (fit: boolean) => fits.push(fit) }
  const fitness = new Fitness(core, stallTicks, (ended) => {
    handOvers++
    ended()
  })
  return { fitness, fits, handOvers: () => handOvers }
}

it('gives the office up when an append is not durable for an election timeout, and may lead again once it is', () => {
  const { fitness, fits, handOvers } = leader()
  fitness.appendHanded()
  for (let at = 1; at <= 1 + stallTicks; at++) fitness.tick(at)
  expect(handOvers()).toBe(0)
  fitness.tick(2 + stallTicks)
  expect(handOvers()).toBe(1)
  expect(fitness.stalled).toBe(true)
  fitness.appendDurable()
  expect(fits).toEqual([false, true])
})

it('measures each append by itself: a disk that is always busy does not stall', () => {
  const { fitness, handOvers } = leader()
  for (let at = 1; at <= 5 * stallTicks; at++) {
    fitness.appendHanded()
    fitness.tick(at)
    if (at > stallTicks / 2) fitness.appendDurable()
  }
  expect(handOvers()).toBe(0)
})

it('does not take the rest of a quiet group for a stall: its first append is as old as the tick after it', () => {
  const { fitness, handOvers } = leader()
  fitness.tick(1)
  // Quiet: the ticks are not told of. Then a write wakes it, whose sync takes longer than a tick.
  fitness.appendHanded()
  fitness.tick(100_000)
  expect(handOvers()).toBe(0)
  fitness.tick(100_000 + stallTicks)
  expect(handOvers()).toBe(0)
  fitness.tick(100_001 + stallTicks)
  expect(handOvers()).toBe(1)
})

it('counts what became durable before any tick', () => {
  const { fitness, handOvers } = leader()
  fitness.appendHanded()
  fitness.appendHanded()
  fitness.appendDurable()
  fitness.tick(1)
  fitness.appendDurable()
  fitness.tick(2 * stallTicks)
  expect(handOvers()).toBe(0)
})
