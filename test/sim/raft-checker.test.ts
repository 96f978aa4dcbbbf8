/** The checker catches what a replica must never do: a fake one does it, since ours does not. */
import { describe, expect, it } from 'vitest'
import type { Entry } from '../../raft/core/types.ts'
import type { Replica } from '../../raft/replica.ts'
import { RaftChecker, type ReplicaPlaces } from './raft-checker.ts'
import { SimNetwork } from './sim-network.ts'
import { SimProcess } from './sim-process.ts'
import { World } from './world.ts'

const entry = (index: number, term: number): Entry => ({ index, term, kind: 0, data: Buffer.from(`${index} ${term}`) })

/** A log and a state that take everything. */
class FakeReplica {
  readonly group = 'g1@1'
  readonly conf = { voters: [1, 2, 3], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false }
  role = 'follower'
  term = 0
  commit = 0
  readonly #terms: number[] = [0]
  readonly stateMachine = {
    durable: { index: 0 },
    apply: (_entries: readonly Entry[]): readonly undefined[] => [],
    installSnapshot: async (_snapshot: { readonly meta: { readonly index: number } }, _folder: string): Promise<void> => {},
  }
  readonly log = {
    firstIndex: 1,
    lastIndex: 0,
    hardState: { term: 0, vote: 0, commit: 0 },
    term: (index: number) => this.#terms[index],
    append: (entries: readonly Entry[], hardState: { term: number; vote: number; commit: number } | undefined) => {
      for (const { index, term } of entries) {
        this.#terms.length = index
        this.#terms[index] = term
      }
      this.log.lastIndex = this.#terms.length - 1
      if (hardState !== undefined) this.log.hardState = hardState
    },
    reset: (index: number, term: number) => {
      this.#terms.length = index + 1
      this.#terms[index] = term
      this.log.lastIndex = index
    },
    truncateTo: (_index: number, _term: number) => {},
  }
}

class Stage {
  readonly world = new World({ seed: 1 })
  readonly #network = new SimNetwork(this.world)
  readonly #places: ReplicaPlaces = { onReplica: undefined }
  readonly #processes = new Map<string, SimProcess>()

