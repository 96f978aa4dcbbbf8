/**
 * Raft's promises, checked from outside on every replica of a simulated cluster: on what it writes and applies from before it begins, on where it
 * stands after each event of the world. What is checked:
 *
 * - election safety: one leader a term, and one time in office: who led a term before a crash does not lead it again;
 * - log matching: an index and a term name one entry, and one term in front of it; so two logs that agree in one place agree in all before;
 * - leader completeness: what was committed in an earlier term is in the log of who leads;
 * - commit never back, and one entry committed at an index;
 * - no committed entry leaves a log again, but behind a state that durably holds it;
 * - state-machine safety: one entry applied at an index; all in order, without a gap, each once in the life of a replica, which begins behind what is durable
 *   or behind a snapshot;
 * - terms never back.
 *
 * The books are kept per group over all its replicas and all their lives.
 */
import { crc32 } from 'node:zlib'
import type { ConfState, Entry, HardState } from '../../raft/core/types.ts'
import type { Replica } from '../../raft/replica.ts'
import type { ExportedSnapshot } from '../../raft/state-machine.ts'
import { SimProcess } from './sim-process.ts'
import type { World } from './world.ts'

/** Where replicas run, as the checker needs it. */
export interface ReplicaPlaces {
  /** To be called with each replica before it begins. Set by the checker. */
  onReplica: ((process: SimProcess, replica: Replica<unknown>) => void) | undefined
}

interface KnownEntry {
  /** Undefined where only its place has been seen: read from a disk, not applied yet. */
  checksum: number | undefined
  /** Of the entry in front; undefined: not known. */
  termBefore: number | undefined
}

interface Committed {
  readonly term: number
  /** Least term in which anybody knew that it is. */
  readonly inTerm: number
}

interface KnownGroup {
  /** Term → machine. */
  readonly leaders: Map<number, string>
  readonly entries: Map<number, KnownEntry>
  readonly committed: Map<number, Committed>
  highestCommitted: number
}

interface Watched {
  readonly node: string
  readonly replica: Replica<unknown>
  readonly group: KnownGroup
  role: string
  term: number
  commit: number
  /** Index of the last entry that was given to the state machine, or that it had from a snapshot. */
  applied: number
  conf: ConfState
}

/** What is seen of a replica, for those who tell the story of a run. */
export interface RaftEvents {
  elected(group: string, node: string, term: number): void
  /** The membership that a replica goes by has changed. */
  reconfigured(group: string, node: string, members: string): void
}

/** One key for both: terms stay below 2^20, indexes below 2^32. */
const keyOf = (index: number, term: number) => term * 2 ** 32 + index

export class RaftChecker {
  /** Elections seen, all groups together. */
  elections = 0
  readonly #world: World
  readonly #events: RaftEvents | undefined
  readonly #groups = new Map<string, KnownGroup>()
  /** By the process in which they run: asked after each event. */
  readonly #watched = new WeakMap<SimProcess, Watched[]>()
  #stop = () => {}

  /** To be made before the first replica of `places`. */
  constructor(world: World, places: ReplicaPlaces, events?: RaftEvents) {
    this.#world = world
    this.#events = events
    places.onReplica = (process, replica) => this.#meet(process, replica)
  }

