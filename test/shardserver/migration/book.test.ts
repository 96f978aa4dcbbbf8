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
