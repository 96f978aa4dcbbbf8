import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { root } from '../../testing/up.ts'
import { parseMutant } from './mutant.ts'
import { renderTable, withTable } from './table.ts'

const diff = 'diff --git a/x.ts b/x.ts\n--- a/x.ts\n+++ b/x.ts\n@@ -1 +1 @@\n-a\n+b\n'

describe('a mutant', () => {
  it('says what it breaks and what must catch it', () => {
    const content = `Title: a break\nClass: Raft 5.4\nCaught-by: test test/a.test.ts\nCaught-by: sim --scenario map --seeds 20\n\n${diff}`
    expect(parseMutant('x', content)).toEqual({
      name: 'x',
      title: 'a break',
      bugClass: 'Raft 5.4',
      checks: [
        { kind: 'test', files: ['test/a.test.ts'] },
        { kind: 'sim', options: ['--scenario', 'map', '--seeds', '20'] },
      ],
      patch: content,
    })
  })

  it.each([
    ['no patch', 'Title: a\nClass: b\nCaught-by: test c\n'],
    ['no title', `Class: b\nCaught-by: test c\n\n${diff}`],
    ['nothing that catches it', `Title: a\nClass: b\n\n${diff}`],
    ['a check of no known kind', `Title: a\nClass: b\nCaught-by: luck\n\n${diff}`],
    ['a simulation without an end', `Title: a\nClass: b\nCaught-by: sim --scenario map\n\n${diff}`],
    ['a line that is no field', `Title: a\nClas: b\nCaught-by: test c\n\n${diff}`],
  ])('is refused with %s', (_, content) => {
    expect(() => parseMutant('x', content)).toThrow(/^x: /)
  })

  it('is well formed in every file there is; together they are of all known classes of bugs', async () => {
    const folder = join(root, 'test/mutants/patches')
    const files = await readdir(folder)
    expect(files.length).toBeGreaterThanOrEqual(20)
    const mutants = await Promise.all(files.map(async (file) => parseMutant(file, await readFile(join(folder, file), 'utf8'))))
    const classes = new Set(mutants.map(({ bugClass }) => Number.parseInt(bugClass, 10)))
    for (let number = 1; number <= 18; number++) expect(classes, `class ${number}`).toContain(number)
  })
})

describe('the table', () => {
  const head = 'Title: a break\nClass: a | b\nCaught-by: test test/a.test.ts\nCaught-by: sim --scenario map --seeds 20\n\n'
  const mutant = parseMutant('x', head + diff)

  it('says what caught a break, and how many seeds it took', () => {
    const caught = [
      { result: 'failed', by: '`test/a.test.ts`: is right' },
      { result: 'failed', by: 'two leaders', seeds: 3 },
    ] as const
    expect(renderTable([{ mutant, caught, escaped: undefined }]).split('\n')).toEqual([
      '| break | class | caught by | seeds |',
      '|---|---|---|---|',
      '| a break | a \\| b | `test/a.test.ts`: is right; `sim --scenario map --seeds 20`: two leaders | 3 |',
    ])
    expect(renderTable([{ mutant, caught: [], escaped: 'it passed' }])).toContain('**not caught**: it passed')
  })

  it('has its place in docs/testing.md, where it goes in the place of the one before', async () => {
    const document = await readFile(join(root, 'docs/testing.md'), 'utf8')
    const once = withTable(document, 'a table')
    expect(once).toContain('a table')
    expect(withTable(once, 'another')).toBe(withTable(document, 'another'))
    expect(() => withTable('# no place', 'a table')).toThrow(/there is no/)
  })
})
