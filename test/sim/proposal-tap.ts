/** Hears the entries by which groups move shards, as their leaders propose them. */
import { ByteReader } from '../../base/bytes.ts'
import { EntryCode, entryHeaderBytes } from '../../shardserver/entry.ts'
import type { SimCluster } from './sim-cluster.ts'
import type { World } from './world.ts'

const everyMs = 50

export interface HeardEntry {
  /** Uid. */
  readonly group: string
  /** Code of the entry's kind, from 16. */
  readonly kind: number
  /** The migration's. */
  readonly id: number
  readonly data: Uint8Array
}

export class ProposalTap {
  readonly #world: World
  readonly #cluster: SimCluster
  readonly #onEntry: (entry: HeardEntry) => void
  readonly #listened = new WeakSet<object>()
  #running = false

  constructor(world: World, cluster: SimCluster, onEntry: (entry: HeardEntry) => void) {
    this.#world = world
    this.#cluster = cluster
    this.#onEntry = onEntry
  }

  start(): void {
    this.#running = true
    this.#listen()
  }

  stop(): void {
    this.#running = false
  }

  /** Proposes `data` where `group` is led now; `done` learns whether it was applied. */
  repeat(group: string, data: Uint8Array, done: (applied: boolean) => void = () => {}): void {
    const leader = this.#cluster.groupLeader(group)
    const replica =
      leader === undefined ? undefined : this.#cluster.hosted(leader).find((hosted) => hosted.replica.group === group)?.replica
    if (replica === undefined) done(false)
    else replica.propose(data, (outcome) => done(outcome.kind === 'applied'))
  }

  /** Nodes that started meanwhile have replicas that were not heard yet. */
  #listen(): void {
    if (!this.#running) return
    for (const name of this.#cluster.nodeNames) {
      for (const { replica } of this.#cluster.hosted(name)) {
        if (this.#listened.has(replica)) continue
        this.#listened.add(replica)
        const propose = replica.propose.bind(replica)
        replica.propose = (data, done) => {
          this.#heard(replica.group, data)
          propose(data, done)
        }
      }
    }
    this.#world.schedule(everyMs, undefined, 'listen', () => this.#listen())
  }

  #heard(group: string, data: Uint8Array): void {
    const kind = data[1] ?? 0
    if (!this.#running || data.length <= entryHeaderBytes || kind < EntryCode.Import || kind > EntryCode.Outcome) return
    this.#onEntry({ group, kind, id: new ByteReader(data.subarray(entryHeaderBytes)).varint(), data: data.slice() })
  }
}
