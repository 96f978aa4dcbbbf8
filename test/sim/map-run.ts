/** One run of three replicas of a map under faults, with clients whose history is kept. */
import { assert } from '../../base/assert.ts'
import type { UnsafeRaft } from '../../raft/raft-host.ts'
import { MapCluster } from './map-cluster.ts'
import { Nemesis } from './nemesis.ts'
import { RaftObserver } from './raft-observer.ts'
import { World } from './world.ts'

/** A client's call as it saw it. `returnMs` undefined: its outcome is not known. */
export interface MapOperation {
  readonly client: number
  readonly key: string
  readonly callSequence: number
  returnSequence: number | undefined
  readonly put: string | undefined
  got: string | undefined
}

export interface MapRun {
  readonly traceHash: string
  readonly history: readonly MapOperation[]
  readonly acknowledged: number
  readonly virtualMs: number
  readonly leaderChanges: number
}

const clients = 4
const keys = 5
const faultsMs = 15_000
const answerMsMax = 2000

export async function runMap(seed: number, unsafe?: UnsafeRaft): Promise<MapRun> {
  const world = new World({ seed })
  const observer = new RaftObserver(world)
  const cluster = new MapCluster(world, observer, unsafe)
  const nemesis = new Nemesis(world, cluster.network, cluster, { intervalMs: 600, deadMsMax: 1500, partitionMsMax: 2000 })
  const load = new Load(world, cluster)
  for (let client = 0; client < clients; client++) load.start(client)
  await world.runUntil(() => cluster.leader() !== undefined, 10_000)
  nemesis.start()
  await world.runFor(faultsMs)
  nemesis.stop()
  const before = load.acknowledged
  await world.runUntil(() => load.acknowledged >= before + 20, 20_000)
  load.stop()
  await world.runUntil(() => converged(cluster), 20_000)
  for (const name of cluster.names) {
    assert(sameMap(cluster.contents(name), cluster.contents('r1')), `seed ${seed}: ${name} holds another map than r1`)
  }
  return {
    traceHash: world.traceHash(),
    history: load.history,
    acknowledged: load.acknowledged,
    virtualMs: world.nowMs,
    leaderChanges: observer.leaderChanges,
  }
}

function converged(cluster: MapCluster): boolean {
  const replicas = cluster.names.map((name) => cluster.replica(name))
  const [first] = replicas
  if (first === undefined || cluster.leader() === undefined) return false
  return replicas.every(
    (replica) =>
      replica !== undefined &&
      replica.applied === first.applied &&
      replica.commit === replica.applied &&
      replica.log.lastIndex === replica.applied,
  )
}

function sameMap(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean {
  return a.size === b.size && [...a].every(([key, value]) => b.get(key) === value)
}

class Load {
  readonly history: MapOperation[] = []
  acknowledged = 0
  readonly #world: World
  readonly #cluster: MapCluster
  readonly #random
  #sequence = 0
  #values = 0
  #stopped = false

  constructor(world: World, cluster: MapCluster) {
    this.#world = world
    this.#cluster = cluster
    this.#random = world.random.fork()
  }

  start(client: number): void {
    this.#world.schedule(this.#random.next() * 20, undefined, `client ${client}`, () => {
      if (this.#stopped) return
      this.#call(client)
    })
  }

  stop(): void {
    this.#stopped = true
  }

  #call(client: number): void {
    const target = this.#random.next() < 0.8 ? (this.#cluster.leader() ?? this.#anyone()) : this.#anyone()
    const key = `k${this.#random.below(keys)}`
    const put = this.#random.next() < 0.5 ? `v${++this.#values}` : undefined
    const operation: MapOperation = { client, key, callSequence: ++this.#sequence, returnSequence: undefined, put, got: undefined }
    let answered = false
    const done = (known: boolean, definitelyNot: boolean) => {
      if (answered) return
      answered = true
      if (known) {
        operation.returnSequence = ++this.#sequence
        this.acknowledged++
      }
      // A read without an answer says nothing; a write that certainly did nothing neither.
      if (known || (put !== undefined && !definitelyNot)) this.history.push(operation)
      this.start(client)
    }
    this.#world.schedule(answerMsMax, undefined, `client ${client} gives up`, () => done(false, false))
    if (put !== undefined) {
      this.#cluster.put(target, key, put, (outcome) => done(outcome === 'applied', outcome === 'refused'))
    } else {
      this.#cluster.get(target, key, (found) => {
        if (!answered && found !== undefined) operation.got = found.value
        done(found !== undefined, true)
      })
    }
  }

  #anyone(): string {
    return this.#cluster.names[this.#random.below(this.#cluster.names.length)] ?? 'r1'
  }
}
