import { describe, expect, it } from 'vitest'
import { encoded } from '../../proto/encode.ts'
import { pb } from '../../proto/messages.ts'
import { raftMethods } from '../../proto/methods.ts'

const entry = (fill: number, bytes = 5000) => ({ term: fill, data: new Uint8Array(bytes).fill(fill) })

it('protobufjs decodes 64-bit fields to numbers', () => {
  const bytes = pb.v1.RaftEntry.encode({ term: 2 ** 52 + 1, data: new Uint8Array(0) }).finish()
  expect(pb.v1.RaftEntry.decode(bytes).term).toBe(2 ** 52 + 1)
})

describe('encoded', () => {
  it("gives bytes of the caller's own, the same as protobufjs's", () => {
    const first = encoded(pb.v1.RaftEntry, entry(1))
    const second = encoded(pb.v1.RaftEntry, entry(2))
    expect(Uint8Array.from(first)).toEqual(Uint8Array.from(pb.v1.RaftEntry.encode(entry(1)).finish()))
    expect(Uint8Array.from(second)).toEqual(Uint8Array.from(pb.v1.RaftEntry.encode(entry(2)).finish()))
  })

  it('makes no buffer but that of its bytes, and one more for its first long message', () => {
    const bytes = entry(3, 100_000)
    encoded(pb.v1.RaftEntry, bytes)
    const before = process.memoryUsage().arrayBuffers
    const kept = Array.from({ length: 20 }, () => encoded(pb.v1.RaftEntry, bytes))
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(kept.length * 100_000 * 1.2)
  })

  it('starts anew after a message that could not be encoded', () => {
    expect(() => encoded(pb.v1.WriteBatch, { clientId: new Uint8Array(8), commands: [null as never] })).toThrow()
    expect([...encoded(pb.v1.RaftEntry, { term: 1 })]).toEqual([8, 1])
  })

  it('takes a message longer than it keeps memory for', () => {
    for (const term of [1, 2]) expect(encoded(pb.v1.RaftEntry, entry(term, 5 * 1024 * 1024)).length).toBeGreaterThan(5 * 1024 * 1024)
    expect([...encoded(pb.v1.RaftEntry, { term: 1 })]).toEqual([8, 1])
  })
})

describe('what is kept of a frame of Raft messages', () => {
  const { response } = raftMethods.receive
  const frame = response.encode(pb.v1.RaftFrame.create({ messages: [{ group: 'g1@1', type: 5, entries: [entry(7)] }] }))
  const entryOf = (bytes: Uint8Array) => response.decode(bytes).messages[0]?.entries?.[0]?.data as Uint8Array

  it('lies in memory that it had to itself but for what framed it', () => {
    const framed = new Uint8Array(frame.length + 5)
    framed.set(frame, 5)
    expect(entryOf(framed.subarray(5)).buffer).toBe(framed.buffer)
  })

  it('does not pin the memory of others', () => {
    const chunk = new Uint8Array(64 * 1024)
    chunk.set(frame)
    expect(entryOf(chunk.subarray(0, frame.length)).buffer).not.toBe(chunk.buffer)
  })
})
