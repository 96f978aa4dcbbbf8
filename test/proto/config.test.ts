import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { Config, decodeConfig, emptyConfig, encodeConfig } from '../../proto/config.ts'
import { applyDifference, applyDifferences, squash } from '../../proto/config-difference.ts'
import { pb } from '../../proto/messages.ts'
import { randomConfig } from './configs.ts'
import { difference } from './difference.ts'

const wire = (config: Config) => Buffer.from(pb.v1.Config.encode(encodeConfig(config)).finish()).toString('hex')
const overTheWire = (change: pb.v1.ConfigDifference.$Properties) =>
  pb.v1.ConfigDifference.decode(pb.v1.ConfigDifference.encode(change).finish())

const small = new Config({
  number: 3,
  atMs: 1_700_000_000_000,
  cause: 'join g2',
  author: 'me',
  shardCount: 16,
  groups: [
    { uid: 'g2@3', name: 'g2', weight: 2, state: 'draining', members: [{ node: 'n4', replica: 4, state: 'voter' }] },
    { uid: 'g1@1', name: 'g1', weight: 1, state: 'active', members: [{ node: 'n1', replica: 1, state: 'voter' }] },
  ],
  owner: (shard) => (shard === 15 ? undefined : shard < 5 ? 'g2@3' : 'g1@1'),
  epoch: (shard) => (shard === 15 ? 0 : shard < 5 ? 2 : 1),
  pins: new Map([[7, 'g1']]),
})

describe('config', () => {
  it('tells the owner, epoch and shards by shard, uid and name', () => {
    expect(small.groups.map((group) => group.name)).toEqual(['g1', 'g2'])
    expect(small.groupOf(4)?.uid).toBe('g2@3')
    expect(small.groupOf(5)?.uid).toBe('g1@1')
    expect(small.groupOf(15)).toBeUndefined()
    expect([small.epochOf(0), small.epochOf(5), small.epochOf(15)]).toEqual([2, 1, 0])
    expect(small.groupByUid('g2@3')).toBe(small.groupByName('g2'))
    expect(small.shardsOf('g2@3')).toEqual([0, 1, 2, 3, 4])
    expect(small.shardsOf('g2@1')).toEqual([])
    expect([...small.shardCounts()]).toEqual([10, 5])
  })

  it('begins empty', () => {
    const empty = emptyConfig(256)
    expect([empty.number, empty.groups.length, empty.shardCount]).toEqual([0, 0, 256])
    expect(empty.groupOf(255)).toBeUndefined()
  })

  it('comes back whole from its encoding, at every size of shard count', () => {
    const random = new SeededRandom(7)
    for (const shardCount of [16, 256, 16_384]) {
      const config = randomConfig(random, shardCount, 9)
      const decoded = decodeConfig(pb.v1.Config.decode(pb.v1.Config.encode(encodeConfig(config)).finish()))
      expect(decoded).toEqual(config)
      expect(wire(decoded)).toBe(wire(config))
    }
  })

  it.each([
    ['an assignment to a group that is not there', { assignment: Array.from({ length: 16 }, () => 3) }],
    ['too few shards', { assignment: [1] }],
    ['a shard count that is no power of two', { shardCount: 17 }],
    ['a shard that is owned but never born', { epochs: Array.from({ length: 16 }, () => 0) }],
    ['a group twice', { groups: [...(encodeConfig(small).groups ?? []), ...(encodeConfig(small).groups ?? [])] }],
    [
      'a uid that is not of its name',
      {
        groups: [
          { uid: 'x@1', name: 'g1', weight: 1 },
          { uid: 'g2@1', name: 'g2', weight: 1 },
        ],
      },
    ],
    [
      'a weight of 0',
      {
        groups: [
          { uid: 'g1@1', name: 'g1', weight: 0 },
          { uid: 'g2@1', name: 'g2', weight: 1 },
        ],
      },
    ],
    ['a pin of no shard', { pins: [{ shard: 16, group: 'g1' }] }],
  ])('refuses %s', (_, broken) => {
    expect(() => decodeConfig({ ...encodeConfig(small), ...broken })).toThrow(RangeError)
  })
})

