import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { Sessions, ShardSession } from '../../client/session.ts'

const newSession = () => new ShardSession(3, new Uint8Array(16))

describe('a session in a shard', () => {
  it('numbers from 1 and raises the lowest number over what is settled, in any order', () => {
    const session = newSession()
    expect([session.take(), session.take(), session.take(), session.take()]).toEqual([1, 2, 3, 4])
    expect(session.settle(2, false)).toBe(false)
    expect(session.settle(1, false)).toBe(true)
    expect(session.lowest).toBe(3)
    session.settle(4, false)
    session.settle(3, false)
    expect([session.lowest, session.next]).toEqual([5, 5])
    expect(() => session.settle(4, false)).toThrow('not outstanding')
  })

  it('hands out at most 1,024 numbers beyond the lowest', () => {
    const session = newSession()
    for (let i = 0; i < 1024; i++) session.take()
    expect(session.room).toBe(0)
    expect(session.maySend(0)).toBe(false)
    expect(() => session.take()).toThrow('window')
    session.settle(2, false)
    expect(session.room).toBe(0)
    session.settle(1, false)
    expect(session.room).toBe(2)
    expect(session.take()).toBe(1025)
  })

  it('sends nothing newer than an abandoned number before the lowest has passed it', () => {
    const session = newSession()
    for (let i = 0; i < 4; i++) session.take()
    session.settle(2, true)
    expect([1, 2, 3, 4, 0].map((sequence) => session.maySend(sequence))).toEqual([true, false, false, false, false])
    session.settle(1, false)
    expect([3, 4, 0].map((sequence) => session.maySend(sequence))).toEqual([true, true, true])
  })

  it('agrees with a set of numbers over many windows', () => {
    const random = new SeededRandom(7)
    const session = newSession()
    const open = new Set<number>()
    for (let i = 0; i < 20_000; i++) {
      if (session.room > 0 && random.below(2) === 0) open.add(session.take())
      else if (open.size > 0) {
        const settled = [...open][random.below(Math.min(open.size, 5))] ?? 0
        open.delete(settled)
        session.settle(settled, false)
      }
      expect(session.lowest).toBe(open.size === 0 ? session.next : Math.min(...open))
    }
  })
})

describe('the sessions of a client', () => {
  it('share a client id, and draw one new one where shards have lost it', () => {
    const sessions = new Sessions(new SeededRandom(1))
    const [first, second, third] = [sessions.of(1), sessions.of(2), sessions.of(3)]
    expect(sessions.of(1)).toBe(first)
    expect(second.clientId).toBe(first.clientId)
    sessions.expire(first)
    sessions.expire(first)
    sessions.expire(second)
    expect(sessions.of(1).clientId).not.toEqual(first.clientId)
    expect(sessions.of(2).clientId).toBe(sessions.of(1).clientId)
    expect(sessions.of(3)).toBe(third)
    expect(sessions.of(1).take()).toBe(1)
  })
})
