import { describe, expect, it } from 'vitest'
import { ConfigState } from '../../controller/config-state.ts'
import {
  type ControllerMembers,
  claimController,
  controllersAfter,
  encodeControllers,
  formedControllers,
} from '../../controller/controller-members.ts'
import { OstrakaError } from '../../proto/errors.ts'
import type { pb } from '../../proto/messages.ts'
import { nonce } from './entries.ts'
import { MemoryDatabase } from './fake-controllers.ts'
import { Lab } from './lab.ts'

/** 'c1#1 c4#4+7': c4 joins under 4, claimed by nonce 7. */
function listOf(text: string): pb.v1.ControllerMember.$Properties[] {
  const members = text.split(' ').map((part) => {
    const [, node = '', replica = '', mark = '', by = ''] = /^(\w+)#(\d+)([+-]?)(\d*)$/.exec(part) ?? []
    const state = mark === '+' ? ('joining' as const) : mark === '-' ? ('leaving' as const) : ('voter' as const)
    return { node, replica: Number(replica), state, nonce: by === '' ? new Uint8Array(0) : nonce(Number(by)) }
  })
  return encodeControllers(members)
}

function changedTo(before: ControllerMembers, list: string): ControllerMembers | string {
  return controllersAfter(before, { base: before.version, members: listOf(list) })
}

function mustBe(outcome: ControllerMembers | string): ControllerMembers {
  if (typeof outcome === 'string') throw new Error(outcome)
  return outcome
}

const begun = mustBe(changedTo(formedControllers, 'c1#1 c2#2- c3#3 c4#4+'))

describe('the list of controllers', () => {
  it.each([
    ['c1#1 c2#2 c3#3 c4#4+', true],
    ['c1#1 c2#2- c3#3 c2#4+', true],
    ['c1#1 c2#2 c3#3 c4#5+', false],
    ['c1#1 c2#2 c3#3 c4#3+', false],
    ['c1#1 c2#2 c3#3 c1#4+', false],
    ['c1#1 c2#2 c3#3 c4#4+9', false],
    ['c1#1- c2#2-', false],
    ['c1#1 #2', false],
  ])('may begin as %s: %s', (list, may) => {
    expect(typeof changedTo(formedControllers, list) !== 'string').toBe(may)
  })

  it.each([
    ['c1#1 c2#2- c3#3 c4#4+7', true],
    ['c1#1 c3#3 c4#4', true],
    ['c1#1 c2#2- c3#3 c4#4- c5#5+', true],
    ['c1#1 c2#2 c3#3 c4#4+', false],
    ['c1#1 c2#2-7 c3#3 c4#4+', false],
    ['c1#1 c3#3 c4#4 c5#6+', false],
    ['c1#1 c3#3 c4#4 c2#2+', false],
  ])('may go on as %s: %s', (list, may) => {
    expect(typeof changedTo(begun, list) !== 'string').toBe(may)
  })

  it('is claimed once, by who comes first', () => {
    const claim = (wanted: ControllerMembers, by: number, node = 'c4', replica = 4) =>
      claimController(wanted, { node, replica, nonce: nonce(by) })
    expect([claim(begun, 7, 'c2', 2), claim(begun, 7, 'c4', 5), claim(begun, 7, 'c5', 4)]).toEqual(['lost', undefined, undefined])
    const change = claim(begun, 7)
    if (typeof change !== 'object') throw new Error('not claimed')
    const claimed = mustBe(controllersAfter(begun, change))
    expect([claim(claimed, 7), claim(claimed, 8)]).toEqual(['claimed', 'lost'])
    expect(changedTo(claimed, 'c1#1 c2#2- c3#3 c4#4+8')).toBe('refused')
    expect(controllersAfter(claimed, change)).toBe('stale')
  })

  it('is kept with the state, and answered again to who asks again', async () => {
    const database = new MemoryDatabase()
    const state = new ConfigState()
    const put = (key: Uint8Array, value: Uint8Array) => records.push([key, value])
    const records: [Uint8Array, Uint8Array][] = []
    const writer = { put, delete: () => {} }
    state.apply({ kind: 'formed', formed: { clusterId: nonce(1), shardCount: 16 } }, writer)
    const guesses = [{ id: 'c4', addresses: [{ name: 'default', address: 'c4:1' }] }]
    const controllers = { base: 0, members: listOf('c1#1 c2#2- c3#3 c4#4+'), guesses, requestId: nonce(5) }
    expect(state.apply({ kind: 'controllers', controllers }, writer).outcome).toBe('applied')
    expect(state.apply({ kind: 'controllers', controllers }, writer).outcome).toBe('repeated')
    const { WriteBatch } = await import('../../lsm/write-batch.ts')
    const batch = new WriteBatch()
    for (const [key, value] of records) batch.put(key, value)
    database.write(batch)
    const loaded = await ConfigState.load(database)
    expect(loaded.controllerMembers).toEqual(state.controllerMembers)
    expect(loaded.controllers.get('c4')?.entry.addresses[0]?.address).toBe('c4:1')
  })
})

describe('commands about controllers', () => {
  const text = (act: () => unknown) => {
    try {
      act()
    } catch (error) {
      if (error instanceof OstrakaError) return error.message
      throw error
    }
    return 'done'
  }

  it('are refused as those about groups are', () => {
    const lab = new Lab()
    lab.join(['g1'])
    lab.dead.add('c3')
    expect(text(() => lab.changeMembers('controller', [], ['c1']))).toBe(
      'controller would have no majority then (not live: c3): start or replace these first',
    )
    expect(text(() => lab.replaceNode('c9', 'c4'))).toContain('no node or controller c9')
    expect(text(() => lab.replaceNode('c3', 'c1'))).toContain('c1 holds a replica of controller already')
    lab.replaceNode('c3', 'c4')
    expect(text(() => lab.replaceNode('c1', 'c5'))).toContain('a change of controller runs (c3 leaves, c4 joins)')
    lab.replaceNode('c4', 'c5')
    const shown = lab.state.controllerMembers.members.map(({ node, replica, state }) => `${node}#${replica} ${state}`)
    expect(shown).toEqual(['c1#1 voter', 'c2#2 voter', 'c3#3 leaving', 'c4#4 leaving', 'c5#5 joining'])
    expect(lab.config.number).toBe(1)
  })
})
