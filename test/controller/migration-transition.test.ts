import { describe, expect, it } from 'vitest'
import { type MigrationRecord, newMigration } from '../../controller/migration-record.ts'
import { isWhole, type MigrationEvent, mayFollow, transition } from '../../controller/migration-transition.ts'

const begun = newMigration({ id: 3, shards: [4, 9], from: 'g1@1', to: 'g2@2', startedAtMs: 5, cause: 'join g2', author: 'me' })
const decision = { configNumber: 8, epochs: [2, 3] }
const given = { configNumber: 10, epochs: [3, 4] }
const committed: MigrationRecord = { ...begun, ...decision, phase: 'committed', attempt: 1 }
const ended = { endedAtMs: 9 }

/** One of each state that a migration can be in. */
const states: Readonly<Record<string, MigrationRecord>> = {
  copying: begun,
  paused: { ...begun, paused: true },
  committed,
  orphaned: { ...committed, fromConfirmed: true },
  done: { ...committed, ...ended, phase: 'done' },
  'done, source clean': { ...committed, ...ended, phase: 'done', fromConfirmed: true },
  'done, all clean': { ...committed, ...ended, phase: 'done', fromConfirmed: true, toConfirmed: true },
  aborted: { ...begun, ...ended, phase: 'aborted', reason: 'so' },
  'aborted, target clean': { ...begun, ...ended, phase: 'aborted', reason: 'so', toConfirmed: true },
  'given back': { ...committed, ...given, ...ended, phase: 'given-back' },
}

const events: Readonly<Record<string, MigrationEvent>> = {
  pause: { kind: 'pause', author: 'op', atMs: 4 },
  resume: { kind: 'resume' },
  commit: { kind: 'commit', ...decision, digest: Uint8Array.of(1), attempt: 1, bytesTotal: 7 },
  abort: { kind: 'abort', reason: 'why', atMs: 9 },
  finish: { kind: 'finish', pauseUs: 40, atMs: 9 },
  'give back': { kind: 'give-back', ...given, reason: 'why', atMs: 9 },
  'source clean': { kind: 'confirm', group: 'g1@1' },
  'target clean': { kind: 'confirm', group: 'g2@2' },
  'stranger clean': { kind: 'confirm', group: 'g3@3' },
}

/** State → event → what it becomes; whatever is not here is refused. */
const allowed: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  copying: { pause: 'copying', commit: 'committed', abort: 'aborted' },
  paused: { resume: 'copying', abort: 'aborted' },
  committed: { finish: 'done', 'give back': 'given-back', 'source clean': 'committed' },
  orphaned: { finish: 'done', 'give back': 'given-back' },
  done: { 'source clean': 'done', 'target clean': 'done' },
  'done, source clean': { 'target clean': 'done' },
  'done, all clean': {},
  aborted: { 'source clean': 'aborted', 'target clean': 'aborted' },
  'aborted, target clean': { 'source clean': 'aborted' },
  'given back': { 'source clean': 'given-back', 'target clean': 'given-back' },
}

const pairs = Object.keys(states).flatMap((state) => Object.keys(events).map((event) => [state, event] as const))

describe('a migration', () => {
  it.each(pairs)('that is %s: %s', (state, event) => {
    const before = states[state] as MigrationRecord
    expect(isWhole(before)).toBe(true)
    const after = transition(before, events[event] as MigrationEvent)
    expect(after?.phase).toBe(allowed[state]?.[event])
    if (after !== undefined) expect([mayFollow(before, after), isWhole(after)]).toEqual([true, true])
  })

  it('goes from phase to phase only forward, and never from one end to another', () => {
    const follows = Object.entries(states).flatMap(([from, before]) =>
      Object.entries(states).flatMap(([to, after]) => (from !== to && mayFollow(before, after) ? [`${from} > ${to}`] : [])),
    )
    expect(follows).toEqual([
      'copying > paused',
      'copying > committed',
      'copying > orphaned',
      'copying > aborted',
      'copying > aborted, target clean',
      'paused > copying',
      'paused > aborted',
      'paused > aborted, target clean',
      'committed > orphaned',
      'committed > done',
      'committed > done, source clean',
      'committed > done, all clean',
      'committed > given back',
      'orphaned > done, source clean',
      'orphaned > done, all clean',
      'done > done, source clean',
      'done > done, all clean',
      'done, source clean > done, all clean',
      'aborted > aborted, target clean',
    ])
  })

  it.each([
    ['another id', { id: 4 }],
    ['other shards', { shards: [4, 8] }],
    ['another source', { from: 'g4@4' }],
    ['another target', { to: 'g4@4' }],
    ['another cause', { cause: 'leave g9' }],
    ['another author', { author: 'you' }],
    ['another beginning', { startedAtMs: 6 }],
    ['a decision of fewer epochs', { epochs: [2] }],
    ['no config number', { configNumber: 0 }],
    ['an end', { endedAtMs: 9 }],
    ['a pause', { paused: true }],
  ])('is not committed with %s', (_, spoiled) => {
    expect(mayFollow(begun, committed)).toBe(true)
    expect(mayFollow(begun, { ...committed, ...spoiled })).toBe(false)
  })

  it('is given back only at the next epochs, and its history stays as it was told', () => {
    const back = states['given back'] as MigrationRecord
    expect(mayFollow(committed, { ...back, epochs: [3, 5] })).toBe(false)
    expect(mayFollow(committed, { ...back, configNumber: 8 })).toBe(false)
    const done = states.done as MigrationRecord
    for (const changed of [
      { pauseUs: 1 },
      { reason: 'x' },
      { endedAtMs: 10 },
      { digest: Uint8Array.of(3) },
      { attempt: 2 },
      { epochs: [2, 4] },
    ]) {
      expect(mayFollow(done, { ...done, fromConfirmed: true, ...changed }), Object.keys(changed)[0]).toBe(false)
    }
  })
})
