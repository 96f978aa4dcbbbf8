import { pb } from '../proto/messages.ts'
import { refusal } from './commands.ts'
import type { WriteResult } from './session.ts'
import type { ShardSmallState } from './small-state.ts'

/** What a command is told that is refused where it is applied, before it is executed. */
/** What a shard that does not serve yet asks its caller to wait, ms. */
export const movingWaitMs = 50

export const badNumbers: WriteResult = refusal(pb.v1.ErrorCode.INVALID_ARGUMENT, 'sequence and lowest_outstanding count from 1')

export const tooMuch: WriteResult = refusal(
  pb.v1.ErrorCode.OVERLOADED,
  'the commands of one request write too much: the rest goes again',
  1,
)

export function refuseState(shard: ShardSmallState | undefined): WriteResult {
  const state = shard?.record.state ?? 'unborn'
  if (state === 'importing' || state === 'refused') return refusal(pb.v1.ErrorCode.SHARD_MOVING, `the shard is ${state} here`, movingWaitMs)
  return refusal(pb.v1.ErrorCode.WRONG_GROUP, `the shard is ${state} here`)
}

export const sessionRefusals: Readonly<Record<'expired' | 'forgotten' | 'window' | 'full', WriteResult>> = {
  expired: refusal(pb.v1.ErrorCode.SESSION_EXPIRED, 'the shard has no session of this client: go on under a new client id'),
  forgotten: {
    error: {
      code: pb.v1.ErrorCode.SESSION_EXPIRED,
      message: 'the command lies below the lowest outstanding number: its outcome is forgotten',
      definite: false,
    },
  },
  window: refusal(pb.v1.ErrorCode.INVALID_ARGUMENT, 'the command lies 1,024 or more above the lowest outstanding number'),
  full: refusal(pb.v1.ErrorCode.OVERLOADED, 'the shard has too many sessions: try again later', 1000),
}
