import { expect, it } from 'vitest'
import { type Message, MessageType } from '../../../raft/core/types.ts'
import { leader, message, ofType } from './messages.ts'
import { logOf } from './test-replica.ts'

const appendsTo = (to: number, messages: readonly Message[]) => ofType(messages, MessageType.Append).filter((one) => one.to === to)

it('an Append without entries may wait where the follower takes all that comes, and not where it is to tell where its log ends', () => {
  const replica = leader({ entries: logOf(1, 1, 1) })
  const { term, lastIndex } = replica.raft
  const news = appendsTo(2, replica.step(message(MessageType.AppendResponse, 2, term, { index: lastIndex })))
  expect(news).toMatchObject([{ entries: [], commit: lastIndex, mayWait: true }])
  // 3 has not answered yet.
  const probe = appendsTo(3, replica.step(message(MessageType.HeartbeatResponse, 3, term)))
  expect(probe).toMatchObject([{ mayWait: false }])
})