describe('config difference', () => {
  it('laid over the one config gives the other, whatever the two (400 random pairs)', () => {
    for (let seed = 1; seed <= 400; seed++) {
      const random = new SeededRandom(seed)
      const from = randomConfig(random, 64, 1 + random.below(5))
      const to = randomConfig(random, 64, from.number + 1 + random.below(5), random.below(4) === 0 ? undefined : from)
      const change = overTheWire(difference(from, to))
      expect(wire(applyDifference(from, change)), `seed ${seed}`).toBe(wire(to))
      const back = applyDifference(applyDifference(from, change), overTheWire(difference(to, from)))
      expect(wire(back), `seed ${seed}`).toBe(wire(from))
    }
  })

  it('of many steps gives the last config, step by step or squashed, laid over any config on the way (200 random chains)', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = new SeededRandom(seed)
      const chain = [randomConfig(random, 32, 1)]
      for (let number = 2; number < 4 + random.below(8); number++) chain.push(randomConfig(random, 32, number, chain.at(-1)))
      const steps = chain.slice(1).map((to, at) => overTheWire(difference(chain[at] as Config, to)))
      const last = wire(chain.at(-1) as Config)
      expect(wire(applyDifferences(chain[0] as Config, steps)), `seed ${seed}`).toBe(last)
      for (let first = 0; first < steps.length; first++) {
        const whole = overTheWire(squash(steps.slice(first)))
        for (const on of chain.slice(first, -1))
          expect(wire(applyDifference(on, whole)), `seed ${seed}, ${first} on ${on.number}`).toBe(last)
        const before = chain[first - 1]
        if (before !== undefined) expect(() => applyDifference(before, whole)).toThrow(RangeError)
      }
    }
  })

  it('says only what changed', () => {
    const next = new Config({
      number: 4,
      atMs: 5,
      cause: 'leave g2',
      author: 'me',
      shardCount: 16,
      groups: small.groups.filter((group) => group.name === 'g1'),
      owner: (shard) => (shard === 15 ? undefined : 'g1@1'),
      epoch: (shard) => (shard < 5 ? 3 : small.epochOf(shard)),
      pins: new Map([[2, 'g1']]),
    })
    const change = difference(small, next)
    expect({ ...change, shards: change.shards?.map((shard) => `${shard.shard}>${shard.group}:${shard.epoch}`) }).toEqual({
      from: 3,
      to: { number: 4, atMs: 5, cause: 'leave g2', author: 'me', shardCount: 16 },
      groups: [],
      removedGroups: ['g2@3'],
      shards: ['0>g1@1:3', '1>g1@1:3', '2>g1@1:3', '3>g1@1:3', '4>g1@1:3'],
      pins: [{ shard: 2, group: 'g1' }],
      unpinned: [7],
    })
  })

  it('keeps its bytes from version to version', () => {
    const change = difference(
      emptyConfig(16),
      new Config({ ...small, groups: small.groups, owner: (s) => small.groupOf(s)?.uid, epoch: (s) => small.epochOf(s) }),
    )
    expect(Buffer.from(pb.v1.ConfigDifference.encode(change).finish()).toString('hex')).toMatchSnapshot()
    expect(wire(small)).toMatchSnapshot()
  })

  it('refuses shards that are left to a group that is no more, or go to none that is there', () => {
    const change = { from: 3, to: { number: 4, shardCount: 16 } }
    expect(applyDifference(small, change).groups.length).toBe(2)
    expect(() => applyDifference(small, { ...change, removedGroups: ['g2@3'] })).toThrow(RangeError)
    for (const shards of [
      { shard: 0, group: 'g9@1', epoch: 1 },
      { shard: 16, group: 'g1@1', epoch: 1 },
      { shard: 0, group: 'g1@1', epoch: 0 },
    ]) {
      expect(() => applyDifference(small, { ...change, shards: [shards] })).toThrow(RangeError)
    }
  })

  it('refuses to be laid over another config than the one that it builds on', () => {
    const change = difference(emptyConfig(16), small)
    expect(() => applyDifference(small, change)).toThrow(RangeError)
    expect(() => applyDifference(emptyConfig(32), change)).toThrow(RangeError)
    expect(() => difference(emptyConfig(32), small)).toThrow(RangeError)
  })
})
