import { describe, expect, it } from 'vitest'
import { type Stanza, stanzas } from '../../examples/debian-packages/stanzas.ts'

async function split(text: string): Promise<Stanza[]> {
  async function* lines() {
    yield* text.split('\n')
  }
  const found: Stanza[] = []
  for await (const stanza of stanzas(lines())) found.push(stanza)
  return found
}

describe('stanzas of a package index', () => {
  it('end at an empty line or at the end, and keep every line', async () => {
    const first = 'Package: a\nVersion: 1\nDescription: one\n more of it\n .\n and more\n'
    expect(await split(`${first}\nPackage: b\nVersion: 2\n`)).toEqual([
      { name: 'a', text: first },
      { name: 'b', text: 'Package: b\nVersion: 2\n' },
    ])
    expect(await split('Package: b\nVersion: 2')).toEqual([{ name: 'b', text: 'Package: b\nVersion: 2\n' }])
  })

  it('may be apart by several empty lines, and there may be none', async () => {
    expect((await split('\n\nPackage: a\n\n\n\nPackage: b\n\n')).map(({ name }) => name)).toEqual(['a', 'b'])
    expect(await split('')).toEqual([])
  })

  it('take the name from the field Package alone, wherever it stands', async () => {
    const text = 'Source: z\nPackage-Type: deb\n Package: continued\nPackage:  spaced \nDepends: Package: x\n'
    expect(await split(text)).toEqual([{ name: 'spaced', text }])
  })

  it('without a name are refused, with the number of their first line', async () => {
    await expect(split('Package: a\n\nVersion: 2\nSize: 3\n')).rejects.toThrow('line 3: this stanza has no field "Package"')
    await expect(split('Package: \n')).rejects.toThrow('line 1: ')
  })
})
