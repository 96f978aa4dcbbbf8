import type { Space } from '../base/disk-space.ts'
import type { Message } from './core/types.ts'
import { entryWireBytes, messageBytes } from './message-codec.ts'

/** So much is taken however full the disk is: votes, changes of members, time marks. */
const smallBytes = 4096
/** An entry goes into the log, and from the memtable into a table. */
const copies = 2

/**
 * What is taken of a message while the disk is all but full; the rest is as if it were lost, and comes again. A new leader confirms no read before the first
 * entry of its term is here, and with it all that lies before. So of a long append the entries of older terms (they are no more than there were when it was
 * elected) and that first one are taken: all, if there is room, else what is small. Undefined: nothing.
 */
export function takenWhenCritical(message: Message, space: Pick<Space, 'spend'>): Message | undefined {
  if (messageBytes(message) <= smallBytes) return message
  let previousTerm = message.logTerm
  let [bytes, count, small] = [0, 0, 0]
  for (const entry of message.entries) {
    if (previousTerm === message.term) break
    previousTerm = entry.term
    bytes += entryWireBytes(entry)
    count++
    if (bytes <= smallBytes) small = count
  }
  if (!space.spend(copies * bytes)) count = small
  return count === 0 ? undefined : { ...message, entries: message.entries.slice(0, count) }
}
