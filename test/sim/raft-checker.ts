/**
 * Raft's promises, checked from outside on every replica of a simulated cluster, after each event of the world. What is checked:
 *
 * - election safety: one leader a term;
 * - log matching: an index and a term name one entry, and one term in front of it; so two logs that agree in one place agree in all before;
 * - leader completeness: what was committed in an earlier term is in the log of who leads;
 * - commit never back, and one entry committed at an index;
 * - state-machine safety: one entry applied at an index, in order, each once in the life of a replica;
 * - terms never back.
 *
 * The books are kept per group over all its replicas and all their lives.
 */
import { crc32 } from 'node:zlib'
import type { ConfState, Entry, HardState } from '../../raft/core/types.ts'
import type { Replica } from '../../raft/replica.ts'
import { SimProcess } from './sim-process.ts'
import type { World } from './world.ts'

/** Where replicas run, as the checker needs it. */
export interface ReplicaPlaces {
  /** The replicas that run on machine `name` now. An array that comes again holds what it held. */
  replicas(name: string): readonly Replica<unknown>[]
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
  readonly replica: Replica<unknown>
  readonly group: KnownGroup
  role: string
  term: number
  commit: number
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
  readonly #places: ReplicaPlaces
  readonly #events: RaftEvents | undefined
  readonly #groups = new Map<string, KnownGroup>()
  readonly #watched = new WeakMap<object, Watched>()
  /** Machine → what was watched there last: asked after each event. */
  readonly #machines = new Map<string, { readonly replicas: readonly Replica<unknown>[]; readonly watched: readonly Watched[] }>()
  #stop = () => {}

  constructor(world: World, places: ReplicaPlaces, events?: RaftEvents) {
    this.#world = world
    this.#places = places
    this.#events = events
  }

  start(): void {
    this.#stop = this.#world.observe((owner) => {
      if (owner instanceof SimProcess && owner.alive) this.#look(owner.name)
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

  #look(node: string): void {
    const replicas = this.#places.replicas(node)
    let machine = this.#machines.get(node)
    if (machine?.replicas !== replicas) {
      machine = { replicas, watched: replicas.map((replica) => this.#watched.get(replica) ?? this.#meet(node, replica)) }
      this.#machines.set(node, machine)
    }
    for (const watched of machine.watched) {
      const { replica } = watched
      const { term, commit, role, conf } = replica
      if (conf !== watched.conf) {
        watched.conf = conf
        this.#events?.reconfigured(replica.group, node, JSON.stringify(conf))
      }
      if (term === watched.term && commit === watched.commit && role === watched.role) continue
      if (term < watched.term) this.#fail(`the term of ${replica.group} on ${node} went back from ${watched.term} to ${term}`)
      if (commit < watched.commit)
        this.#fail(`the commit index of ${replica.group} on ${node} went back from ${watched.commit} to ${commit}`)
      watched.term = term
      if (commit > watched.commit) this.#committed(node, watched, commit)
      if (role === 'leader' && watched.group.leaders.get(term) !== node) this.#leads(node, watched)
      watched.role = role
    }
  }

  /** A replica that has started: whatever its log holds must be known, or have been written before it could be watched. */
  #meet(node: string, replica: Replica<unknown>): Watched {
    let group = this.#groups.get(replica.group)
    if (group === undefined) {
      group = { leaders: new Map(), entries: new Map(), committed: new Map(), highestCommitted: 0 }
      this.#groups.set(replica.group, group)
    }
    const { log, stateMachine } = replica
    // It starts behind what it holds durably: that was committed once.
    const watched: Watched = { replica, group, role: 'follower', term: 0, commit: log.firstIndex - 1, applied: 0, conf: replica.conf }
    this.#watched.set(replica, watched)
    for (let index = log.firstIndex; index <= log.lastIndex; index++) {
      this.#entry(node, watched, index, log.term(index) ?? 0, log.term(index - 1), undefined)
    }
    const append = log.append.bind(log)
    log.append = (entries: readonly Entry[], hardState: HardState | undefined, onDurable: (() => void) | undefined) => {
      append(entries, hardState, onDurable)
      for (const { index, term, data } of entries) this.#entry(node, watched, index, term, log.term(index - 1), crc32(data))
    }
    const apply = stateMachine.apply.bind(stateMachine)
    stateMachine.apply = (entries) => {
      const { applied } = watched
      for (const entry of entries) this.#applied(node, watched, entry)
      const done = apply(entries)
      // Where one of them needs a snapshot first, those behind it come again.
      if (done instanceof Promise) done.catch(() => (watched.applied = applied))
      return done
    }
    return watched
  }

  #entry(node: string, watched: Watched, index: number, term: number, termBefore: number | undefined, checksum: number | undefined): void {
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
    this.#fail(`log matching: entry ${index} of term ${term} of ${watched.replica.group} on ${node} ${what}`)
  }

  #committed(node: string, watched: Watched, commit: number): void {
    const { replica, group } = watched
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

  #leads(node: string, { replica, group }: Watched): void {
    const { term, log } = replica
    const leader = group.leaders.get(term)
    if (leader !== undefined) this.#fail(`two leaders of ${replica.group} in term ${term}: ${leader} and ${node}`)
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

  #applied(node: string, watched: Watched, { index, term, data }: Entry): void {
    const { replica, group } = watched
    if (watched.applied !== 0 && index <= watched.applied) this.#fail(`${node} applies entry ${index} of ${replica.group} a second time`)
    watched.applied = index
    this.#entry(node, watched, index, term, undefined, crc32(data))
    const known = group.committed.get(index)
    if (known === undefined) group.committed.set(index, { term, inTerm: replica.term })
    else if (known.term !== term) {
      this.#fail(`entry ${index} of ${replica.group} was applied in term ${known.term}, and on ${node} one of term ${term}`)
    }
  }

  #fail(what: string): void {
    this.#world.fail(new Error(what))
  }
}
