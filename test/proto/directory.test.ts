import { describe, expect, it } from 'vitest'
import { decodeDirectory, emptyDirectory, encodeDirectory, type NodeEntry } from '../../proto/directory.ts'
import { pb } from '../../proto/messages.ts'

const entry = (id: string, version: number, ...addresses: [string, string][]): NodeEntry => ({
  id,
  addresses: addresses.map(([name, address]) => ({ name, address })),
  pid: 10 + version,
  http: '',
  version,
})
const n1 = entry('n1', 1, ['inner', 'server-1:7410'], ['outer', '127.0.0.1:7410'])
const n2 = entry('n2', 2, ['inner', 'server-2:7410'])
const two = emptyDirectory.with(n2).with(n1)
const wire = (message: pb.v1.Directory.$Properties) => pb.v1.Directory.decode(pb.v1.Directory.encode(message).finish())

describe('directory', () => {
  it('comes back whole, under the listener through which the receiver came', () => {
    const directory = decodeDirectory(wire(encodeDirectory(two, 'outer')))
    expect(directory.nodes).toEqual([n1, n2])
    expect([directory.version, directory.listener]).toEqual([2, 'outer'])
    expect(directory.addressOf('n1')).toBe('127.0.0.1:7410')
    expect(directory.addressOf('n2')).toBe('server-2:7410')
    expect(directory.addressOf('n1', 'inner')).toBe('server-1:7410')
    expect(directory.peerAddressOf('n1')).toBe('server-1:7410')
    expect(directory.addressOf('n3')).toBeUndefined()
  })

  it('is kept up to date by what changed since a version, and never goes back', () => {
    const moved = entry('n1', 3, ['inner', 'server-1:9999'])
    const update = wire(encodeDirectory(two.with(moved), 'inner', 2))
    expect(update.nodes.map((node) => node.id)).toEqual(['n1'])
    const after = two.merge(update)
    expect(after.nodes).toEqual([moved, n2])
    expect(after.merge(wire(encodeDirectory(two, 'inner')))).toBe(after)
    expect(() => emptyDirectory.merge(update)).toThrow(RangeError)
  })
})
