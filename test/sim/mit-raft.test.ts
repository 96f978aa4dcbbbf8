/**
 * The scenarios of MIT 6.5840's Raft lab (2A to 2D of 2023), told again over the real driver, log and messenger. Where the lab looks away we look:
 * a crash loses what was not synced, by a draw; who is cut off is stalled or refused, by a draw; and on every event a checker compares all
 * replicas (`raft-checker.ts`: one leader a term, logs that match, nothing committed is lost, each entry applied once and in order). A new leader's own
 * entry takes an index, so places are counted in values. The lab's lengths are kept where they are cheap; OSTRAKA_MIT_FULL=1 runs all of them whole,
 * with more seeds.
 */
import { describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import { electionMs, longReordering, RaftCluster, type RaftClusterOptions, unreliable } from './raft-cluster.ts'
import { World } from './world.ts'

const isFull = process.env.OSTRAKA_MIT_FULL === '1'
const seeds = isFull ? [1, 2, 3, 4, 5] : [1, 2]
/** Rounds of the long ones. */
const long = (full: number, sample: number) => (isFull ? full : sample)
const timeout = isFull ? 600_000 : 60_000

function scenario(name: string, options: RaftClusterOptions, tell: (cluster: RaftCluster) => Promise<void>): void {
  it.each(seeds)(`${name} (${options.size} servers, seed %i)`, { timeout }, async (seed) => {
    const world = new World({ seed })
    const cluster = new RaftCluster(world, options)
    await world.runUntil(() => cluster.names.every((one) => cluster.replica(one) !== undefined))
    await tell(cluster)
    cluster.checker.stop()
  })
}

/** Ten looks, half a second apart: by then there is one leader, which all who are connected follow. */
async function oneLeader(cluster: RaftCluster): Promise<string> {
  await cluster.world.runUntil(() => {
    const name = cluster.newestLeader()
    if (name === undefined) return false
    const replica = must(cluster.replica(name), 'a leader')
    const connected = cluster.names.filter((one) => cluster.isConnected(one) && cluster.isAlive(one))
    return connected.every((one) => cluster.replica(one)?.leader === replica.replica && cluster.replica(one)?.term === replica.term)
  }, 5000)
  return must(cluster.newestLeader(), 'a leader')
}

describe('leader election (2A)', () => {
  scenario('a first leader is elected and stays', { size: 3 }, async (cluster) => {
    const leader = await oneLeader(cluster)
    const term = cluster.replica(leader)?.term ?? 0
    expect(term).toBeGreaterThanOrEqual(1)
    await cluster.world.runFor(2 * electionMs)
    expect(await oneLeader(cluster)).toBe(leader)
    expect(cluster.replica(leader)?.term).toBe(term)
  })

  scenario('another is elected when one is cut off, and none where no quorum is', { size: 3 }, async (cluster) => {
    const first = await oneLeader(cluster)
    cluster.disconnect(first)
    await cluster.world.runFor(electionMs)
    const second = await oneLeader(cluster)
    expect(second).not.toBe(first)
    // The old one comes back and disturbs nobody.
    cluster.connect(first)
    expect(await oneLeader(cluster)).toBe(second)
    const other = must(cluster.others(first, second)[0], 'a third')
    cluster.disconnect(second, other)
    await cluster.world.runFor(2 * electionMs)
    expect(cluster.leaders()).toEqual([])
    // Nor does the one that was cut off as a leader still believe to lead.
    expect(cluster.replica(second)?.role).not.toBe('leader')
    cluster.connect(other)
    await oneLeader(cluster)
    cluster.connect(second)
    await oneLeader(cluster)
  })

  scenario('three of seven are cut off, again and again: one leader among the others', { size: 7 }, async (cluster) => {
    await oneLeader(cluster)
    for (let round = 1; round < 10; round++) {
      const gone = pick(cluster, 3)
      cluster.disconnect(...gone)
      await cluster.world.runFor(electionMs)
      await oneLeader(cluster)
      cluster.connect(...gone)
    }
    await oneLeader(cluster)
  })
})

describe('agreement (2B)', () => {
  scenario('three values are committed in their order, and none before it was proposed', { size: 3 }, async (cluster) => {
    for (let place = 1; place <= 3; place++) {
      expect(cluster.countApplied(`v${place}`)).toBe(0)
      expect(await cluster.commit(`v${place}`, 3)).toBe(place)
    }
    expect(await cluster.converge()).toEqual(['v1', 'v2', 'v3'])
  })

  scenario('each value crosses to each peer once', { size: 3 }, async (cluster) => {
    await cluster.commit('first', 3)
    const before = cluster.traffic.bytes
    for (let i = 0; i < 10; i++) await cluster.commit(`${i}`.repeat(5000), 3)
    const bytes = cluster.traffic.bytes - before
    expect(bytes).toBeGreaterThan(2 * 10 * 5000)
    // The lab grants 3 × 50,000 + 50,000; two peers need 100,000 and the messages around them.
    expect(bytes).toBeLessThan(2 * 10 * 5000 + 20_000)
  })

  for (const [who, expected] of [
    ['followers', 'two followers are lost one by one: with one values are committed, with none they are not'],
    ['leaders', 'two leaders are lost one by one: with the first gone values are committed, with the second they are not'],
  ] as const) {
    scenario(expected, { size: 3 }, async (cluster) => {
      await cluster.commit('101', 3)
      const first = who === 'leaders' ? await oneLeader(cluster) : must(cluster.others(await oneLeader(cluster))[0], 'a follower')
      cluster.disconnect(first)
      await cluster.commit('102', 2)
      await cluster.world.runFor(electionMs)
      expect(await cluster.commit('103', 2)).toBe(3)
      const leader = await oneLeader(cluster)
      cluster.disconnect(who === 'leaders' ? leader : must(cluster.others(first, leader)[0], 'the other follower'))
      for (const name of cluster.names) cluster.start(name, '104')
      await cluster.world.runFor(2 * electionMs)
      expect(cluster.countApplied('104')).toBe(0)
      cluster.connect(...cluster.names)
      await cluster.commit('105', 3)
      const list = await cluster.converge()
      expect(list.slice(0, 3)).toEqual(['101', '102', '103'])
    })
  }

  scenario('a follower that was away for four values agrees when it is back', { size: 3 }, async (cluster) => {
    await cluster.commit('101', 3)
    const follower = must(cluster.others(await oneLeader(cluster))[0], 'a follower')
    cluster.disconnect(follower)
    for (const value of ['102', '103']) await cluster.commit(value, 2)
    await cluster.world.runFor(electionMs)
    for (const value of ['104', '105']) await cluster.commit(value, 2)
    cluster.connect(follower)
    await cluster.commit('106', 3)
    await cluster.world.runFor(electionMs)
    await cluster.commit('107', 3)
    expect(await cluster.converge()).toEqual(['101', '102', '103', '104', '105', '106', '107'])
  })

  scenario('nothing is agreed on while three of five are away', { size: 5 }, async (cluster) => {
    await cluster.commit('10', 5)
    const leader = await oneLeader(cluster)
    const gone = cluster.others(leader).slice(0, 3)
    cluster.disconnect(...gone)
    expect(cluster.start(leader, '20')).toBe(true)
    await cluster.world.runFor(2 * electionMs)
    expect(cluster.countApplied('20')).toBe(0)
    cluster.connect(...gone)
    // The others may have elected a leader without the value that was not committed.
    const place = await cluster.commit('30', 5)
    expect([2, 3]).toContain(place)
    await cluster.commit('1000', 5)
    const list = await cluster.converge()
    expect(list.filter((value) => value !== '20')).toEqual(['10', '30', '1000'])
  })

  scenario('five values proposed at once in one term are all committed', { size: 3 }, async (cluster) => {
    const leader = await oneLeader(cluster)
    for (let i = 0; i < 5; i++) expect(cluster.start(leader, `${100 + i}`)).toBe(true)
    await cluster.world.runUntil(() => cluster.countApplied('104') === 3, 10_000)
    expect(await cluster.converge()).toEqual(['100', '101', '102', '103', '104'])
  })

  scenario('a leader that was cut off with values of its own comes back', { size: 3 }, async (cluster) => {
    await cluster.commit('101', 3)
    const first = await oneLeader(cluster)
    cluster.disconnect(first)
    for (const value of ['102', '103', '104']) cluster.start(first, value)
    await cluster.commit('203', 2)
    const second = await oneLeader(cluster)
    cluster.disconnect(second)
    cluster.connect(first)
    await cluster.commit('104b', 2)
    cluster.connect(second)
    await cluster.commit('105', 3)
    expect(await cluster.converge()).toEqual(['101', '203', '104b', '105'])
  })

  scenario('a leader backs up fast over long tails that do not count', { size: 5 }, async (cluster) => {
    let values = 0
    const next = () => `${++values}`
    await cluster.commit(next(), 5)
    // Fifty at a leader with one follower.
    const first = await oneLeader(cluster)
    const [friend, ...three] = cluster.others(first) as [string, string, string, string]
    cluster.disconnect(...three)
    for (let i = 0; i < 50; i++) cluster.start(first, next())
    await cluster.world.runFor(electionMs / 2)
    cluster.disconnect(first, friend)
    cluster.connect(...three)
    // Fifty that the other three commit.
    for (let i = 0; i < 50; i++) await cluster.commit(next(), 3)
    // Fifty at their leader, with one of them.
    const second = await oneLeader(cluster)
    const left = must(three.filter((name) => name !== second)[0], 'one of three')
    cluster.disconnect(left)
    for (let i = 0; i < 50; i++) cluster.start(second, next())
    await cluster.world.runFor(electionMs / 2)
    cluster.disconnect(...cluster.names)
    // Fifty more by the first two and the one that was left out.
    cluster.connect(first, friend, left)
    for (let i = 0; i < 50; i++) await cluster.commit(next(), 3)
    cluster.connect(...cluster.names)
    await cluster.commit('last', 5)
    const list = await cluster.converge()
    expect(list).toHaveLength(1 + 50 + 50 + 1)
  })

  scenario('few calls: for an election, for a dozen values, for a second in which nothing happens', { size: 3 }, async (cluster) => {
    const leader = await oneLeader(cluster)
    expect(cluster.traffic.requests).toBeGreaterThanOrEqual(1)
    expect(cluster.traffic.requests).toBeLessThanOrEqual(30)
    await cluster.commit('first', 3)
    let before = cluster.traffic.requests
    for (let i = 0; i < 12; i++) cluster.start(leader, `${i}`)
    await cluster.world.runUntil(() => cluster.countApplied('11') === 3)
    expect(cluster.traffic.requests - before).toBeLessThanOrEqual((12 + 1 + 3) * 3)
    before = cluster.traffic.requests
    await cluster.world.runFor(1000)
    expect(cluster.traffic.requests - before).toBeLessThanOrEqual(3 * 20)
  })
})

describe('what is durable (2C)', () => {
  function bounce(cluster: RaftCluster, ...names: readonly string[]): void {
    for (const name of names) {
      cluster.crash(name)
      cluster.restart(name)
    }
  }

  scenario('all crash, then the leader, then a follower', { size: 3 }, async (cluster) => {
    await cluster.commit('11', 3)
    bounce(cluster, ...cluster.names)
    await cluster.commit('12', 3)
    bounce(cluster, await cluster.leader())
    await cluster.commit('13', 3)
    const second = await cluster.leader()
    cluster.crash(second)
    await cluster.commit('14', 2)
    cluster.restart(second)
    await cluster.commit('15', 3)
    const third = must(cluster.others(await cluster.leader())[0], 'a follower')
    cluster.crash(third)
    await cluster.commit('16', 2)
    cluster.restart(third)
    expect(await cluster.converge()).toEqual(['11', '12', '13', '14', '15', '16'])
  })

  scenario('any three of five go on, however they changed', { size: 5 }, async (cluster) => {
    const expected: string[] = []
    const commit = async (servers: number) => {
      expected.push(`${expected.length + 10}`)
      await cluster.commit(expected.at(-1) as string, servers)
    }
    for (let round = 0; round < 5; round++) {
      await commit(5)
      const leader = await cluster.leader()
      const at = cluster.names.indexOf(leader)
      const [a, b, c, d] = [1, 2, 3, 4].map((i) => cluster.names[(at + i) % 5] as string) as [string, string, string, string]
      cluster.crash(a)
      cluster.crash(b)
      await commit(3)
      for (const name of [leader, c, d]) cluster.crash(name)
      cluster.restart(a)
      cluster.restart(b)
      await cluster.world.runFor(electionMs)
      cluster.restart(c)
      await commit(3)
      cluster.restart(d)
      cluster.restart(leader)
    }
    await commit(5)
    expect(await cluster.converge()).toEqual(expected)
  })

  scenario('leader and one follower crash; the leader comes back with the one that lagged', { size: 3 }, async (cluster) => {
    await cluster.commit('101', 3)
    const leader = await cluster.leader()
    const [up, lagging] = cluster.others(leader) as [string, string]
    cluster.disconnect(lagging)
    await cluster.commit('102', 2)
    cluster.crash(leader)
    cluster.crash(up)
    cluster.connect(lagging)
    cluster.restart(leader)
    await cluster.commit('103', 2)
    cluster.restart(up)
    await cluster.commit('104', 3)
    expect(await cluster.converge()).toEqual(['101', '102', '103', '104'])
  })

  scenario('leaders crash soon after they took something (Figure 8)', { size: 5 }, async (cluster) => {
    await cluster.commit('first', 1)
    for (let round = 0; round < long(1000, 150); round++) {
      const takers = cluster.names.filter((name) => cluster.start(name, `r${round}`))
      await cluster.world.runFor(cluster.random.next() < 0.1 ? cluster.random.next() * (electionMs / 2) : cluster.random.next() * 13)
      const leader = takers.at(-1)
      if (leader !== undefined && cluster.isAlive(leader)) cluster.crash(leader)
      const dead = cluster.names.filter((name) => !cluster.isAlive(name))
      if (dead.length > 2) cluster.restart(dead[cluster.random.below(dead.length)] as string)
      // Without anybody to lead nothing is put to the test.
      if (takers.length === 0) await cluster.world.runFor(100)
    }
    for (const name of cluster.names) cluster.restart(name)
    await cluster.commit('last', 5)
    const list = await cluster.converge()
    expect(list[0]).toBe('first')
    expect(cluster.checker.elections).toBeGreaterThan(long(60, 8))
  })

  scenario('values proposed side by side over a bad network', { size: 5 }, async (cluster) => {
    cluster.network.setAllConditions(unreliable)
    const values: string[] = []
    for (let round = 1; round < long(50, 20); round++) {
      const leader = await cluster.leader()
      for (let i = 0; i < 4; i++) {
        values.push(`${100 * round + i}`)
        cluster.start(leader, `${100 * round + i}`)
      }
      values.push(`${round}`)
      await cluster.commit(`${round}`, 1)
    }
    cluster.network.setAllConditions({ lossProbability: 0 })
    await cluster.commit('last', 5)
    const list = await cluster.converge()
    for (let round = 1; round < long(50, 20); round++) expect(list).toContain(`${round}`)
    expect(new Set(list).size).toBeGreaterThan(values.length * 0.8)
  })

  scenario('leaders are cut off over a bad network, where late messages come later and later (Figure 8)', { size: 5 }, async (cluster) => {
    cluster.network.setAllConditions(unreliable)
    await cluster.commit('first', 1)
    const rounds = long(1000, 120)
    for (let round = 0; round < rounds; round++) {
      if (round === Math.floor(rounds / 5)) cluster.network.setAllConditions(longReordering)
      const takers = cluster.names.filter((name) => cluster.start(name, `r${round}`))
      await cluster.world.runFor(cluster.random.next() < 0.1 ? cluster.random.next() * (electionMs / 2) : cluster.random.next() * 13)
      const leader = takers.at(-1)
      if (leader !== undefined && cluster.random.next() < 0.5) cluster.disconnect(leader)
      const away = cluster.names.filter((name) => !cluster.isConnected(name))
      if (away.length > 2) cluster.connect(away[cluster.random.below(away.length)] as string)
      if (takers.length === 0) await cluster.world.runFor(100)
    }
    // It is still as bad when all are back.
    cluster.connect(...cluster.names)
    await cluster.commit('last', 5)
    cluster.network.setAllConditions({ lossProbability: 0, reorderProbability: 0 })
    expect((await cluster.converge())[0]).toBe('first')
  })

  for (const bad of [false, true]) {
    scenario(`servers come and go while clients work, over a ${bad ? 'bad' : 'good'} network`, { size: 5 }, async (cluster) => {
      if (bad) cluster.network.setAllConditions(unreliable)
      const clients = [1, 2, 3].map((client) => new ChurnClient(cluster, client))
      for (let round = 0; round < 20; round++) {
        if (cluster.random.next() < 0.2) cluster.disconnect(...pick(cluster, 1))
        if (cluster.random.next() < 0.5) {
          const [back] = pick(cluster, 1) as [string]
          cluster.restart(back)
          cluster.connect(back)
        }
        if (cluster.random.next() < 0.2) {
          const [down] = pick(cluster, 1) as [string]
          if (cluster.isAlive(down)) cluster.crash(down)
        }
        await cluster.world.runFor(700)
      }
      for (const client of clients) client.stop()
      cluster.network.setAllConditions({ lossProbability: 0 })
      for (const name of cluster.names) cluster.restart(name)
      cluster.connect(...cluster.names)
      await cluster.commit('last', 5)
      const list = new Set(await cluster.converge())
      const seen = clients.flatMap((client) => client.committed)
      expect(seen.length).toBeGreaterThan(50)
      expect(seen.filter((value) => !list.has(value))).toEqual([])
    })
  }
})

describe('logs that are cut short (2D)', () => {
  /** The log is kept for who lags while it is shorter than twice that: a dozen short values are more. */
  const snapshotLogBytes = 100
  /** The lab's bound. */
  const logBytesMax = 2000

  interface Victims {
    readonly disconnect?: boolean
    readonly crash?: boolean
    readonly unreliable?: boolean
  }

  async function rounds(cluster: RaftCluster, { disconnect = false, crash = false, unreliable: bad = false }: Victims): Promise<void> {
    if (bad) cluster.network.setAllConditions(unreliable)
    let values = 0
    const commit = async (servers: number) => await cluster.commit(`v${++values}`, servers)
    await commit(3)
    for (let round = 0; round < long(30, 12); round++) {
      const leader = await cluster.leader()
      // Each third round the leader itself is the victim, and another carries on.
      const victim = round % 3 === 1 ? leader : must(cluster.others(leader)[0], 'a follower')
      if (disconnect) cluster.disconnect(victim)
      if (crash) cluster.crash(victim)
      if (disconnect || crash) await commit(2)
      const count = 5 + cluster.random.below(10)
      const sender = await cluster.leader()
      for (let i = 0; i < count; i++) cluster.start(sender, `v${++values}`)
      if (disconnect || crash) await commit(2)
      else await commit(3)
      for (const name of cluster.names) expect(cluster.logBytes(name), `log of ${name}`).toBeLessThan(logBytesMax)
      cluster.restart(victim)
      cluster.connect(victim)
      if (!disconnect && !crash) continue
      await commit(3)
    }
    cluster.network.setAllConditions({ lossProbability: 0 })
    const list = await cluster.converge()
    expect(new Set(list).size).toBeGreaterThan(values * 0.8)
  }

  scenario('nobody is away: no snapshot is sent', { size: 3, snapshotLogBytes }, async (cluster) => {
    await rounds(cluster, {})
    expect(allInstalls(cluster)).toBe(0)
  })
  scenario('one is cut off for longer than the log is kept', { size: 3, snapshotLogBytes }, async (cluster) => {
    await rounds(cluster, { disconnect: true })
    expect(allInstalls(cluster)).toBeGreaterThan(0)
  })
  scenario('the same over a bad network', { size: 3, snapshotLogBytes }, async (cluster) => {
    await rounds(cluster, { disconnect: true, unreliable: true })
    expect(allInstalls(cluster)).toBeGreaterThan(0)
  })
  scenario('one has crashed for longer than the log is kept', { size: 3, snapshotLogBytes }, async (cluster) => {
    await rounds(cluster, { crash: true })
    expect(allInstalls(cluster)).toBeGreaterThan(0)
  })
  scenario('one has crashed, and the network is bad', { size: 3, snapshotLogBytes }, async (cluster) => {
    await rounds(cluster, { crash: true, unreliable: true })
    expect(allInstalls(cluster)).toBeGreaterThan(0)
  })

  scenario('all crash, and no list gets shorter', { size: 3, snapshotLogBytes }, async (cluster) => {
    let values = 0
    let place = await cluster.commit(`v${++values}`, 3)
    for (let round = 0; round < 5; round++) {
      const count = 5 + cluster.random.below(10)
      for (let i = 0; i < count; i++) place = Math.max(place, await cluster.commit(`v${++values}`, 3))
      for (const name of cluster.names) cluster.crash(name)
      for (const name of cluster.names) cluster.restart(name)
      const after = await cluster.commit(`v${++values}`, 3)
      expect(after).toBeGreaterThan(place)
      place = after
    }
    expect(await cluster.converge()).toHaveLength(values)
  })

  scenario('a snapshot outlives two crashes and what was written between them', { size: 3, snapshotLogBytes }, async (cluster) => {
    const all: string[] = []
    const commit = async () => {
      all.push(`v${all.length + 1}`)
      await cluster.commit(all.at(-1) as string, 3)
    }
    for (let i = 0; i < 11; i++) await commit()
    for (let crashes = 0; crashes < 2; crashes++) {
      for (const name of cluster.names) cluster.crash(name)
      for (const name of cluster.names) cluster.restart(name)
      // A single value in between: the log is written again, the snapshot is not.
      await commit()
    }
    expect(await cluster.converge()).toEqual(all)
  })
})

function allInstalls(cluster: RaftCluster): number {
  return cluster.names.reduce((sum, name) => sum + cluster.installs(name), 0)
}

function pick(cluster: RaftCluster, count: number): string[] {
  const rest = [...cluster.names]
  return Array.from({ length: count }, () => rest.splice(cluster.random.below(rest.length), 1)[0] as string)
}

/** Proposes one value after another at whoever takes it, and notes those that it saw applied. */
class ChurnClient {
  readonly committed: string[] = []
  readonly #cluster: RaftCluster
  readonly #id: number
  #count = 0
  #stopped = false

  constructor(cluster: RaftCluster, id: number) {
    this.#cluster = cluster
    this.#id = id
    this.#next()
  }

  stop(): void {
    this.#stopped = true
  }

  #next(): void {
    if (this.#stopped) return
    const value = `c${this.#id}-${++this.#count}`
    const taken = this.#cluster.names.some((name) => this.#cluster.isConnected(name) && this.#cluster.start(name, value))
    this.#look(value, taken ? 20 : 1)
  }

  /** Twenty looks, then it goes on with another value. */
  #look(value: string, looks: number): void {
    this.#cluster.world.schedule(10 + this.#cluster.random.next() * 30, undefined, `client ${this.#id}`, () => {
      if (this.#cluster.countApplied(value) > 0) this.committed.push(value)
      else if (looks > 1) return this.#look(value, looks - 1)
      this.#next()
    })
  }
}
