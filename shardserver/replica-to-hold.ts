import type { Member } from '../proto/config.ts'

/**
 * Which replica of a group a node is to hold, of the members that the config gives to that node; undefined: none now. Never two at once: while a
 * number is `started` here, another waits until that one was removed. `isLost`: its number is not to be used here.
 */
export function replicaToHold(
  members: readonly Member[],
  started: number | undefined,
  isLost: (replica: number) => boolean,
): number | undefined {
  if (started !== undefined) return members.find(({ replica }) => replica === started)?.replica
  const usable = members.filter(({ replica }) => !isLost(replica))
  // One that leaves, and of which nothing is here, is of no use beside one that joins.
  return (usable.find(({ state }) => state !== 'leaving') ?? usable[0])?.replica
}
