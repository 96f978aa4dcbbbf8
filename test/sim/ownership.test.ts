import { describe, expect, it } from 'vitest'
import type { ShardStatus } from '../../shardserver/group-state-machine.ts'
import type { ShardStateName } from '../../shardserver/shard-state.ts'
import { Ownership } from './ownership.ts'

function shard(number: number, state: ShardStateName, epoch: number): ShardStatus {
  return { shard: number, state, epoch, revision: 0 }
}

describe('the books of who serves which shard', () => {
  const begin = () => {
    const failures: string[] = []
    return { failures, books: new Ownership((error) => failures.push(error.message)) }
  }

  it('take a move from one group to the other and back as it should be', () => {
    const { failures, books } = begin()
    const see = (group: string, applied: number, status: ShardStatus) => {
      books.see(group, applied, [status])
      books.check([status.shard])
    }
    see('g1@1', 1, shard(5, 'serving', 1))
    see('g1@1', 2, shard(5, 'exporting', 1))
    see('g2@1', 1, shard(5, 'importing', 0))
    see('g1@1', 3, shard(5, 'released', 1))
    see('g2@1', 2, shard(5, 'serving', 2))
    see('g1@1', 4, shard(5, 'absent', 1))
    see('g2@1', 3, shard(5, 'released', 2))
    see('g1@1', 5, shard(5, 'serving', 3))
    expect(failures).toEqual([])
    expect(books.reigns.map(({ group, epoch }) => `${group} ${epoch}`)).toEqual(['g1@1 1', 'g2@1 2', 'g1@1 3'])
    expect(books.servers(5)).toEqual(['g1@1'])
  })

  it('tell of two groups that serve one shard', () => {
    const { failures, books } = begin()
    books.see('g1@1', 1, [shard(5, 'exporting', 1)])
    books.see('g2@1', 1, [shard(5, 'serving', 2)])
    books.check([5])
    expect(failures).toEqual(['shard 5 is served by g1@1 and g2@1'])
  })

  it('tell of an epoch that comes twice', () => {
    const { failures, books } = begin()
    books.see('g1@1', 1, [shard(5, 'serving', 2)])
    books.see('g1@1', 2, [shard(5, 'absent', 2)])
    books.see('g2@1', 1, [shard(5, 'serving', 2)])
    expect(failures).toHaveLength(1)
  })

  it('do not hear a replica that lags behind what is known of its group', () => {
    const { failures, books } = begin()
    books.see('g1@1', 7, [shard(5, 'absent', 1)])
    books.see('g2@1', 3, [shard(5, 'serving', 2)])
    expect(books.isNews('g1@1', 6)).toBe(false)
    books.see('g1@1', 6, [shard(5, 'serving', 1)])
    books.check([5])
    expect(failures).toEqual([])
  })

  it('take an aborted move for no change of owner', () => {
    const { failures, books } = begin()
    books.see('g1@1', 1, [shard(5, 'serving', 1)])
    books.see('g1@1', 2, [shard(5, 'exporting', 1)])
    books.see('g1@1', 3, [shard(5, 'serving', 1)])
    expect(failures).toEqual([])
    expect(books.reigns).toHaveLength(1)
  })
})
