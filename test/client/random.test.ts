/**
 * Random calls of two clients against a cluster that refuses, delays, loses, breaks, moves its leader and its shards. Every call appends a
 * token of its own to its key, so the final values tell what took effect, how often and in which order.
 */
import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import type { Found } from '../../client/types.ts'
import type { OstrakaError } from '../../proto/errors.ts'
import { type Deed, FakeCluster, refusal } from './fake-cluster.ts'

interface Call {
  readonly client: number
  readonly key: string
  readonly token: string
  outcome: 'pending' | 'done' | 'definite' | 'indefinite'
}

interface Read {
  readonly key: string
  /** Tokens of the same client on the key whose calls were made before. */
  readonly before: Call[]
  found: Found | undefined
  outcome: 'pending' | 'done' | 'failed'
}

/** `mildness`: one of so many requests meets each kind of trouble. */
function drawDeed(random: SeededRandom, mildness: number): Deed | undefined {
  switch (random.below(mildness)) {
    case 0:
      return { refuse: refusal('OVERLOADED', true, { waitMs: random.below(50) }) }
    case 1:
      return { refuse: refusal('UNKNOWN', false) }
    case 2:
      return { refuse: refusal('NOT_LEADER') }
    case 3:
      return 'ignore'
    case 4:
      return 'execute and say nothing'
    case 5:
      return 'break before'
    case 6:
      return 'break after'
    case 7:
      return { delayMs: random.below(1500) }
    case 8:
      return { executeAfterMs: random.below(1500) }
    case 9: {
      const refused = random.below(4)
      return { refuseWrites: (index) => (index % 4 === refused ? refusal('SHARD_MOVING', true, { waitMs: random.below(30) }) : undefined) }
    }
    case 10:
      return { refuseReads: () => (random.below(2) === 0 ? refusal('UNAVAILABLE') : undefined) }
    default:
      return undefined
  }
}

/** Resolves to the share of the writes that were acknowledged. */
async function run(seed: number): Promise<number> {
  const cluster = await new FakeCluster(seed, { groups: 2 }).start()
  const random = new SeededRandom(seed + 1_000_000)
  const dbs = [await cluster.connect({ name: 'app1', deadlineMs: 4000 }), await cluster.connect({ name: 'app2', deadlineMs: 4000 })]
  const keys = ['a', 'b', '{a}c', 'd', 'e']
  const calls: Call[] = []
  const reads: Read[] = []
  cluster.script = () => drawDeed(random, 16 * (1 + (seed % 4)))
  let number = 1
  for (let turn = 0; turn < 40; turn++) {
    if (random.below(6) === 0) cluster.leaders.set(`g${1 + random.below(2)}@1`, `n${1 + random.below(3)}`)
    if (random.below(8) === 0) {
      number++
      const shift = random.below(2)
      cluster.config = cluster.makeConfig(number, (shard) => `g${((shard + shift) % 2) + 1}@1`)
      const config = cluster.config
      cluster.world.schedule(random.below(100), undefined, 'publish', () => {
        if (cluster.config === config) cluster.publish(config)
      })
    }
    for (let i = random.below(8); i > 0; i--) {
      const client = random.below(2)
      const key = keys[random.below(keys.length)] ?? ''
      const options = random.below(5) === 0 ? { deadlineMs: 1 + random.below(1000) } : {}
      if (random.below(4) > 0) {
        const call: Call = { client, key, token: `<${calls.length}>`, outcome: 'pending' }
        calls.push(call)
        dbs[client]?.append(key, call.token, options).then(
          () => {
            call.outcome = 'done'
          },
          (error: OstrakaError) => {
            call.outcome = error.definite ? 'definite' : 'indefinite'
          },
        )
      } else {
        const before = calls.filter((call) => call.client === client && call.key === key)
        const read: Read = { key, before, found: undefined, outcome: 'pending' }
        reads.push(read)
        dbs[client]?.get(key, options).then(
          (found) => {
            read.found = found
            read.outcome = 'done'
          },
          () => {
            read.outcome = 'failed'
          },
        )
      }
    }
    await cluster.world.runFor(random.below(80))
  }
  await cluster.world.runFor(12_000)
  cluster.publish(cluster.config)
  await Promise.all(dbs.map((db) => db.close()))
  await cluster.world.runFor(5000)
  judge(seed, cluster, keys, calls, reads)
  return calls.filter((call) => call.outcome === 'done').length / calls.length
}

function judge(seed: number, cluster: FakeCluster, keys: readonly string[], calls: readonly Call[], reads: readonly Read[]): void {
  const told = (what: string) => `seed ${seed}: ${what}`
  expect(cluster.breaches, told('breaches')).toEqual([])
  for (const key of keys) {
    const value = cluster.value(key) ?? ''
    const tokens: string[] = value.match(/<\d+>/g) ?? []
    for (const call of calls.filter((candidate) => candidate.key === key)) {
      const times = tokens.filter((token) => token === call.token).length
      const allowed = call.outcome === 'done' ? [1] : call.outcome === 'definite' ? [0] : [0, 1]
      expect(call.outcome, told(call.token)).not.toBe('pending')
      expect(allowed, told(`${call.outcome} ${call.token} in ${value}`)).toContain(times)
    }
    for (const client of [0, 1]) {
      const made = calls.filter((call) => call.client === client && call.key === key).map((call) => call.token)
      const took = tokens.filter((token) => made.includes(token))
      expect(took, told(`order of client ${client} on ${key}`)).toEqual(made.filter((token) => took.includes(token)))
    }
  }
  for (const read of reads) {
    expect(read.outcome, told('a read')).not.toBe('pending')
    if (read.outcome !== 'done') continue
    const value = read.found?.value.toString() ?? ''
    for (const call of read.before) if (call.outcome === 'done') expect(value, told(`a read after ${call.token}`)).toContain(call.token)
  }
}

describe('random calls against a random cluster', () => {
  const seeds = Number(process.env.OSTRAKA_CLIENT_SEEDS ?? 60)
  for (let first = 1; first <= seeds; first += 10) {
    it(`take effect once, in order, as reported: seeds ${first} to ${first + 9}`, async () => {
      let done = 0
      for (let seed = first; seed < first + 10; seed++) done += await run(seed)
      // Else the world is too rough to prove anything.
      expect(done).toBeGreaterThan(3)
    })
  }
})
