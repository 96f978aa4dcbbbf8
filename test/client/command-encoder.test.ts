import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeAppend, encodeBatch, encodeDelete, encodePut } from '../../client/command-encoder.ts'
import { Operation, operationKinds } from '../../client/operation.ts'
import { ShardSession } from '../../client/session.ts'
import { pb } from '../../proto/messages.ts'

describe('commands and batches written by hand', () => {
  it('are what the generated code reads', () => {
    const key = fc.uint8Array({ minLength: 1, maxLength: 300 })
    const value = fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.string())
    const command = fc.record({ kind: fc.constantFrom('put', 'append', 'delete'), key, value, ttlMs: fc.nat(), shard: fc.nat(16_383) })
    fc.assert(
      fc.property(fc.array(command, { minLength: 1, maxLength: 20 }), fc.nat(600_000), fc.boolean(), (commands, ageMs, first) => {
        const session = new ShardSession(0, Buffer.alloc(16, 9))
        session.first = first
        const operations = commands.map(({ kind, shard, ...command }) => {
          const bytes = Buffer.from(command.key)
          const payload =
            kind === 'put'
              ? encodePut(bytes, command.value, command.ttlMs)
              : kind === 'append'
                ? encodeAppend(bytes, command.value)
                : encodeDelete(bytes)
          const operation = new Operation(operationKinds.put, shard, bytes, payload, 0, 0, 0)
          operation.session = session
          operation.sequence = session.take()
          return operation
        })
        const batch = pb.v1.WriteBatch.decode(encodeBatch(session.clientId, operations, ageMs))
        expect(Buffer.from(batch.clientId)).toEqual(Buffer.alloc(16, 9))
        expect(batch.ageMs).toBe(ageMs)
        expect(batch.commands.length).toBe(commands.length)
        for (const [i, wanted] of commands.entries()) {
          const found = new pb.v1.Command(batch.commands[i])
          expect([found.shard, found.sequence, found.lowestOutstanding, found.first]).toEqual([wanted.shard, i + 1, 1, first])
          const operation = new pb.v1.Put(found.put ?? found.append ?? found.delete ?? {})
          expect(Buffer.from(operation.key)).toEqual(Buffer.from(wanted.key))
          if (wanted.kind !== 'delete') expect(Buffer.from(operation.value)).toEqual(Buffer.from(wanted.value as string))
          if (wanted.kind === 'put') expect(operation.ttlMs).toBe(wanted.ttlMs)
        }
      }),
    )
  })
})
