import { decodeConfChange } from '../../../raft/core/conf-change-codec.ts'
import { type ConfChange, type ConfState, type Entry, EntryKind, type Message, MessageType } from '../../../raft/core/types.ts'
import type { Effects, Local } from './script-replica.ts'

const typeNames = new Map<number, string>(Object.entries(MessageType).map(([name, type]) => [type, name]))
const utf8 = new TextDecoder()

const stepLetters = { 'add-voter': 'v', 'add-learner': 'l', remove: 'r' } as const

export function renderChange({ steps }: ConfChange): string {
  return steps.map(({ type, replica }) => `${stepLetters[type]}${replica}`).join(' ')
}

/** `1/12 "foo"`, `1/4 conf r1 v4`: term/index and content. */
export function renderEntry({ term, index, kind, data }: Entry): string {
  const place = `${term}/${index}`
  if (kind !== EntryKind.ConfChange) return `${place} ${JSON.stringify(utf8.decode(data))}`
  const decoded = decodeConfChange(data)
  return `${place} conf ${decoded === undefined ? 'unreadable' : renderChange(decoded.change)}`.trimEnd()
}

/** `voters=(1 2)&&(1 3) learners=(4) learners_next=(3) autoleave` */
export function renderConf({ voters, votersOutgoing, learners, learnersNext, autoLeave }: ConfState): string {
  const list = (replicas: readonly number[]) => `(${replicas.join(' ')})`
  const parts = [`voters=${list(voters)}${votersOutgoing.length > 0 ? `&&${list(votersOutgoing)}` : ''}`]
  if (learners.length > 0) parts.push(`learners=${list(learners)}`)
  if (learnersNext.length > 0) parts.push(`learners_next=${list(learnersNext)}`)
  if (autoLeave) parts.push('autoleave')
  return parts.join(' ')
}

export function messageTypeName(type: number): string {
  return typeNames.get(type) ?? String(type)
}

/** `1→2 Append term 1 behind 1/10 commit 10 [1/11 ""]`; what is 0, false or none is left out. */
export function renderMessage(message: Message): string {
  const { from, to, type, term, index, logTerm, commit, entries, reject, hintIndex, hintTerm, context, snapshot } = message
  const parts = [`${from}→${to} ${messageTypeName(type)} term ${term}`]
  if (logTerm > 0) parts.push(`behind ${logTerm}/${index}`)
  else if (index > 0) parts.push(`index ${index}`)
  if (commit > 0) parts.push(`commit ${commit}`)
  if (entries.length > 0) parts.push(`[${entries.map(renderEntry).join(', ')}]`)
  if (reject) parts.push('rejected')
  if (hintIndex > 0) parts.push(`hint ${hintTerm}/${hintIndex}`)
  if (context > 0) parts.push(renderContext(type, context))
  if (snapshot !== undefined) parts.push(`snapshot ${snapshot.term}/${snapshot.index} ${renderConf(snapshot.conf)}`)
  return parts.join(' ')
}

function renderContext(type: number, context: number): string {
  if (type === MessageType.Vote || type === MessageType.PreVote) return 'forced'
  if (type === MessageType.Heartbeat || type === MessageType.HeartbeatResponse) return `round ${context}`
  return `context ${context}`
}

export function renderLocal(replica: number, local: Local): string {
  return local.kind === 'appended' ? `${replica} appended ${local.term}/${local.index}` : `${replica} applied ${local.index}`
}

/** What a step of a replica showed, without messages. */
export function renderEffects({ softStates, hardStates, entries, committed, readStates, lostReads }: Effects): string[] {
  const lines: string[] = []
  for (const { role, leader, term } of softStates) lines.push(`${role} term ${term} leader ${leader}`)
  for (const { term, vote, commit } of hardStates) lines.push(`hard state term ${term} vote ${vote} commit ${commit}`)
  if (entries.length > 0) lines.push(`append ${entries.map(renderEntry).join(', ')}`)
  if (committed.length > 0) lines.push(`apply ${committed.map(renderEntry).join(', ')}`)
  for (const { context, index } of readStates) lines.push(`read ${context} at ${index}`)
  if (lostReads.length > 0) lines.push(`lost reads ${lostReads.join(' ')}`)
  return lines
}
