import { silentLogger } from '../../base/logger.ts'
import { SeededRandom } from '../../base/random.ts'
import type { ConfigResult } from '../../controller/config-state.ts'
import { ConfigState } from '../../controller/config-state.ts'
import { type ConfigDatabase, ConfigStateMachine } from '../../controller/config-state-machine.ts'
import { ControllerServer } from '../../controller/controller-server.ts'
import { ControllerClient } from '../../proto/controller-client.ts'
import { type Entry, EntryKind } from '../../raft/core/types.ts'
import type { ReplicaApi } from '../../raft/replica-api.ts'
import { firstStanding } from '../../raft/standing.ts'
import type { ProposalOutcome, ReadOutcome } from '../../raft/state-machine.ts'
import { memoryWorld } from '../proto/memory-transport.ts'
import { memoryCheckpoints } from '../raft/memory-checkpoints.ts'

/** Records in a map: what a database keeps, without files. */
export class MemoryDatabase implements ConfigDatabase {
  #records = new Map<string, Uint8Array>()
  wantsSeal = false
  durableMark: Uint8Array | undefined

  write(batch: { encoded(): Uint8Array }): void {
    const bytes = batch.encoded()
    for (let at = 0; at < bytes.length; ) {
      const isPut = bytes[at] === 1
      const [keyLength, keyAt] = varint(bytes, at + 1)
      const [valueLength, start] = varint(bytes, keyAt)
      const key = Buffer.from(bytes.subarray(start, start + keyLength)).toString('hex')
      const value = bytes.slice(start + keyLength, start + keyLength + valueLength)
      if (isPut) this.#records.set(key, value)
      else this.#records.delete(key)
      at = start + keyLength + valueLength
    }
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#records.get(Buffer.from(key).toString('hex'))
  }

  async *iterate(bounds: { lower?: Uint8Array; upper?: Uint8Array }): AsyncGenerator<{ key: Uint8Array; value: Uint8Array }> {
    const [lower, upper] = [bounds.lower, bounds.upper].map((bound) =>
      bound === undefined ? undefined : Buffer.from(bound).toString('hex'),
    )
    for (const key of [...this.#records.keys()].sort()) {
      if (lower !== undefined && key < lower) continue
      if (upper !== undefined && key >= upper) return
      yield { key: Buffer.from(key, 'hex'), value: this.#records.get(key) as Uint8Array }
    }
  }

  async seal(mark: Uint8Array): Promise<void> {
    this.durableMark = mark
  }

  async checkpoint(folder: string) {
    return memoryCheckpoints.take(folder, this.#records, this.durableMark)
  }

  async prepareIngest(files: readonly { readonly path: string }[]): Promise<ReadonlyMap<string, Uint8Array>> {
    return memoryCheckpoints.at(files)
  }

  ingest(prepared: ReadonlyMap<string, Uint8Array>, mark: Uint8Array): Promise<void> {
    this.#records = new Map(prepared)
    return this.seal(mark)
  }

  async close(): Promise<void> {}
}

function varint(bytes: Uint8Array, at: number): [number, number] {
  let value = 0
  for (let scale = 1; ; scale *= 128) {
    const byte = bytes[at++] as number
    value += (byte & 127) * scale
    if (byte < 128) return [value, at]
  }
}

/** What the controllers' group agrees on, with a leader that the test names: entries are applied everywhere a millisecond after their proposal. */
class FakeGroup {
  readonly members: FakeReplica[] = []
  leader = 0
  term = 0
  index = 0
  /** The next proposal is put into the log, and its proposer loses leadership before it learns more. */
  loseNext = false

  elect(replica: number): void {
    this.leader = replica
    if (replica > 0) this.term++
    for (const member of this.members) member.server?.roleChanged()
  }
}

class FakeReplica implements ReplicaApi<ConfigResult> {
  readonly group = 'controller'
  readonly replica: number
  readonly conf = { voters: [1, 2, 3], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false }
  readonly machine: ConfigStateMachine
  server: ControllerServer | undefined
  readonly #shared: FakeGroup
  readonly #later: (act: () => void) => void

  constructor(shared: FakeGroup, replica: number, machine: ConfigStateMachine, later: (act: () => void) => void) {
    this.#shared = shared
    this.replica = replica
    this.machine = machine
    this.#later = later
    shared.members.push(this)
  }

  get role() {
    return this.#shared.leader === this.replica ? 'leader' : 'follower'
  }

  get leader() {
    return this.#shared.leader
  }

  get term() {
    return this.#shared.term
  }

  get applied() {
    return this.#shared.index
  }

  groupTimeMs(): number {
    return 0
  }

  propose(data: Uint8Array, done: (outcome: ProposalOutcome<ConfigResult>) => void): void {
    this.#later(() => {
      if (this.role !== 'leader') return done({ kind: 'refused', reason: 'not-leader', leader: this.leader })
      const shared = this.#shared
      const entry: Entry = { term: shared.term, index: ++shared.index, kind: EntryKind.Normal, data }
      const results = shared.members.map((member) => [member, member.machine.apply([entry])[0]] as const)
      const own = results.find(([member]) => member === this)?.[1] as ConfigResult
      if (!shared.loseNext) return done({ kind: 'applied', index: entry.index, result: own })
      shared.loseNext = false
      shared.elect(0)
      done({ kind: 'lost' })
    })
  }

  readonly freshAsOfMs = Number.NEGATIVE_INFINITY

  readIndex(done: (outcome: ReadOutcome) => void): void {
    this.#later(() => {
      if (this.role === 'leader') done({ kind: 'ready' })
      else done({ kind: 'refused', reason: 'not-leader', leader: this.leader })
    })
  }
}

/** Three controllers c1 to c3 on one virtual clock, c1 leading, over real servers and state machines; and a client of all three. */
export async function fakeControllers(options: { shardCount?: number; leader?: number } = {}) {
  const { world, clock, network } = memoryWorld(11)
  const group = new FakeGroup()
  const peers = ['c1', 'c2', 'c3'].map((id, at) => ({ id, address: `${id}:${7400 + at}` }))
  for (const [at, { address }] of peers.entries()) {
    const machine = new ConfigStateMachine(
      new MemoryDatabase(),
      new ConfigState(),
      firstStanding(new Map(peers.map(({ id }, place) => [place + 1, id]))),
      options.shardCount ?? 16,
    )
    const replica = new FakeReplica(group, at + 1, machine, (act) => clock.setTimer(1, act))
    const parts = { replica, stateMachine: machine, clock, random: new SeededRandom(at), logger: silentLogger, peers, balanceLeaders: true }
    replica.server = new ControllerServer(parts)
    await network.listen([{ name: 'default', address }], replica.server.routes())
  }
  group.elect(options.leader ?? 1)
  await world.runUntil(() => (options.leader ?? 1) === 0 || group.members.every((member) => member.machine.state.config !== undefined))
  const parts = {
    transport: network,
    clock,
    random: new SeededRandom(5),
    logger: silentLogger,
    addresses: peers.map(({ address }) => address),
  }
  const client = new ControllerClient(parts)
  return {
    world,
    clock,
    network,
    group,
    peers,
    parts,
    client,
    machine: (at: number) => group.members[at - 1]?.machine as ConfigStateMachine,
  }
}
