/** Shapes of partitions, as the directed links that are cut. Pure. */
import type { Random } from '../../base/random.ts'

export type PartitionShape = 'halves' | 'one' | 'one-in' | 'one-out' | 'bridge' | 'ring' | 'third' | 'one-way' | 'pair' | 'some-links'

export const partitionShapes: readonly PartitionShape[] = [
  'halves',
  'one',
  'one-in',
  'one-out',
  'bridge',
  'ring',
  'third',
  'one-way',
  'pair',
  'some-links',
]

export type DirectedLink = readonly [from: string, to: string]

/** The links to cut. `victim`, one of `names`, is who is alone, or between two sides. */
export function cutLinks(shape: PartitionShape, names: readonly string[], victim: string, random: Random): DirectedLink[] {
  const order = shuffled(names, random)
  const others = order.filter((name) => name !== victim)
  const half = Math.floor(order.length / 2)
  switch (shape) {
    case 'halves':
      return between(order.slice(0, half), order.slice(half))
    case 'one':
      return between([victim], others)
    case 'one-in':
      return oneWay(others, [victim])
    case 'one-out':
      return oneWay([victim], others)
    case 'bridge':
      return between(others.slice(0, half), others.slice(half))
    case 'third':
      return between(order.slice(0, Math.max(1, Math.floor(order.length / 3))), order.slice(Math.max(1, Math.floor(order.length / 3))))
    case 'one-way':
      return oneWay(order.slice(0, half), order.slice(half))
    case 'pair':
      return between([victim], others.slice(0, 1))
    case 'some-links':
      return oneWay(order, order).filter(() => random.next() < 0.3)
    case 'ring':
      return majoritiesRing(order)
  }
}

/** Everybody reaches a majority, and no two the same one. */
function majoritiesRing(order: readonly string[]): DirectedLink[] {
  const reach = Math.floor(order.length / 4) + (order.length % 4 >= 2 ? 1 : 0)
  return oneWay(order, order).filter(([a, b]) => {
    const apart = Math.abs(order.indexOf(a) - order.indexOf(b))
    return Math.min(apart, order.length - apart) > Math.max(1, reach)
  })
}

function between(left: readonly string[], right: readonly string[]): DirectedLink[] {
  return [...oneWay(left, right), ...oneWay(right, left)]
}

function oneWay(from: readonly string[], to: readonly string[]): DirectedLink[] {
  return from.flatMap((a) => to.filter((b) => b !== a).map((b): DirectedLink => [a, b]))
}

export function shuffled(names: readonly string[], random: Random): string[] {
  const result = [...names]
  for (let i = result.length - 1; i > 0; i--) {
    const j = random.below(i + 1)
    const [a, b] = [result[i] ?? '', result[j] ?? '']
    result[i] = b
    result[j] = a
  }
  return result
}
