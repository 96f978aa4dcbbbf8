import { draftMessage } from '../../../raft/core/message.ts'
import { type Message, MessageType } from '../../../raft/core/types.ts'
import { type ReplicaSetup, TestReplica } from './test-replica.ts'

/** A message to replica 1 unless `to` is given. */
export function message(type: MessageType, from: number, term: number, fields: Partial<Message> = {}): Message {
  return { ...draftMessage(type, from, 1, term), ...fields }
}

export function ofType(messages: readonly Message[], type: MessageType): Message[] {
  return messages.filter((one) => one.type === type)
}

/** Replica 1, asked to campaign, with the pre-votes of `granting`. Returns it and its requests for votes. */
export function candidate(setup: ReplicaSetup = {}, granting: readonly number[] = [2, 3]): { replica: TestReplica; requests: Message[] } {
  const replica = new TestReplica(1, setup)
  replica.raft.campaign()
  const requests = replica.drain()
  const term = replica.raft.term + 1
  for (const from of granting) {
    if (replica.raft.role === 'preCandidate') requests.push(...replica.step(message(MessageType.PreVoteResponse, from, term)))
  }
  return { replica, requests: ofType(requests, MessageType.Vote) }
}

/** Replica 1, elected by `granting`; its first Appends are dropped. */
export function leader(setup: ReplicaSetup = {}, granting: readonly number[] = [2, 3]): TestReplica {
  const { replica } = candidate(setup, granting)
  for (const from of granting) replica.step(message(MessageType.VoteResponse, from, replica.raft.term))
  return replica
}

/** The answer of a follower that takes an Append. */
export function accept(append: Message): Message {
  const answer = message(MessageType.AppendResponse, append.to, append.term)
  return { ...answer, to: append.from, index: append.index + append.entries.length }
}
