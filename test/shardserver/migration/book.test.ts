import { expect, it } from 'vitest'
import type { Migration } from '../../../proto/migration.ts'
import { MigrationBook } from '../../../shardserver/migration/book.ts'
import { TestClock } from '../builders.ts'

const copying = { phase: 'copying' as const, paused: false, configNumber: 0, epochs: [], fromConfirmed: false, toConfirmed: false }
const move = (id: number, from: string, to: string): Migration => ({ ...copying, id, shards: [id], from, to })

it('the book gives a group its own migrations, and looks at the others once for each list', () => {
  let looks = 0
  const others = Array.from({ length: 1000 }, (_, at) => ({
    ...move(10 + at, 'g3', 'g4'),
    get from() {
      looks++
      return 'g3'
    },
  }))
  let list = { version: 1, migrations: [move(1, 'g1', 'g2'), move(2, 'g2', 'g3'), ...others], births: [] }
  const book = new MigrationBook({ clock: new TestClock(), list: () => list })
  const idsOf = (group: string) => book.of(group).map(({ id }) => id)
  for (let i = 0; i < 100; i++) expect([idsOf('g1'), idsOf('g2'), idsOf('g5')]).toEqual([[1], [1, 2], []])
  expect(looks).toBe(1000)
  book.hear({ ...move(1, 'g1', 'g2'), phase: 'committed' })
  expect(book.of('g2').map(({ phase }) => phase)).toEqual(['committed', 'copying'])
  list = { version: 2, migrations: [move(2, 'g2', 'g3')], births: [] }
  expect([idsOf('g1'), idsOf('g2'), idsOf('g3')]).toEqual([[], [2], [2]])
})

it('the book knows which group serves a shard that was committed to another, until it has given it away or was given up', () => {
  const decided = { ...move(1, 'g1', 'g2'), phase: 'committed' as const, shards: [1, 2] }
  const bookOf = (...migrations: Migration[]) =>
    new MigrationBook({ clock: new TestClock(), list: () => ({ version: 1, migrations, births: [] }) })
  const book = bookOf(decided, move(3, 'g1', 'g2'))
  expect([1, 2, 3].map((shard) => book.sourceOf('g2', shard))).toEqual(['g1', 'g1', undefined])
  expect(book.sourceOf('g1', 1)).toBeUndefined()
  expect(bookOf({ ...decided, fromConfirmed: true }).sourceOf('g2', 1)).toBeUndefined()
  book.hear({ ...decided, phase: 'done' })
  expect(book.sourceOf('g2', 1)).toBeUndefined()
})