  start(): void {
    this.#stop = this.#world.observe((owner) => {
      if (owner instanceof SimProcess && owner.alive) this.#look(owner)
    })
  }

  stop(): void {
    this.#stop()
  }

  /** How many entries of `group` are known to be committed. */
  committed(group: string): number {
    return this.#groups.get(group)?.highestCommitted ?? 0
  }

  /** Node that was seen to lead `group` in its newest term that had a leader. */
  newestLeader(group: string): string | undefined {
    const leaders = this.#groups.get(group)?.leaders
    return leaders === undefined ? undefined : leaders.get(Math.max(...leaders.keys()))
  }

  #look(process: SimProcess): void {
    const all = this.#watched.get(process)
    if (all === undefined) return
    for (const watched of all) {
      const { replica, node } = watched
      const { term, commit, role, conf } = replica
      if (conf !== watched.conf) {
        watched.conf = conf
        this.#events?.reconfigured(replica.group, node, JSON.stringify(conf))
      }
      if (term === watched.term && commit === watched.commit && role === watched.role) continue
      if (term < watched.term) this.#fail(`the term of ${replica.group} on ${node} went back from ${watched.term} to ${term}`)
      if (commit < watched.commit)
        this.#fail(`the commit index of ${replica.group} on ${node} went back from ${watched.commit} to ${commit}`)
      const isElected = role === 'leader' && (watched.role !== 'leader' || term !== watched.term)
      watched.term = term
      if (commit > watched.commit) this.#committed(watched, commit)
      if (isElected) this.#leads(watched)
      watched.role = role
    }
  }

  /** A replica that is to begin: whatever its log holds must be known, or have been written by a life that nobody watched. */
  #meet(process: SimProcess, replica: Replica<unknown>): void {
    let group = this.#groups.get(replica.group)
    if (group === undefined) {
      group = { leaders: new Map(), entries: new Map(), committed: new Map(), highestCommitted: 0 }
      this.#groups.set(replica.group, group)
    }
    const { log, stateMachine, conf } = replica
    const { name: node } = process
    // It starts behind what it holds durably: that was committed once.
    const watched = {
      node,
      replica,
      group,
      role: 'follower',
      term: 0,
      commit: log.firstIndex - 1,
      applied: stateMachine.durable.index,
      conf,
    }
    const others = this.#watched.get(process)
    if (others === undefined) this.#watched.set(process, [watched])
    else others.push(watched)
    for (let index = log.firstIndex; index <= log.lastIndex; index++) {
      this.#entry(watched, index, log.term(index) ?? 0, log.term(index - 1), undefined)
    }
    this.#watchLog(watched)
    this.#watchState(watched)
  }

  #watchLog(watched: Watched): void {
    const { log, stateMachine } = watched.replica
    const append = log.append.bind(log)
    log.append = (entries: readonly Entry[], hardState: HardState | undefined, onDurable: (() => void) | undefined) => {
      const before = this.#termsFrom(watched, entries[0]?.index ?? Number.POSITIVE_INFINITY)
      append(entries, hardState, onDurable)
      for (const { index, term, data } of entries) this.#entry(watched, index, term, log.term(index - 1), crc32(data))
      this.#kept(watched, before)
    }
    const reset = log.reset.bind(log)
    log.reset = (index: number, term: number, onDurable?: () => void) => {
      const before = this.#termsFrom(watched, index + 1)
      reset(index, term, onDurable)
      this.#kept(watched, before)
    }
    const truncateTo = log.truncateTo.bind(log)
    log.truncateTo = (index: number, term: number) => {
      const { durable } = stateMachine
      if (index > durable.index) this.#failOf(watched, `lets go of its log up to ${index}, and its state is durable up to ${durable.index}`)
      truncateTo(index, term)
    }
  }

  #watchState(watched: Watched): void {
    const { stateMachine } = watched.replica
    const apply = stateMachine.apply.bind(stateMachine)
    stateMachine.apply = (entries) => {
      for (const entry of entries) this.#applied(watched, entry)
      return apply(entries)
    }
    const install = stateMachine.installSnapshot.bind(stateMachine)
    stateMachine.installSnapshot = async (snapshot: ExportedSnapshot, folder: string) => {
      await install(snapshot, folder)
      // Where an entry waited for it those behind that entry come again.
      watched.applied = snapshot.meta.index
    }
  }

  /** Terms of the entries that the log holds from `from` on, by index. */
  #termsFrom({ replica: { log } }: Watched, from: number): ReadonlyMap<number, number> | undefined {
    if (from > log.lastIndex) return undefined
    const terms = new Map<number, number>()
    for (let index = Math.max(from, log.firstIndex); index <= log.lastIndex; index++) terms.set(index, log.term(index) ?? 0)
    return terms
  }

  /** Of the entries in `before` all are there that are committed, as any leader knows of the term that this replica is in. */
  #kept(watched: Watched, before: ReadonlyMap<number, number> | undefined): void {
    if (before === undefined) return
    const { replica, group } = watched
    const { log } = replica
    for (const [index, term] of before) {
      const committed = group.committed.get(index)
      if (committed === undefined || committed.term !== term || committed.inTerm > log.hardState.term) continue
      if (log.term(index) !== term)
        this.#failOf(watched, `drops entry ${index} of term ${term} from its log, which was committed by term ${committed.inTerm}`)
    }
  }

  #entry(watched: Watched, index: number, term: number, termBefore: number | undefined, checksum: number | undefined): void {
    const key = keyOf(index, term)
    const known = watched.group.entries.get(key)
    if (known === undefined) {
      watched.group.entries.set(key, { checksum, termBefore })
      return
    }
    known.checksum ??= checksum
    known.termBefore ??= termBefore
    const sameContent = checksum === undefined || known.checksum === checksum
    const samePlace = termBefore === undefined || known.termBefore === termBefore
    if (sameContent && samePlace) return
    const what = sameContent
      ? `stands behind an entry of term ${termBefore}, and of ${known.termBefore} elsewhere`
      : 'is another entry than elsewhere'
    this.#fail(`log matching: entry ${index} of term ${term} of ${watched.replica.group} on ${watched.node} ${what}`)
  }

  #committed(watched: Watched, commit: number): void {
    const { replica, group, node } = watched
    const { log } = replica
    for (let index = Math.max(watched.commit + 1, log.firstIndex); index <= Math.min(commit, log.lastIndex); index++) {
      const term = log.term(index) ?? 0
      const known = group.committed.get(index)
      if (known === undefined) group.committed.set(index, { term, inTerm: replica.term })
      else if (known.term !== term) {
        this.#fail(`entry ${index} of ${replica.group} was committed in term ${known.term}, and on ${node} one of term ${term}`)
      }
    }
    group.highestCommitted = Math.max(group.highestCommitted, Math.min(commit, log.lastIndex))
    watched.commit = commit
  }

  #leads({ node, replica, group }: Watched): void {
    const { term, log } = replica
    const leader = group.leaders.get(term)
    if (leader === node) this.#fail(`${node} leads ${replica.group} in term ${term} for a second time`)
    else if (leader !== undefined) this.#fail(`two leaders of ${replica.group} in term ${term}: ${leader} and ${node}`)
    group.leaders.set(term, node)
    this.elections++
    this.#events?.elected(replica.group, node, term)
    // Log matching makes the newest stand for all before it.
    for (let index = group.highestCommitted; index >= log.firstIndex; index--) {
      const committed = group.committed.get(index)
      if (committed === undefined || committed.inTerm >= term) continue
      if (log.term(index) !== committed.term) {
        this.#fail(
          `leader completeness: ${node} leads ${replica.group} in term ${term} without entry ${index} of term ${committed.term}, committed by term ${committed.inTerm}`,
        )
      }
      return
    }
  }

  #applied(watched: Watched, { index, term, data }: Entry): void {
    const { replica, group, node, applied } = watched
    if (index !== applied + 1) {
      this.#failOf(watched, index <= applied ? `applies entry ${index} a second time` : `applies entry ${index} behind entry ${applied}`)
    }
    watched.applied = index
    this.#entry(watched, index, term, undefined, crc32(data))
    const known = group.committed.get(index)
    if (known === undefined) group.committed.set(index, { term, inTerm: replica.term })
    else if (known.term !== term) {
      this.#fail(`entry ${index} of ${replica.group} was applied in term ${known.term}, and on ${node} one of term ${term}`)
    }
  }

  #failOf({ node, replica }: Watched, what: string): void {
    this.#fail(`the replica of ${replica.group} on ${node} ${what}`)
  }

  #fail(what: string): void {
    this.#world.fail(new Error(what))
  }
}
