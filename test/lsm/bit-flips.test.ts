import { describe, expect, it } from 'vitest'
import { CorruptionError } from '../../base/errors.ts'
import { SeededRandom } from '../../base/random.ts'
import { WriteBatch } from '../../lsm/index.ts'
import type { SimDisk } from '../sim/sim-disk.ts'
import { environmentOf, openDatabase, simulate } from './environment.ts'
import { bytes, getText, scan } from './model.ts'

type Image = ReadonlyMap<string, Uint8Array>

const options = {
  memtableBytes: 65536,
  blockBytes: 200,
  level0CompactionTrigger: 100,
  level0SlowdownTrigger: 101,
  level0StopTrigger: 102,
} as const

/** A database that was closed or whose process was killed, with three tables, some of it in the log where there is one; and what it holds. */
async function makeImage(wal: boolean, end: 'close' | 'kill' = 'close'): Promise<{ image: Image; records: string[] }> {
  const { world, process, disk } = simulate(1)
  const records = await world.settle(
    (async () => {
      const db = await openDatabase(environmentOf(process), { wal, ...options })
      for (let round = 0; round < 4; round++) {
        for (let i = 0; i < 12; i++) {
          const batch = new WriteBatch().put(bytes(`key${(i * 5 + round) % 30}`), bytes(`value ${round} ${i}`))
          if (i === 7) batch.delete(bytes(`key${round}`))
          await db.write(batch)
        }
        if (!wal) await db.seal(bytes(`mark${round}`))
        else if (round < 3) await db.flush()
      }
      const found = await scan(db)
      if (end === 'close') await db.close()
      return found
    })(),
  )
  // What is acknowledged is guarded a moment later, also where nobody closes.
  await world.runFor(10)
  process.kill()
  return { image: new Map(disk.paths().map((path) => [path, disk.bytesOf(path)])), records }
}

function install(disk: SimDisk, image: Image): void {
  for (const [path, content] of image) {
    disk.makeFolder(path.slice(0, path.lastIndexOf('/')))
    const file = disk.openFile(path, 'create')
    file.write(content, 0)
    file.endSync(file.beginSync())
  }
}

/** What each of `keys` gives where a get is the first to meet the damage. A rejection that nobody handles fails the world. */
async function getEach(image: Image, keys: readonly string[], damage: (disk: SimDisk) => void): Promise<(string | undefined | Error)[]> {
  const { world, process, disk } = simulate(1)
  install(disk, image)
  damage(disk)
  const read = async () => {
    const db = await openDatabase(environmentOf(process), { wal: false, ...options })
    const found: (string | undefined | Error)[] = []
    for (const key of keys) found.push(await getText(db, key).catch((error: Error) => error))
    await db.close()
    return found
  }
  return world.settle(read())
}

/** What a damaged image gives: its records, or the error that it was met with. */
async function readAll(image: Image, wal: boolean, damage: (disk: SimDisk) => void): Promise<string[] | Error> {
  const { world, process, disk } = simulate(1)
  install(disk, image)
  damage(disk)
  const read = async () => {
    const db = await openDatabase(environmentOf(process), { wal, ...options })
    const records = await scan(db)
    expect(await scan(db, undefined, undefined, true)).toEqual([...records].reverse())
    for (const record of records) {
      const [key, value] = record.split('=') as [string, string]
      expect(await getText(db, key)).toBe(value)
    }
    await db.close()
    return records
  }
  return world.settle(read().catch((error: Error) => error))
}

describe.each([true, false])('one flipped bit in a database with WAL: %s', (wal) => {
  const kinds: [string, RegExp][] = [
    ['table', /\.sst$/],
    ['manifest', /MANIFEST-\d+$/],
    ['log', /\.log$/],
    ['CURRENT', /CURRENT$/],
  ]
  const cases = kinds
    .filter(([kind]) => wal || kind !== 'log')
    .flatMap(([kind, pattern]) => [[kind, 'close', pattern] as const, [kind, 'kill', pattern] as const])
  it.each(cases)('of a %s is found out or changes nothing, after a %s', async (_kind, end, pattern) => {
    const { image, records } = await makeImage(wal, end)
    const random = new SeededRandom(9)
    const paths = [...image.keys()].filter((path) => pattern.test(path))
    expect(paths.length).toBeGreaterThan(0)
    let found = 0
    let harmless = 0
    for (const path of paths) {
      const { length } = image.get(path) as Uint8Array
      const stride = Math.max(1, Math.floor((length * paths.length) / 120))
      for (let position = random.below(stride); position < length; position += stride) {
        const mask = 1 << random.below(8)
        const result = await readAll(image, wal, (disk) => disk.flip(path, position, mask))
        if (result instanceof Error) {
          expect(result, `${path} at ${position}`).toBeInstanceOf(CorruptionError)
          expect((result as CorruptionError).file).toBe(path)
          found++
        } else {
          expect(result, `${path} at ${position}, mask ${mask}`).toEqual(records)
          harmless++
        }
      }
    }
    expect(found).toBeGreaterThan(harmless)
    console.log(
      `lsm bit flips after a ${end}, ${pattern}, WAL ${wal}: ${found + harmless} tried, ${found} found out, ${harmless} without effect, 0 wrong`,
    )
  })

  it('is met with the truth of the other tables, not with silence: a table that is missing, cut or another one', async () => {
    const { image } = await makeImage(wal)
    const tables = [...image.keys()].filter((path) => path.endsWith('.sst'))
    const [first, second] = tables as [string, string]
    const damages: [string, (disk: SimDisk) => void][] = [
      ['missing', (disk) => disk.unlink(first)],
      ['cut', (disk) => disk.cut(first, 100)],
      ['empty', (disk) => disk.cut(first, 0)],
      [
        'swapped',
        (disk) => {
          disk.rename(first, `${first}.x`)
          disk.rename(second, first)
          disk.rename(`${first}.x`, second)
        },
      ],
      ['no CURRENT', (disk) => disk.unlink('data/db/CURRENT')],
      ['no manifest', (disk) => disk.unlink([...image.keys()].find((path) => path.includes('MANIFEST')) as string)],
    ]
    for (const [what, damage] of damages) {
      const result = await readAll(image, wal, damage)
      expect(result, what).toBeInstanceOf(CorruptionError)
    }
  })
})

it('one flipped bit in a table fails the gets that need the table, and nothing else', async () => {
  const { image, records } = await makeImage(false)
  const pairs = records.map((record) => record.split('=') as [string, string])
  const keys = pairs.map(([key]) => key)
  let found = 0
  for (const path of [...image.keys()].filter((name) => name.endsWith('.sst'))) {
    const { length } = image.get(path) as Uint8Array
    // The footer, which an open meets; and a data block, which a get meets in an open table.
    for (const position of [length - 1, 0]) {
      const results = await getEach(image, keys, (disk) => disk.flip(path, position))
      results.forEach((result, i) => {
        if (!(result instanceof Error)) expect(result, `${path} at ${position}`).toBe(pairs[i]?.[1])
        else {
          expect(result).toBeInstanceOf(CorruptionError)
          expect((result as CorruptionError).file).toBe(path)
          found++
        }
      })
    }
  }
  expect(found).toBeGreaterThan(0)
})
