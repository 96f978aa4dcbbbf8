import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { root } from '../../testing/up.ts'
import { parseMutant } from './mutant.ts'

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

  it('is well formed in every file there is', async () => {
    const folder = join(root, 'test/mutants/patches')
    const files = await readdir(folder)
    expect(files.length).toBeGreaterThanOrEqual(1)
    for (const file of files) parseMutant(file, await readFile(join(folder, file), 'utf8'))
  })
})
