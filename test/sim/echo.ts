/**
 * Says again what was said: calls that drive migrations and entries that groups proposed come a second time, up to seconds late, when another
 * leader, attempt or migration may be there. What they do is decided where an entry is applied, so none may do harm.
 */
import type { SeededRandom } from '../../base/random.ts'
import type { Codec } from '../../base/transport.ts'
import { EntryCode, entryHeaderBytes } from '../../shardserver/entry.ts'
import type { SimCluster } from './sim-cluster.ts'
import { SimProcess } from './sim-process.ts'
import type { World } from './world.ts'

const echoed = ['/ostraka.v1.ShardMigration/', '/ostraka.v1.Controller/Report']
const asIs: Codec<Uint8Array> = { encode: (bytes) => bytes, decode: (bytes) => bytes }
const callTimeoutMs = 2000
const lateMsMax = 6000
const callProbability = 0.1
const entryProbability = 0.3

export class Echo {
  /** Calls and entries that were said again. */
  said = 0
  readonly #world: World
  readonly #cluster: SimCluster
  readonly #random: SeededRandom
  readonly #process: SimProcess
  readonly #listened = new WeakSet<object>()
  #running = false

  constructor(world: World, cluster: SimCluster) {
    this.#world = world
    this.#cluster = cluster
    this.#random = world.random.fork()
    this.#process = new SimProcess(world, { name: 'echo', network: cluster.network })
  }

  start(): void {
    this.#running = true
    this.#cluster.network.overhear((path, address, bytes) => this.#heardCall(path, address, bytes))
  }

  stop(): void {
    this.#running = false
    this.#cluster.network.overhear(undefined)
  }

  /** Hears what the replicas on node `name` propose from now on. */
  listenTo(name: string): void {
    for (const { replica } of this.#cluster.hosted(name)) {
      if (this.#listened.has(replica)) continue
      this.#listened.add(replica)
      const propose = replica.propose.bind(replica)
      replica.propose = (data, done) => {
        this.#heardEntry(replica.group, data)
        propose(data, done)
      }
    }
  }

  #heardCall(path: string, address: string, bytes: Uint8Array): void {
    if (!this.#running || !echoed.some((prefix) => path.startsWith(prefix)) || this.#random.next() >= callProbability) return
    const copy = bytes.slice()
    this.#later(() => {
      const channel = this.#process.transport.connect(address)
      const close = () => channel.close()
      channel.unary({ path, kind: 'unary', request: asIs, response: asIs }, copy, { timeoutMs: callTimeoutMs }).then(close, close)
    })
  }

  #heardEntry(group: string, data: Uint8Array): void {
    const isMigration = data.length >= entryHeaderBytes && (data[1] ?? 0) >= EntryCode.Import
    if (!this.#running || !isMigration || this.#random.next() >= entryProbability) return
    const copy = data.slice()
    this.#later(() => {
      const leader = this.#cluster.groupLeader(group)
      const replica =
        leader === undefined ? undefined : this.#cluster.hosted(leader).find((hosted) => hosted.replica.group === group)?.replica
      replica?.propose(copy, () => {})
    })
  }

  #later(say: () => void): void {
    this.#world.schedule(this.#random.next() ** 2 * lateMsMax, undefined, 'echo', () => {
      if (!this.#running) return
      this.said++
      say()
    })
  }
}