  constructor() {
    new RaftChecker(this.world, this.#places).start()
  }

  /** A replica begins in a process on `name`; the one that was there is dead. */
  begin(name: string, replica = new FakeReplica()): FakeReplica {
    const before = this.#processes.get(name)
    before?.kill()
    const process = before?.restart() ?? new SimProcess(this.world, { name, network: this.#network })
    this.#processes.set(name, process)
    this.#places.onReplica?.(process, replica as unknown as Replica<unknown>)
    return replica
  }

  /** Something happens in the process on `name`. */
  async turn(name: string, what: () => void): Promise<void> {
    this.#processes.get(name)?.schedule(1, 'turn', what)
    await this.world.runFor(2)
  }

  /** `replica` on `name` leads `term`, has these entries and knows that they are committed. */
  async commit(name: string, replica: FakeReplica, term: number, entries: readonly Entry[]): Promise<void> {
    await this.turn(name, () => {
      replica.log.append(entries, { term, vote: 1, commit: 0 })
      Object.assign(replica, { role: 'leader', term, commit: entries.at(-1)?.index ?? 0 })
    })
  }
}

describe('a replica that applies', () => {
  it('all in order, from behind what is durable and from behind a snapshot, is right', async () => {
    const stage = new Stage()
    const replica = new FakeReplica()
    replica.stateMachine.durable.index = 4
    stage.begin('n1', replica)
    await stage.turn('n1', () => replica.stateMachine.apply([entry(5, 1), entry(6, 1)]))
    await stage.turn('n1', () => replica.stateMachine.installSnapshot({ meta: { index: 20 } }, 'folder'))
    await stage.turn('n1', () => replica.stateMachine.apply([entry(21, 1)]))
  })

  it.each([
    ['a gap behind what is durable', [6], /applies entry 6 behind entry 4/],
    ['a gap in a batch', [5, 7], /applies entry 7 behind entry 5/],
    ['what is durable once more', [4], /applies entry 4 a second time/],
    ['an entry twice', [5, 5], /applies entry 5 a second time/],
  ])('%s is caught', async (_, indexes, message) => {
    const stage = new Stage()
    const replica = new FakeReplica()
    replica.stateMachine.durable.index = 4
    stage.begin('n1', replica)
    await expect(stage.turn('n1', () => replica.stateMachine.apply(indexes.map((index) => entry(index, 1))))).rejects.toThrow(message)
  })
})

describe('a replica that leads', () => {
  const lead = (replica: FakeReplica, term: number) => () => Object.assign(replica, { role: 'leader', term })

  it('a term that another led is caught', async () => {
    const stage = new Stage()
    await stage.turn('n1', lead(stage.begin('n1'), 3))
    const other = stage.begin('n2')
    await expect(stage.turn('n2', lead(other, 3))).rejects.toThrow(/two leaders of g1@1 in term 3: n1 and n2/)
  })

  it('a term that it led in an earlier life is caught: it forgot its vote', async () => {
    const stage = new Stage()
    await stage.turn('n1', lead(stage.begin('n1'), 3))
    const again = stage.begin('n1')
    await expect(stage.turn('n1', lead(again, 3))).rejects.toThrow(/n1 leads g1@1 in term 3 for a second time/)
  })

  it('a term that it has given up is caught', async () => {
    const stage = new Stage()
    const replica = stage.begin('n1')
    await stage.turn('n1', lead(replica, 3))
    await stage.turn('n1', () => Object.assign(replica, { role: 'follower' }))
    await expect(stage.turn('n1', lead(replica, 3))).rejects.toThrow(/for a second time/)
  })

  it('another term is right', async () => {
    const stage = new Stage()
    const replica = stage.begin('n1')
    await stage.turn('n1', lead(replica, 3))
    await stage.turn('n1', lead(replica, 4))
  })
})

describe('a log', () => {
  const committed = [entry(1, 1), entry(2, 1), entry(3, 1)]

  it('that lets go of uncommitted entries is right, and of committed ones where its replica is in an older term than their leader was', async () => {
    const stage = new Stage()
    const [leader, follower] = [stage.begin('n1'), stage.begin('n2')]
    follower.log.append([...committed, entry(4, 1)], { term: 1, vote: 0, commit: 0 })
    await stage.commit('n1', leader, 5, committed)
    await stage.turn('n2', () => follower.log.append([entry(4, 2)], { term: 2, vote: 0, commit: 0 }))
    await stage.turn('n2', () => follower.log.append([entry(3, 2)], undefined))
  })

  it('that drops a committed entry is caught', async () => {
    const stage = new Stage()
    const [leader, follower] = [stage.begin('n1'), stage.begin('n2')]
    follower.log.append(committed, { term: 1, vote: 0, commit: 0 })
    await stage.commit('n1', leader, 1, committed)
    const drop = () => follower.log.append([entry(3, 2)], { term: 2, vote: 0, commit: 0 })
    await expect(stage.turn('n2', drop)).rejects.toThrow(/on n2 drops entry 3 of term 1 from its log, which was committed by term 1/)
  })

  it('that drops committed entries with a snapshot of less is caught', async () => {
    const stage = new Stage()
    const replica = stage.begin('n1')
    await stage.commit('n1', replica, 1, committed)
    await expect(stage.turn('n1', () => replica.log.reset(1, 1))).rejects.toThrow(/drops entry 2/)
  })

  it('that lets go of what its state does not hold durably is caught', async () => {
    const stage = new Stage()
    const replica = stage.begin('n1')
    replica.stateMachine.durable.index = 2
    await stage.turn('n1', () => replica.log.truncateTo(2, 1))
    await expect(stage.turn('n1', () => replica.log.truncateTo(3, 1))).rejects.toThrow(/up to 3, and its state is durable up to 2/)
  })
})
