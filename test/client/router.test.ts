import { describe, expect, it } from 'vitest'
import { Router } from '../../client/router.ts'
import { Config } from '../../proto/config.ts'

function configOf(number: number, owner: (shard: number) => string): Config {
  const members = ['n1', 'n2', 'n3'].map((node, i) => ({ node, replica: i + 1, state: 'voter' as const }))
  const groups = ['g1', 'g2'].map((name) => ({ uid: `${name}@1`, name, weight: 1, state: 'active' as const, members }))
  return new Config({ number, atMs: 0, cause: '', author: '', shardCount: 16, groups, owner, epoch: () => 1, pins: new Map() })
}

function newRouter(): Router {
  const router = new Router()
  router.update(configOf(2, (shard) => (shard < 8 ? 'g1@1' : 'g2@1')))
  return router
}

describe('the router', () => {
  it('takes only newer configs', () => {
    const router = newRouter()
    expect(router.update(configOf(1, () => 'g2@1'))).toBe(false)
    expect(router.update(configOf(2, () => 'g2@1'))).toBe(false)
    expect(router.groupOf(0)?.name).toBe('g1')
    expect(router.update(configOf(3, () => 'g2@1'))).toBe(true)
    expect(router.groupOf(0)?.name).toBe('g2')
  })

  it('makes a detour to the group that still serves a shard, once under each config', () => {
    const router = newRouter()
    expect([router.detour(0, 'g1@1'), router.detour(0, 'g9@1')]).toEqual([false, false])
    expect(router.detour(0, 'g2@1')).toBe(true)
    expect([router.groupOf(0)?.uid, router.groupOf(1)?.uid]).toEqual(['g2@1', 'g1@1'])
    expect(router.endDetour(0, 'g1@1')).toBe(false)
    expect(router.endDetour(0, 'g2@1')).toBe(true)
    expect([router.groupOf(0)?.uid, router.detour(0, 'g2@1')]).toEqual(['g1@1', false])
    router.update(configOf(3, () => 'g1@1'))
    expect(router.detour(0, 'g2@1')).toBe(true)
    router.update(configOf(4, () => 'g1@1'))
    expect(router.groupOf(0)?.uid).toBe('g1@1')
  })

  it('finds slot and shard as the cluster does', () => {
    const router = newRouter()
    expect(router.slotOf(Buffer.from('foo'))).toBe(12_182)
    expect(router.shardOf(Buffer.from('foo'))).toBe(11)
    expect(router.shardOf(Buffer.from('x{foo}y'))).toBe(11)
  })

  it('asks the member that answered, follows hints to members only, and goes round after failures', () => {
    const router = newRouter()
    expect(router.target('g1@1')).toBe('n1')
    expect(router.redirected('g1@1', 'n1', 'n3', 0)).toBe(true)
    expect([router.target('g1@1'), router.leaderOf('g1@1')]).toEqual(['n3', undefined])
    router.answered('g1@1', 'n3')
    expect(router.leaderOf('g1@1')).toBe('n3')
    expect(router.redirected('g1@1', 'n3', 'n9', 0)).toBe(false)
    expect([router.target('g1@1'), router.leaderOf('g1@1')]).toEqual(['n1', undefined])
    router.failed('g1@1', 'n3', 0, 0)
    expect(router.target('g1@1')).toBe('n1')
    router.failed('g1@1', 'n1', 0, 0)
    expect(router.target('g1@1')).toBe('n2')
    expect(router.target('g9@1')).toBeUndefined()
  })

  it('avoids a node that gave no answer, longer each time, until it is heard', () => {
    const router = newRouter()
    router.failed('g1@1', 'n1', 0, 500)
    expect(router.isSuspect('n1')).toBe(true)
    router.failed('g1@1', 'n2', 400, 0)
    expect(router.target('g1@1')).toBe('n3')
    router.failed('g1@1', 'n3', 499, 0)
    expect(router.target('g1@1')).toBe('n2')
    router.failed('g1@1', 'n2', 500, 0)
    router.failed('g1@1', 'n3', 500, 0)
    expect(router.target('g1@1')).toBe('n1')
    router.failed('g1@1', 'n1', 500, 500)
    router.failed('g1@1', 'n2', 1499, 0)
    router.failed('g1@1', 'n3', 1499, 0)
    expect(router.target('g1@1')).toBe('n2')
    router.heard('n1')
    router.failed('g1@1', 'n2', 1499, 0)
    router.failed('g1@1', 'n3', 1499, 0)
    expect(router.target('g1@1')).toBe('n1')
  })

  it('tries a node of which another says that it leads, however often it failed, but not at once again', () => {
    const router = newRouter()
    for (const nowMs of [0, 1, 2, 3, 1000]) router.failed('g1@1', 'n1', nowMs, 500)
    expect(router.target('g1@1')).not.toBe('n1')
    expect(router.redirected('g1@1', 'n2', 'n1', 1249)).toBe(false)
    expect(router.redirected('g1@1', 'n2', 'n1', 1250)).toBe(true)
    expect(router.target('g1@1')).toBe('n1')
    router.failed('g1@1', 'n1', 1260, 500)
    expect(router.redirected('g1@1', 'n2', 'n1', 1300)).toBe(false)
    expect(router.redirected('g1@1', 'n2', 'n1', 1510)).toBe(true)
  })

  it('asks avoided nodes too where there is no other', () => {
    const router = newRouter()
    for (const node of ['n1', 'n2', 'n3']) router.failed('g1@1', node, 0, 500)
    expect(router.target('g1@1')).toBe('n1')
  })
})
