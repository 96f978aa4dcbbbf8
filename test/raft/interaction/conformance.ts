import { expect } from 'vitest'
import { must } from '../../../base/assert.ts'
import { entryBytes } from '../../../raft/core/message.ts'
import { Environment } from './environment.ts'
import { emptyFacts, type ProgressRow, parseFacts, parseLog, parseStates, parseStatus, type ReplicaFacts } from './expectation.ts'
import { renderConf, renderEntry } from './render.ts'
import type { Command } from './script.ts'
import { Effects, type ScriptReplica } from './script-replica.ts'

type Soft = NonNullable<ReplicaFacts['soft']>

/** Runs a script written by others and compares all that it says of leaders, terms, commit indexes, logs and configurations. */
export class Conformance {
  readonly #commands: readonly Command[]
  readonly #environment: Environment
  /** What each replica's Readys showed last. */
  readonly #soft = new Map<number, Soft>()
  /** Scripts hide the output of what only prepares. */
  #silent = false
  #compared = 0

  constructor(commands: readonly Command[]) {
    this.#commands = commands
    this.#environment = new Environment(commands, { likeOthers: true })
  }

  /** Returns how many facts were compared. */
  run(): number {
    for (const command of this.#commands) {
      try {
        this.#runOne(command)
      } catch (error) {
        throw new Error(`line ${command.line}, ${command.text}: ${(error as Error).message}`, { cause: error })
      }
    }
    return this.#compared
  }

  #runOne(command: Command): void {
    if (command.name === 'log-level') this.#silent = command.args[0] === 'none'
    this.#environment.run(command)
    if (this.#isSilent(command)) this.#noteSoftStates()
    else if (command.name === 'raft-state') this.#compareStates(command)
    else if (command.name === 'raft-log' || command.name === 'compact') this.#compareLog(command)
    else if (command.name === 'status') this.#compareStatus(command)
    else this.#compareRun(command)
  }

  /** `said`: the script says something of the kind; where it says nothing, nothing may have happened, which is compared and not counted. */
  #compare(what: string, actual: unknown, expected: unknown, said = true): void {
    expect(actual, what).toEqual(expected)
    if (said) this.#compared++
  }

  #compareStates(command: Command): void {
    const states = [...this.#environment.replicas.values()].map(({ id, raft }) => {
      const { role, term, leader } = raft
      return [id, { role, voter: raft.membership.isVoter(id), term, leader }] as const
    })
    this.#compare('states', new Map(states), parseStates(command))
  }

  #compareLog(command: Command): void {
    const { log } = this.#replica(Number(command.args[0]))
    const { durableEntries, durableFirstIndex, durableIndex } = log
    const actual = durableEntries.length === 0 ? [`empty ${durableFirstIndex}..${durableIndex}`] : durableEntries.map(renderEntry)
    this.#compare('log', actual, parseLog(command))
  }

  #compareStatus(command: Command): void {
    const replica = this.#replica(Number(command.args[0]))
    const expected = parseStatus(command)
    expect(replica.raft.progress().map((status) => status.replica)).toEqual([...expected.keys()])
    for (const status of replica.raft.progress()) {
      const row = must(expected.get(status.replica), 'a row')
      const { state, match, next, inflightBytes, pendingSnapshot, active, learner } = status
      const full = inflightBytes >= replica.windowBytes
      const actual = { state, match, next, pendingSnapshot, inactive: !active, learner, inflightBytes, full }
      // While a snapshot is on its way nothing is sent, and what would be next is no matter.
      const { inflight, ...said } = state === 'snapshot' ? { ...row, next } : row
      const bytes = inflight === 0 ? 0 : bytesOf(row, replica)
      this.#compare(`status of ${status.replica}`, actual, { ...said, inflightBytes: bytes })
    }
  }

  #compareRun(command: Command): void {
    const facts = parseFacts(command)
    for (const replica of this.#environment.replicas.values()) {
      const effects = this.#environment.effects.get(replica.id) ?? new Effects()
      this.#compareFacts(replica, effects, facts.get(replica.id) ?? emptyFacts())
    }
    this.#noteSoftStates()
    if (!command.name.startsWith('propose')) return
    const said = command.expected.some((line) => /dropped|ignoring conf change/.test(line))
    this.#compare('refusal', this.#environment.refusal !== undefined, said)
  }

  #noteSoftStates(): void {
    for (const [id, { softStates }] of this.#environment.effects) {
      const last = softStates.at(-1)
      if (last !== undefined) this.#soft.set(id, { leader: last.leader, role: last.role })
    }
  }

  #isSilent({ options }: Command): boolean {
    return this.#silent || options.get('log-level')?.[0] === 'none'
  }

  #compareFacts(replica: ScriptReplica, effects: Effects, facts: ReplicaFacts): void {
    const { id, raft } = replica
    const name = (what: string) => `${what} of ${id}`
    this.#compare(name('entries'), effects.entries.map(renderEntry), facts.entries, facts.entries.length > 0)
    this.#compare(name('committed entries'), effects.committed.map(renderEntry), facts.committed, facts.committed.length > 0)
    const { term, vote, commit } = effects.hardStates.at(-1) ?? {}
    this.#compare(name('hard state'), term === undefined ? undefined : { term, vote, commit }, facts.hard, facts.hard !== undefined)
    this.#compare(name('leader and role'), this.#newSoft(id, effects), facts.soft, facts.soft !== undefined)
    if (facts.config !== undefined) this.#compare(name('configuration'), renderConf(replica.conf), facts.config)
    if (facts.became !== undefined) this.#compare(name('role'), { role: raft.role, term: raft.term }, facts.became)
    if (facts.begins !== undefined) {
      const { voters } = replica.conf
      const lastTerm = replica.log.term(raft.lastIndex)
      const actual = { voters: voters.join(','), term: raft.term, commit: raft.commit, lastIndex: raft.lastIndex, lastTerm }
      this.#compare(name('beginning'), actual, facts.begins)
    }
    if (facts.writes.length > 0) {
      const writes = effects.writes.map((entries) => entries.map(renderEntry).join(' '))
      this.#compare(name('writes'), writes, facts.writes)
    }
  }

  /** The last leader and role that Readys showed, if they are not those that were shown before. */
  #newSoft(id: number, { softStates }: Effects): Soft | undefined {
    const known = this.#soft.get(id) ?? { leader: 0, role: 'follower' }
    const shown = softStates.filter(({ leader, role }) => leader !== known.leader || role !== known.role)
    const last = shown.length === 0 ? undefined : softStates.at(-1)
    return last === undefined ? undefined : { leader: last.leader, role: last.role }
  }

  #replica(id: number): ScriptReplica {
    return must(this.#environment.replicas.get(id), `replica ${id}`)
  }
}

/** The bytes of the messages in flight, each of one entry, that a row speaks of. */
function bytesOf({ match, next, inflight }: ProgressRow, { log }: ScriptReplica): number {
  expect(next - match - 1, 'entries in flight').toBe(inflight)
  let bytes = 0
  for (let index = match + 1; index < next; index++) bytes += entryBytes(must(log.entry(index), `entry ${index}`))
  return bytes
}
