import protobuf from 'protobufjs/minimal.js'
import { describe, expect, it } from 'vitest'
import { pb } from '../../proto/messages.ts'

describe('protobufjs as we set it up', () => {
  it('decodes 64-bit fields to numbers', () => {
    const bytes = pb.v1.RaftEntry.encode({ term: 2 ** 52 + 1, data: new Uint8Array(0) }).finish()
    expect(pb.v1.RaftEntry.decode(bytes).term).toBe(2 ** 52 + 1)
  })

  it('uses the buffer of a writer again, and never bytes that it gave away', () => {
    const first = pb.v1.RaftEntry.encode({ term: 1, data: new Uint8Array(5000).fill(1) }).finish()
    const copy = Uint8Array.from(first)
    const before = protobuf.Writer.create()
    const buffer = before.buf
    before.uint32(7).finish()
    const second = pb.v1.RaftEntry.encode({ term: 2, data: new Uint8Array(5000).fill(2) }).finish()
    expect(protobuf.Writer.create().buf).toBe(buffer)
    expect(Uint8Array.from(first)).toEqual(copy)
    expect(pb.v1.RaftEntry.decode(second).data).toEqual(Buffer.alloc(5000, 2))
  })

  it('keeps two writers apart that are open at a time', () => {
    const outer = protobuf.Writer.create().uint32(1)
    const inner = protobuf.Writer.create().uint32(2)
    outer.bytes(inner.finish()).uint32(3)
    expect([...outer.finish()]).toEqual([1, 1, 2, 3])
  })

  it('starts anew after a message that could not be encoded', () => {
    expect(() => pb.v1.WriteBatch.encode({ clientId: new Uint8Array(8), commands: [null as never] }).finish()).toThrow()
    expect([...pb.v1.RaftEntry.encode({ term: 1 }).finish()]).toEqual([8, 1])
  })

  it('does not keep the buffer of a message larger than any that is sent often', () => {
    const bytes = pb.v1.RaftEntry.encode({ data: new Uint8Array(5 * 1024 * 1024) }).finish()
    expect(bytes.length).toBeGreaterThan(5 * 1024 * 1024)
    expect(protobuf.Writer.create().buf.length).toBeLessThan(5 * 1024 * 1024)
  })
})
