/**
 * The scenarios of MIT 6.5840's fault-tolerant key-value lab (kvraft 3A and 3B of 2023), told again over a whole simulated cluster: controllers, n nodes
 * with one group, and clients of the SDK. Corrected where the lab is weak: the history must be linearizable, and a checker that comes to no end is a failure;
 * every call must be answered; a crash loses what was not synced, by a draw. What TCP carries is late and not lost; Raft's own messages are lost, too.
 * Shortened: two rounds of 1.5 s where the lab has three of 5 s; OSTRAKA_MIT_FULL=1 runs those.
 */
import { describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import type { Random } from '../../base/random.ts'
import type { Client } from '../../client/client.ts'
import { HistoryRecorder } from '../linearizability/history.ts'
import type { OstrakaInput, OstrakaOutput } from '../linearizability/ostraka-model.ts'
import { checkHistory, convergeAndCompare } from './convergence.ts'
import { RaftChecker } from './raft-checker.ts'
import { unreliable } from './raft-cluster.ts'
import { SimCluster } from './sim-cluster.ts'
import { World } from './world.ts'

const isFull = process.env.OSTRAKA_MIT_FULL === '1'
const rounds = isFull ? 3 : 2
const roundMs = isFull ? 5000 : 1500
const timeout = isFull ? 600_000 : 60_000
const deadlineMs = 30_000
/** A run in which fewer calls were answered tested nothing. */
const leastAnswers = 25 * rounds
/** The lab's clients call without a pause. On a network that takes no time they pause, so that all together call about as often as one that did not. */
const thinkMsPerClient = 5
/** Of the lab's 3B; the log may be eight times as long. */
const maxRaftState = 1000
const group = 'g1@1'

interface Row {
  readonly name: string
  readonly clients: number
  readonly servers: number
  readonly unreliable?: true
  readonly crash?: true
  readonly partition?: true
  readonly snapshots?: true
  readonly randomKeys?: true
}

const matrix: readonly Row[] = [
  { name: 'one client', clients: 1, servers: 5 },
  { name: 'many clients', clients: 5, servers: 5 },
  { name: 'a bad network', clients: 5, servers: 5, unreliable: true },
  { name: 'partitions, one client', clients: 1, servers: 5, partition: true },
  { name: 'partitions, many clients', clients: 5, servers: 5, partition: true },
  { name: 'all crash, one client', clients: 1, servers: 5, crash: true },
  { name: 'all crash, many clients', clients: 5, servers: 5, crash: true },
  { name: 'all crash, a bad network', clients: 5, servers: 5, unreliable: true, crash: true },
  { name: 'all crash, partitions', clients: 5, servers: 5, crash: true, partition: true },
  { name: 'all crash, partitions, a bad network', clients: 5, servers: 5, unreliable: true, crash: true, partition: true },
  {
    name: 'all of it, on few keys',
    clients: 15,
    servers: 7,
    unreliable: true,
    crash: true,
    partition: true,
    randomKeys: true,
  },
  { name: 'snapshots, all crash, one client', clients: 1, servers: 5, crash: true, snapshots: true },
  { name: 'snapshots, all crash, many clients', clients: 20, servers: 5, crash: true, snapshots: true },
  { name: 'snapshots, a bad network', clients: 5, servers: 5, unreliable: true, snapshots: true },
  { name: 'snapshots, a bad network, all crash', clients: 5, servers: 5, unreliable: true, crash: true, snapshots: true },
  {
    name: 'snapshots, a bad network, all crash, partitions',
    clients: 5,
    servers: 5,
    unreliable: true,
    crash: true,
    partition: true,
    snapshots: true,
  },
  {
    name: 'snapshots and all of it, on few keys',
    clients: 15,
    servers: 7,
    unreliable: true,
    crash: true,
    partition: true,
    snapshots: true,
    randomKeys: true,
  },
]

function makeCluster(world: World, servers: number, snapshots: boolean): SimCluster {
  return new SimCluster(world, {
    controllers: 1,
    nodes: servers,
    groups: 1,
    shards: 16,
    ...(snapshots ? { snapshotLogBytes: maxRaftState } : {}),
  })
}

async function formed(world: World, servers: number, snapshots: boolean): Promise<SimCluster> {
  const cluster = makeCluster(world, servers, snapshots)
  await cluster.form()
  return cluster
}

/** One client of the lab: half of its calls append to its key, or to any; the others read. */
class Clerk {
  readonly appended: string[] = []
  answered = 0
  readonly #world: World
  readonly #db: Client
  readonly #recorder: HistoryRecorder<OstrakaInput, OstrakaOutput>
  readonly #random: Random
  readonly #id: number
  /** Of how many keys it takes any; 0: it has its own. */
  readonly #randomKeys: number
  readonly #thinkMsMax: number
  #stopped = false
  readonly done: Promise<void>

  constructor(world: World, db: Client, recorder: HistoryRecorder<OstrakaInput, OstrakaOutput>, id: number, row: Row) {
    this.#world = world
    this.#db = db
    this.#recorder = recorder
    this.#random = world.random.fork()
    this.#id = id
    this.#randomKeys = row.randomKeys ? row.clients : 0
    this.#thinkMsMax = thinkMsPerClient * row.clients
    this.done = this.#run()
    this.done.catch((error) => world.fail(error))
  }

  get key(): string {
    return `${this.#id}`
  }

  stop(): void {
    this.#stopped = true
  }

  async #run(): Promise<void> {
    await this.#db.ready(deadlineMs)
    while (!this.#stopped) {
      const key = this.#randomKeys > 0 ? `${this.#random.below(this.#randomKeys)}` : this.key
      if (this.#random.next() < 0.5) await this.#append(key)
      else if (this.#randomKeys > 0 && this.#random.next() < 0.1) await this.#put(key)
      else await this.#get(key)
      this.answered++
      await new Promise<void>((resolve) =>
        this.#world.schedule(this.#random.next() * this.#thinkMsMax, undefined, 'a clerk thinks', resolve),
      )
    }
  }

  async #append(key: string): Promise<void> {
    const value = `x ${this.#id} ${this.appended.length} y`
    this.appended.push(value)
    const operation = this.#recorder.call(this.key, key, { op: 'append', value })
    await this.#db.append(key, value)
    this.#recorder.return(operation, {})
  }

  async #put(key: string): Promise<void> {
    const value = `put ${this.#id} ${this.#world.events}`
    const operation = this.#recorder.call(this.key, key, { op: 'put', value })
    await this.#db.put(key, value)
    this.#recorder.return(operation, {})
  }

  async #get(key: string): Promise<void> {
    const operation = this.#recorder.call(this.key, key, { op: 'get' })
    const found = (await this.#db.get(key))?.value.toString('utf8')
    this.#recorder.return(operation, { value: found })
    if (this.#randomKeys === 0) expect(found ?? '').toBe(this.appended.join(''))
  }
}

/** Two sides, drawn anew each second or so, until it is stopped. Who is no server reaches all. */
function repartition(world: World, cluster: SimCluster): () => void {
  const random = world.random.fork()
  let stopped = false
  const again = () => {
    if (stopped) return
    cluster.network.heal()
    const left = cluster.nodeNames.filter(() => random.next() < 0.5)
    cluster.network.partition([left, cluster.nodeNames.filter((name) => !left.includes(name))], random.next() < 0.5 ? 'stall' : 'refuse')
    world.schedule(1000 + random.next() * 200, undefined, 'repartition', again)
  }
  again()
  return () => {
    stopped = true
    cluster.network.heal()
  }
}

function crashAll(world: World, cluster: SimCluster): void {
  for (const name of cluster.nodeNames) {
    if (world.random.next() < 0.5) cluster.kill(name)
    else cluster.powerLoss(name)
  }
}

function logBytes(cluster: SimCluster, name: string): number {
  return cluster.replicas(name)[0]?.log.bytes ?? 0
}

async function runRow(row: Row, seed: number): Promise<void> {
  const world = new World({ seed })
  const cluster = makeCluster(world, row.servers, row.snapshots === true)
  const checker = new RaftChecker(world, cluster)
  checker.start()
  await cluster.form()
  if (row.unreliable) cluster.network.setAllConditions(unreliable)
  const recorder = new HistoryRecorder<OstrakaInput, OstrakaOutput>()
  const clerks = Array.from({ length: row.clients }, (_, i) => new Clerk(world, cluster.client(`client${i}`, deadlineMs), recorder, i, row))
  for (let round = 0; round < rounds; round++) {
    const healed = row.partition ? repartition(world, cluster) : () => {}
    await world.runFor(roundMs)
    healed()
    if (row.crash) {
      crashAll(world, cluster)
      await world.runFor(100)
      for (const name of cluster.nodeNames) cluster.restart(name)
      await world.runUntil(() => cluster.isReady, 20_000)
    }
    // What is answered now is answered behind the faults.
    const before = clerks.map(({ answered }) => answered)
    await world.runUntil(() => clerks.every(({ answered }, i) => answered > (before[i] ?? 0)), 20_000)
  }
  for (const clerk of clerks) clerk.stop()
  await world.settle(Promise.all(clerks.map(({ done }) => done)), deadlineMs)
  await convergeAndCompare(world, cluster, 1)
  checker.stop()
  for (const clerk of clerks) if (!row.randomKeys) await checkAppends(world, cluster, clerk)
  if (row.snapshots) for (const name of cluster.nodeNames) expect(logBytes(cluster, name)).toBeLessThanOrEqual(8 * maxRaftState)
  expect(clerks.reduce((sum, { answered }) => sum + answered, 0)).toBeGreaterThan(leastAnswers)
  checkHistory(seed, recorder)
}

/** All that a clerk appended is there, once and in order. */
async function checkAppends(world: World, cluster: SimCluster, clerk: Clerk): Promise<void> {
  const db = cluster.client(`reader of ${clerk.key}`, deadlineMs)
  const found = await world.settle(db.ready(deadlineMs).then(() => db.get(clerk.key)))
  expect(found?.value.toString('utf8') ?? '').toBe(clerk.appended.join(''))
  await world.settle(db.close())
}

describe('clients of a group under faults, every combination of the lab', () => {
  it.each(matrix.map((row, at) => [`${row.name} (${row.clients} clients, ${row.servers} servers)`, row, at + 1] as const))(
    '%s',
    { timeout },
    async (_, row, seed) => {
      await runRow(row, seed)
    },
  )
})

describe('single scenarios of the lab', () => {
  async function connected(cluster: SimCluster, world: World, name: string): Promise<Client> {
    const db = cluster.client(name, deadlineMs)
    await world.settle(db.ready(deadlineMs))
    return db
  }

  for (const snapshots of [false, true]) {
    it(`calls wait for no heartbeat${snapshots ? ', with snapshots' : ''}: appends in a row take less than a third of one each`, async () => {
      const world = new World({ seed: 41 })
      const cluster = await formed(world, 3, snapshots)
      const db = await connected(cluster, world, 'client')
      const calls = isFull ? 1000 : 200
      const before = world.nowMs
      const append = async () => {
        for (let i = 0; i < calls; i++) await db.append('key', `x 0 ${i} y`)
      }
      await world.settle(append())
      // Heartbeats of 50 ms.
      expect((world.nowMs - before) / calls).toBeLessThan(50 / 3)
    })
  }

  it('five clients append to one key over a bad network: each once, in the order of each', async () => {
    const world = new World({ seed: 43 })
    const cluster = await formed(world, 3, false)
    cluster.network.setAllConditions(unreliable)
    const clients = [0, 1, 2, 3, 4].map((i) => cluster.client(`client${i}`, deadlineMs))
    const appendTen = async (db: Client, id: number) => {
      await db.ready(deadlineMs)
      for (let i = 0; i < 10; i++) await db.append('one', `x ${id} ${i} y`)
    }
    await world.settle(Promise.all(clients.map(appendTen)))
    const text = (await world.settle(must(clients[0], 'a client').get('one')))?.value.toString('utf8') ?? ''
    const found = text.match(/x \d+ \d+ y/g) ?? []
    expect(found.join('')).toBe(text)
    for (let id = 0; id < 5; id++) {
      const expected = Array.from({ length: 10 }, (_, i) => `x ${id} ${i} y`)
      expect(found.filter((value) => value.startsWith(`x ${id} `))).toEqual(expected)
    }
  })

  it('with the leader in the minority the majority goes on; calls in the minority wait, and end when it is healed', async () => {
    const world = new World({ seed: 44 })
    const cluster = await formed(world, 5, false)
    const outside = await connected(cluster, world, 'outside')
    const insideA = await connected(cluster, world, 'inside-a')
    const insideB = await connected(cluster, world, 'inside-b')
    await world.settle(outside.put('1', '13'))
    const leader = must(cluster.groupLeader(group), 'a leader')
    const [second, ...majority] = cluster.nodeNames.filter((name) => name !== leader)
    const minority = [leader, must(second, 'a follower'), 'inside-a', 'inside-b']
    cluster.network.partition([minority, [...majority, 'outside', ...cluster.controllerNames]])
    await world.settle(outside.put('1', '14'), 10_000)

    const ended: string[] = []
    const end = (name: string) => (value: unknown) => {
      ended.push(name)
      return value
    }
    const put = insideA.put('1', '15').then(end('put'))
    const get = insideB.get('1').then(end('get'))
    await world.runFor(1000)
    expect(ended).toEqual([])
    expect((await world.settle(outside.get('1')))?.value.toString('utf8')).toBe('14')
    await world.settle(outside.put('1', '16'))

    cluster.network.heal()
    await world.runFor(1000)
    await world.settle(Promise.all([put, get]), 3000)
    expect(ended.sort()).toEqual(['get', 'put'])
    expect((await world.settle(outside.get('1')))?.value.toString('utf8')).toBe('15')
  })

  it('a server that was away takes a snapshot and then serves with one other', async () => {
    const world = new World({ seed: 45 })
    const cluster = await formed(world, 3, true)
    const db = await connected(cluster, world, 'client')
    const [a, b, away] = cluster.nodeNames as [string, string, string]
    await world.settle(db.put('a', 'A'))
    cluster.network.partition([[a, b, ...cluster.controllerNames, 'client'], [away]])
    for (let i = 0; i < 50; i++) await world.settle(db.put(`${i}`, `${i}`))
    await world.settle(db.put('b', 'B'))
    await world.runFor(1000)
    for (const name of [a, b]) expect(logBytes(cluster, name)).toBeLessThanOrEqual(8 * maxRaftState)
    // What `away` needs is in no log any more.
    const first = Math.min(...[a, b].map((name) => must(cluster.replicas(name)[0], 'a replica').log.firstIndex))
    expect(first).toBeGreaterThan(must(cluster.replicas(away)[0], 'a replica').log.lastIndex + 1)

    cluster.network.heal()
    cluster.network.partition([[a, away, ...cluster.controllerNames, 'client'], [b]])
    await world.settle(db.put('c', 'C'))
    await world.settle(db.put('d', 'D'))
    for (const [key, value] of [
      ['a', 'A'],
      ['b', 'B'],
      ['c', 'C'],
      ['d', 'D'],
      ['1', '1'],
      ['49', '49'],
    ] as const) {
      expect((await world.settle(db.get(key)))?.value.toString('utf8')).toBe(value)
    }
    cluster.network.heal()
    await convergeAndCompare(world, cluster, 1)
  })

  it('a log is cut short under puts to one key, and so is what it is replaced by', async () => {
    const world = new World({ seed: 46 })
    const cluster = await formed(world, 3, true)
    const db = await connected(cluster, world, 'client')
    for (let i = 0; i < 200; i++) {
      await world.settle(db.put('x', '0'))
      await world.settle(db.put('x', '1'))
    }
    await convergeAndCompare(world, cluster, 1)
    for (const name of cluster.nodeNames) {
      const replica = must(cluster.replicas(name)[0], 'a replica')
      expect(replica.log.bytes).toBeLessThanOrEqual(8 * maxRaftState)
      const { files } = await world.settle(replica.stateMachine.exportSnapshot(`data/looked at`))
      expect(files.reduce((sum, { size }) => sum + size, 0)).toBeLessThanOrEqual(4096)
    }
  })
})
