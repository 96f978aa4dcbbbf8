import { expect, it } from 'vitest'
import { crc32 } from '../../base/checksum.ts'
import type { Channel } from '../../base/transport.ts'
import { encodeError } from '../../proto/error-codec.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'
import { ChunkReader } from '../../raft/chunk-reader.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'

const bytes = new Uint8Array(1000).fill(7)

/** A peer that refuses so many reads with `waitMs` before it gives the bytes. */
function peer(refusals: number, waitMs: number) {
  const world = new World({ seed: 5 })
  const { clock } = new SimProcess(world, { name: 'n1', network: new SimNetwork(world) })
  let asked = 0
  const reply = () => {
    if (asked++ >= refusals) return new pb.v1.ReadFileReply({ data: bytes, checksum: crc32(bytes) })
    return new pb.v1.ReadFileReply({ error: encodeError(new OstrakaError('UNAVAILABLE', 'busy', true, waitMs === 0 ? {} : { waitMs })) })
  }
  const channel = { unary: () => Promise.resolve(reply()) } as unknown as Channel
  const reader = new ChunkReader({ channel, clock, clusterId: () => new Uint8Array(16), set: 'a' })
  return { world, read: () => world.settle(reader.read('f', 0, bytes.length)), asked: () => asked }
}

it('stays with a peer that says how long to wait, however often', async () => {
  const { world, read, asked } = peer(30, 1000)
  expect(await read()).toEqual(bytes)
  expect(asked()).toBe(31)
  expect(world.nowMs).toBeGreaterThanOrEqual(30_000)
})

it('turns away from one that only fails', async () => {
  const { read, asked } = peer(30, 0)
  await expect(read()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  expect(asked()).toBe(5)
})
