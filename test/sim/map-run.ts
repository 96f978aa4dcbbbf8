/** One run of three replicas of a map under faults, whose clients' history must be linearizable. */
import { assert } from '../../base/assert.ts'
import type { UnsafeRaft } from '../../raft/raft-host.ts'
import { checkLinearizable, describeVerdict } from '../linearizability/checker.ts'
import { HistoryRecorder } from '../linearizability/history.ts'
import { type OstrakaInput, type OstrakaOutput, ostrakaModel } from '../linearizability/ostraka-model.ts'
import { MapCluster } from './map-cluster.ts'
import { Nemesis } from './nemesis.ts'
import { World } from './world.ts'

export interface MapRun {
  readonly traceHash: string
  readonly operations: number
  readonly faults: number
  readonly virtualMs: number
  readonly leaderChanges: number
}

const clients = 6
const keys = 3
const faultsMs = 15_000
const answerMsMax = 1500

export async function runMap(seed: number, unsafe?: UnsafeRaft): Promise<MapRun> {
  const world = new World({ seed })
  const cluster = new MapCluster(world, unsafe)
  const nemesis = new Nemesis(world, cluster.network, cluster, { intervalMs: 500, deadMsMax: 1500, partitionMsMax: 2000 })
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
  cluster.checker.stop()
  for (const name of cluster.names) {
    assert(sameMap(cluster.contents(name), cluster.contents('r1')), `seed ${seed}: ${name} holds another map than r1`)
  }
  const verdict = checkLinearizable(ostrakaModel, load.recorder.operations())
  if (verdict.verdict !== 'linearizable') throw new Error(`seed ${seed}: ${describeVerdict(ostrakaModel, verdict)}`)
  return {
    traceHash: world.traceHash(),
    operations: load.acknowledged,
    faults: [...nemesis.done.values()].reduce((sum, count) => sum + count, 0),
    virtualMs: world.nowMs,
    leaderChanges: cluster.checker.elections,
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
  readonly recorder = new HistoryRecorder<OstrakaInput, OstrakaOutput>()
  acknowledged = 0
  readonly #world: World
  readonly #cluster: MapCluster
  readonly #random
  #values = 0
  #stopped = false

  constructor(world: World, cluster: MapCluster) {
    this.#world = world
    this.#cluster = cluster
    this.#random = world.random.fork()
  }

  start(client: number): void {
    this.#world.schedule(this.#random.next() * 20, undefined, `client ${client}`, () => {
      if (!this.#stopped) this.#call(client)
    })
  }

  stop(): void {
    this.#stopped = true
  }

  #call(client: number): void {
    const target = this.#random.next() < 0.5 ? (this.#cluster.leader() ?? this.#anyone()) : this.#anyone()
    const key = `k${this.#random.below(keys)}`
    const input: OstrakaInput = this.#random.next() < 0.5 ? { op: 'put', value: `v${++this.#values}` } : { op: 'get' }
    const operation = this.recorder.call(`client ${client}`, key, input)
    let ended = false
    const end = (outcome: OstrakaOutput | 'without effect' | 'unknown') => {
      if (ended) return
      ended = true
      if (outcome === 'without effect') this.recorder.fail(operation)
      else if (outcome !== 'unknown') {
        this.recorder.return(operation, outcome)
        this.acknowledged++
      }
      this.start(client)
    }
    this.#world.schedule(answerMsMax, undefined, `client ${client} gives up`, () => end('unknown'))
    if (input.op === 'put') {
      this.#cluster.put(target, key, input.value, (outcome) =>
        end(outcome === 'applied' ? {} : outcome === 'refused' ? 'without effect' : 'unknown'),
      )
    } else {
      this.#cluster.get(target, key, (found) => end(found ?? 'without effect'))
    }
  }

  #anyone(): string {
    return this.#cluster.names[this.#random.below(this.#cluster.names.length)] ?? 'r1'
  }
}
