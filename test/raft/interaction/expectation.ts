import type { Role } from '../../../raft/core/types.ts'
import type { Command } from './script.ts'

/** What the output of one command says of one replica, free of wording. Absent: nothing was said, so nothing of the kind may have happened. */
export interface ReplicaFacts {
  /** The last leader and role that a Ready showed. */
  soft: { leader: number; role: Role } | undefined
  /** The last hard state that a Ready showed. */
  hard: { term: number; vote: number; commit: number } | undefined
  /** All entries that Readys gave to the log, in order. */
  readonly entries: string[]
  /** All entries that Readys gave to be applied, in order. */
  readonly committed: string[]
  /** The last configuration that was switched to. */
  config: string | undefined
  /** The last role that was entered, and the term. */
  became: { role: Role; term: number } | undefined
  /** A replica that was just made: where it begins. */
  begins: { voters: string; term: number; commit: number; lastIndex: number; lastTerm: number } | undefined
  /** Entries of each write that the append thread did, in order. */
  readonly writes: string[]
}

const ROLES: Readonly<Record<string, Role>> = {
  StateFollower: 'follower',
  StatePreCandidate: 'preCandidate',
  StateCandidate: 'candidate',
  StateLeader: 'leader',
  follower: 'follower',
  'pre-candidate': 'preCandidate',
  candidate: 'candidate',
  leader: 'leader',
}

function roleOf(name: string | undefined): Role {
  const role = ROLES[name ?? '']
  if (role === undefined) throw new Error(`no role: ${name}`)
  return role
}

/** `1/12 EntryNormal "foo"` and `1/4 EntryConfChangeV2 r1 v4`: term/index, kind, content. Both versions of a conf change are one kind here. */
function entryOf(line: string): string | undefined {
  const match = /^(\d+)\/(\d+) Entry(Normal|ConfChange|ConfChangeV2)(?: (.*))?$/.exec(line.trim())
  if (match === null) return undefined
  const [, term, index, kind, content = ''] = match
  return kind === 'Normal' ? `${term}/${index} ${content}` : `${term}/${index} conf ${content}`.trimEnd()
}

export function emptyFacts(): ReplicaFacts {
  return {
    soft: undefined,
    hard: undefined,
    entries: [],
    committed: [],
    config: undefined,
    became: undefined,
    begins: undefined,
    writes: [],
  }
}

/** What a command that runs replicas is expected to do to each of them. */
export function parseFacts(command: Command): Map<number, ReplicaFacts> {
  const facts = new Map<number, ReplicaFacts>()
  const of = (replica: number) => {
    const known = facts.get(replica) ?? emptyFacts()
    facts.set(replica, known)
    return known
  }
  let replica = Number(command.args[0] ?? 0)
  let section: 'entries' | 'committed' | undefined
  /** Within what a thread did; elsewhere a write is only on its way. */
  let isDone = false
  for (const raw of command.expected) {
    const line = raw.trim()
    const block = /^> (\d+) /.exec(line)
    if (block !== null) {
      replica = Number(block[1])
      section = undefined
      isDone = false
      continue
    }
    if (line === 'Processing:' || line === 'Responses:') isDone = line === 'Processing:'
    const entry = entryOf(line)
    if (entry !== undefined && section !== undefined) {
      of(replica)[section].push(entry)
      continue
    }
    section = line === 'Entries:' ? 'entries' : line === 'CommittedEntries:' ? 'committed' : undefined
    if (section !== undefined) continue
    parseLine(line, replica, of)
    if (isDone) parseWrite(line, of)
  }
  return facts
}

function parseLine(line: string, replica: number, of: (replica: number) => ReplicaFacts): void {
  const soft = /^Lead:(\d+) State:(\w+)$/.exec(line)
  if (soft !== null) of(replica).soft = { leader: Number(soft[1]), role: roleOf(soft[2]) }

  const hard = /^HardState Term:(\d+)(?: Vote:(\d+))? Commit:(\d+)$/.exec(line)
  if (hard !== null) of(replica).hard = { term: Number(hard[1]), vote: Number(hard[2] ?? 0), commit: Number(hard[3]) }

  const config = /^INFO (\d+) switched to configuration (.*)$/.exec(line)
  if (config !== null) of(Number(config[1])).config = config[2] as string

  const became = /^INFO (\d+) became ([\w-]+) at term (\d+)$/.exec(line)
  if (became !== null) of(Number(became[1])).became = { role: roleOf(became[2]), term: Number(became[3]) }

  const begins =
    /^INFO newRaft (\d+) \[peers: \[(.*)\], term: (\d+), commit: (\d+), applied: \d+, lastindex: (\d+), lastterm: (\d+)\]$/.exec(line)
  if (begins !== null) {
    const [term, commit, lastIndex, lastTerm] = begins.slice(3).map(Number) as [number, number, number, number]
    of(Number(begins[1])).begins = { voters: begins[2] as string, term, commit, lastIndex, lastTerm }
  }
}

function parseWrite(line: string, of: (replica: number) => ReplicaFacts): void {
  const write = /^(\d+)->AppendThread MsgStorageAppend .*?(?: Entries:\[(.*?)\])?$/.exec(line)
  if (write !== null) of(Number(write[1])).writes.push(entryOf(write[2] ?? '') ?? '')
}

export interface StateRow {
  readonly role: Role
  readonly voter: boolean
  readonly term: number
  readonly leader: number
}

/** The rows of `raft-state`. */
export function parseStates(command: Command): Map<number, StateRow> {
  return new Map(
    command.expected.map((line) => {
      const match = /^(\d+): (\w+) \((Voter|Non-Voter)\) Term:(\d+) Lead:(\d+)$/.exec(line)
      if (match === null) throw new Error(`line ${command.line}: not a state: ${line}`)
      return [Number(match[1]), { role: roleOf(match[2]), voter: match[3] === 'Voter', term: Number(match[4]), leader: Number(match[5]) }]
    }),
  )
}

/** The rows of `raft-log` and of `compact`; an empty log has one that names its bounds. */
export function parseLog(command: Command): string[] {
  return command.expected.map((line) => {
    const bounds = /^log is empty: first index=(\d+), last index=(\d+)$/.exec(line)
    if (bounds !== null) return `empty ${bounds[1]}..${bounds[2]}`
    const entry = entryOf(line)
    if (entry === undefined) throw new Error(`line ${command.line}: not an entry: ${line}`)
    return entry
  })
}

export interface ProgressRow {
  readonly state: string
  readonly match: number
  readonly next: number
  readonly inflight: number
  readonly full: boolean
  readonly inactive: boolean
  readonly pendingSnapshot: number
  readonly learner: boolean
}

/** The rows of `status`. */
export function parseStatus(command: Command): Map<number, ProgressRow> {
  return new Map(
    command.expected.map((line) => {
      const match = /^(\d+): State(\w+) match=(\d+) next=(\d+)(.*)$/.exec(line)
      if (match === null) throw new Error(`line ${command.line}: not a status: ${line}`)
      const rest = match[5] as string
      const number = (name: string) => Number(new RegExp(`\\b${name}=(\\d+)`).exec(rest)?.[1] ?? 0)
      const row = {
        state: (match[2] as string).toLowerCase(),
        match: Number(match[3]),
        next: Number(match[4]),
        inflight: number('inflight'),
        full: rest.includes('[full]'),
        inactive: rest.includes('inactive'),
        pendingSnapshot: number('pendingSnap'),
        learner: rest.includes('learner'),
      }
      return [Number(match[1]), row]
    }),
  )
}
