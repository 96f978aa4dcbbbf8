import { describe, expect, it } from 'vitest'
import { draftMessage } from '../../raft/core/message.ts'
import { type Entry, type Message, MessageType } from '../../raft/core/types.ts'
import { takenWhenCritical } from '../../raft/critical-disk.ts'

/** Entries `from` on, one of each of `terms`. */
function appendOf(terms: readonly number[], { bytes = 100, logTerm = 1, term = 7, from = 10 } = {}): Message {
  const message = draftMessage(MessageType.Append, 1, 2, term)
  message.index = from - 1
  message.logTerm = logTerm
  message.commit = 9
  message.entries = terms.map((each, i): Entry => ({ index: from + i, term: each, kind: 0, data: new Uint8Array(bytes) }))
  return message
}

function taken(message: Message, room: number): number | undefined {
  return takenWhenCritical(message, { spend: (bytes) => bytes <= room })?.entries.length
}

const many = (term: number, count = 100) => new Array<number>(count).fill(term)
const plenty = 1e9

describe('an append while the disk is all but full', () => {
  it('passes whole where it is small, whatever it is', () => {
    expect(taken(appendOf([7, 7, 7]), 0)).toBe(3)
    expect(taken(appendOf([]), 0)).toBe(0)
  })

  it('is turned away where it is more of what the leader has begun to append', () => {
    expect(taken(appendOf(many(7), { logTerm: 7 }), plenty)).toBeUndefined()
  })

  it('brings a new leader into office: all of older terms, and the first entry of its own', () => {
    expect(taken(appendOf([...many(3), ...many(5), ...many(7)]), plenty)).toBe(201)
    expect(taken(appendOf(many(7), { logTerm: 6 }), plenty)).toBe(1)
    expect(taken(appendOf(many(6), { logTerm: 6 }), plenty)).toBe(100)
  })

  it('is cut to what is small where there is no room for more, and keeps where it begins', () => {
    const message = appendOf(many(3))
    const front = takenWhenCritical(message, { spend: () => false })
    expect(front?.entries).toEqual(message.entries.slice(0, 35))
    expect(front).toMatchObject({ type: MessageType.Append, index: 9, logTerm: 1, commit: 9, term: 7 })
    expect(taken(appendOf([3, 3], { bytes: 5000 }), 0)).toBeUndefined()
  })

  it('asks for the room of all that it takes, twice: for the log and for a table', () => {
    const asked: number[] = []
    takenWhenCritical(appendOf([...many(3), ...many(7)]), { spend: (bytes) => asked.push(bytes) > 0 })
    expect(asked).toEqual([2 * 101 * 116])
  })
})
