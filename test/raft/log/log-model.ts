import { crc32 } from '../../../base/checksum.ts'
import type { SeededRandom } from '../../../base/random.ts'
import type { Entry, HardState } from '../../../raft/core/types.ts'
import type { GroupKey } from '../../../raft/log/format.ts'
import type { SharedLog } from '../../../raft/log/shared-log.ts'

/** What a group's log must hold, as text so that two are compared at once. Immutable. */
interface GroupModel {
  readonly truncatedIndex: number
  readonly truncatedTerm: number
  readonly entries: readonly Entry[]
  readonly hardState: HardState
}

type State = ReadonlyMap<string, GroupModel>

export const keys: readonly GroupKey[] = [
  { uid: 'g1@1', replica: 1 },
  { uid: 'g2@1', replica: 4 },
  { uid: 'group-three@12', replica: 9 },
]

const emptyGroup: GroupModel = { truncatedIndex: 0, truncatedTerm: 0, entries: [], hardState: { term: 0, vote: 0, commit: 0 } }

export interface OperationMix {
  /** Largest entry, bytes. */
  readonly dataBytes: number
}

/** The dumb model: the state after each operation that was ever issued. A crash may go back, but never behind what was acknowledged. */
export class LogModel {
  #states: State[] = [new Map()]
  /** Operations up to this one are acknowledged: they must be there after any crash. */
  acknowledged = 0

  get issued(): number {
    return this.#states.length - 1
  }

  /** Issues one random operation to the log and to the model. */
  step(log: SharedLog, random: SeededRandom, mix: OperationMix): void {
    const key = keys[random.below(keys.length)] as GroupKey
    const name = text(key)
    const state = this.#states.at(-1) as State
    const known = state.get(name)
    const group = known ?? emptyGroup
    const next = new Map(state)
    const number = this.#states.length
    const acknowledge = () => {
      this.acknowledged = Math.max(this.acknowledged, number)
    }
    const last = group.truncatedIndex + group.entries.length
    const draw = random.below(100)
    if (draw < 2 && known !== undefined) {
      log.group(key).remove(random.below(2) === 0 ? acknowledge : undefined)
      next.delete(name)
    } else if (draw < 5) {
      const [index, term] = [last + random.below(20), group.hardState.term + random.below(2)]
      log.group(key).reset(index, term, acknowledge)
      next.set(name, { ...group, truncatedIndex: index, truncatedTerm: term, entries: [] })
    } else if (draw < 17 && group.entries.length > 0) {
      const index = group.truncatedIndex + 1 + random.below(group.entries.length)
      const term = group.entries[index - group.truncatedIndex - 1]?.term as number
      log.group(key).truncateTo(index, term)
      next.set(name, { ...group, truncatedIndex: index, truncatedTerm: term, entries: group.entries.slice(index - group.truncatedIndex) })
    } else if (draw < 25) {
      const hardState = { ...group.hardState, commit: group.hardState.commit + 1 + random.below(5) }
      log.group(key).append([], hardState, undefined)
      next.set(name, { ...group, hardState })
    } else if (draw < 35) {
      const hardState = { term: group.hardState.term + 1, vote: random.below(9), commit: group.hardState.commit }
      log.group(key).append([], hardState, acknowledge)
      next.set(name, { ...group, hardState })
    } else {
      const overwrites = draw < 50 && group.entries.length > 0
      const first = overwrites ? group.truncatedIndex + 1 + random.below(group.entries.length) : last + 1
      const term = group.hardState.term + (overwrites ? 1 : 0)
      const entries: Entry[] = []
      for (let i = 0; i <= random.below(6); i++) entries.push(randomEntry(first + i, term, random, mix))
      const hardState = overwrites || random.below(3) === 0 ? { term, vote: 0, commit: group.hardState.commit } : undefined
      log.group(key).append(entries, hardState, random.below(5) === 0 ? undefined : acknowledge)
      const kept = group.entries.slice(0, first - group.truncatedIndex - 1)
      next.set(name, { ...group, entries: [...kept, ...entries], hardState: hardState ?? group.hardState })
    }
    this.#states.push(next)
  }

  /**
   * Compares a freshly opened log with the states that it may stand at, and goes on from the one that it stands at.
   * Undefined: all is well. 'lost': it stands behind what was acknowledged. 'wrong': it never was so.
   */
  async check(log: SharedLog): Promise<{ verdict: 'lost' | 'wrong'; what: string } | undefined> {
    if (log.damage.length > 0) return { verdict: 'wrong', what: `damage: ${JSON.stringify(log.damage)}` }
    const found = await describeLog(log)
    for (let i = this.issued; i >= 0; i--) {
      if (found !== describeState(this.#states[i] as State)) continue
      if (i < this.acknowledged) return { verdict: 'lost', what: `stands at operation ${i} of ${this.acknowledged} acknowledged` }
      // What was recovered counts as durable from now on.
      this.#states = this.#states.slice(0, i + 1)
      this.acknowledged = i
      return undefined
    }
    return { verdict: 'wrong', what: `never was so:\n${found}\nacknowledged:\n${describeState(this.#states[this.acknowledged] as State)}` }
  }
}

function randomEntry(index: number, term: number, random: SeededRandom, mix: OperationMix): Entry {
  const shape = random.below(20)
  const size = shape === 0 ? 0 : shape < 15 ? random.below(200) : random.below(mix.dataBytes)
  return { index, term, kind: random.below(3), data: new Uint8Array(size).fill(random.below(256)) }
}

function text(key: GroupKey): string {
  return `${key.uid}/${key.replica}`
}

function describeGroup(name: string, group: GroupModel): string {
  const { term, vote, commit } = group.hardState
  const entries = group.entries.map((entry) => `${entry.index}:${entry.term}:${entry.kind}:${entry.data.length}:${crc32(entry.data)}`)
  return `${name} hard ${term},${vote},${commit} behind ${group.truncatedIndex}:${group.truncatedTerm} [${entries.join(' ')}]`
}

function describeState(state: State): string {
  const lines = [...state].map(([name, group]) => describeGroup(name, group))
  return lines.sort().join('\n')
}

/** All that a log holds, read back from disk where it is not in memory. */
export async function describeLog(log: SharedLog): Promise<string> {
  const lines: string[] = []
  for (const key of log.groups()) {
    const group = log.group(key)
    const entries: Entry[] = []
    for (let i = group.firstIndex; i <= group.lastIndex; i = (entries.at(-1)?.index ?? Number.MAX_SAFE_INTEGER) + 1) {
      entries.push(...(await group.load(i, group.lastIndex + 1, 10_000)))
    }
    const truncatedIndex = group.firstIndex - 1
    const truncatedTerm = group.term(truncatedIndex) as number
    lines.push(describeGroup(text(key), { truncatedIndex, truncatedTerm, entries, hardState: group.hardState }))
  }
  return lines.sort().join('\n')
}
