/**
 * Says again what was said: calls that drive migrations and entries that groups proposed come a second time, up to seconds late, when another
 * leader, attempt or migration may be there. What they do is decided where an entry is applied, so none may do harm.
 */
import type { SeededRandom } from '../../base/random.ts'
import type { Codec } from '../../base/transport.ts'
import { FaultJournal } from './fault-journal.ts'
import { type HeardEntry, ProposalTap } from './proposal-tap.ts'
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
  readonly #tap: ProposalTap
  readonly #journal: FaultJournal
  #count = 0
  #running = false

  constructor(world: World, cluster: SimCluster, journal = new FaultJournal(world)) {
    this.#journal = journal
    this.#world = world
    this.#cluster = cluster
    this.#random = world.random.fork()
    this.#process = new SimProcess(world, { name: 'echo', network: cluster.network })
    this.#tap = new ProposalTap(world, cluster, (entry) => this.#heardEntry(entry))
  }

  start(): void {
    this.#running = true
    this.#tap.start()
    this.#cluster.network.overhear((path, address, bytes) => this.#heardCall(path, address, bytes))
  }

  stop(): void {
    this.#running = false
    this.#tap.stop()
    this.#cluster.network.overhear(undefined)
  }

  #heardCall(path: string, address: string, bytes: Uint8Array): void {
    if (!this.#running || !echoed.some((prefix) => path.startsWith(prefix)) || this.#random.next() >= callProbability) return
    const copy = bytes.slice()
    this.#later(path, () => {
      const channel = this.#process.transport.connect(address)
      const close = () => channel.close()
      channel.unary({ path, kind: 'unary', request: asIs, response: asIs }, copy, { timeoutMs: callTimeoutMs }).then(close, close)
    })
  }

  #heardEntry({ group, kind, id, data }: HeardEntry): void {
    if (this.#random.next() < entryProbability)
      this.#later(`entry ${kind} of migration ${id} in ${group}`, () => this.#tap.repeat(group, data))
  }

  #later(what: string, say: () => void): void {
    const id = `e${++this.#count}`
    this.#world.schedule(this.#random.next() ** 2 * lateMsMax, undefined, 'echo', () => {
      if (!this.#running || !this.#journal.admits(id)) return
      this.said++
      this.#journal.note(id, `${what} comes a second time`)
      say()
    })
  }
}
