import { describe, expect, it } from 'vitest'
import { CorruptionError } from '../../../base/errors.ts'
import { WriteBatch } from '../../../lsm/index.ts'
import type { SimDisk } from '../../sim/sim-disk.ts'
import { environmentOf, onSimulator, openDatabase, simulate } from '../environment.ts'
import { bytes, getText, scan } from '../model.ts'
import { sweepFlippedReads, sweepFlips, sweepMissingFiles, sweepTornManifest } from './damage-sweeps.ts'
import { type Image, imageOptions, install, makeImage, readAll } from './image.ts'
import { describeTally, type Tally } from './tally.ts'

function tell(tally: Tally): void {
  expect(tally.points).toBeGreaterThan(0)
  console.log(`lsm ${describeTally(tally)}`)
}

/** More: `npm run faults`. */
describe.each([true, false])('a database with WAL: %s', (wal) => {
  it.each(['close', 'kill'] as const)('finds out every flipped bit, or it changes nothing, after a %s', async (end) => {
    const tallies = await sweepFlips(wal, end, 30, 9)
    tallies.forEach(tell)
    const kinds = tallies.map(({ name }) => name.split(', ')[1])
    for (const kind of ['data blocks of', 'filter block of', 'index block of', 'properties block of', 'footer of'])
      expect(kinds).toContain(`${kind} a table`)
    for (const kind of ['whole state', 'edit', 'mark']) expect(kinds).toContain(`record '${kind}' of a manifest`)
    const inLogs = wal ? ['start', 'batches', 'mark', ...(end === 'kill' ? ['end'] : [])] : []
    for (const kind of inLogs) expect(kinds).toContain(`record '${kind}' of a log`)
    expect(kinds).toContain('CURRENT')
    // What is not found out must be little: marks, which are only of use, and what a filter says of keys that are not there.
    const sum = (count: (tally: Tally) => number) => tallies.reduce((all, tally) => all + count(tally), 0)
    expect(sum((tally) => tally.failedOpenly)).toBeGreaterThan(5 * sum((tally) => tally.withoutHarm))
  })

  it('finds out every bit that is flipped on its way from the disk', async () => {
    const tally = await sweepFlippedReads(wal, { stride: 1, first: 0 }, 1)
    expect(tally.failedOpenly).toBeGreaterThan(5)
    tell(tally)
  })

  it('passes over a manifest that ends anywhere in its last edit', async () => tell(await sweepTornManifest(wal, { stride: 3, first: 0 })))

  it.each(['close', 'kill'] as const)('misses each file, after a %s', async (end) => tell(await sweepMissingFiles(wal, end)))

  it('takes a table in the place of another for damage, and one that is cut', async () => {
    const { image } = await makeImage(wal)
    const [first, second] = [...image.keys()].filter((path) => path.endsWith('.sst')) as [string, string]
    const cut = await readAll(image, wal, (disk) => disk.cut(first, 100))
    expect(cut).toBeInstanceOf(CorruptionError)
    const swapped = await readAll(image, wal, (disk) => {
      disk.rename(first, `${first}.x`)
      disk.rename(second, first)
      disk.rename(`${first}.x`, second)
    })
    expect(swapped).toBeInstanceOf(CorruptionError)
  })

  it('leaves files and folders alone that are not its own', () =>
    onSimulator(async (environment) => {
      const { fileSystem, folder } = environment
      const db = await openDatabase(environment, { wal })
      await db.write(new WriteBatch().put(bytes('a'), bytes('1')))
      await (wal ? db.flush() : db.seal(bytes('1')))
      await db.close()
      const foreign = [
        '7.sst',
        '000001.sst.bak',
        '000009.ldb',
        'abc.log',
        'MANIFEST-abc',
        'MANIFEST-7',
        'LOCK',
        'LOG',
        '.hidden',
        'CURRENT.tmp.bak',
      ]
      for (const name of foreign) {
        const file = await fileSystem.open(`${folder}/db/${name}`, 'create')
        await file.write([bytes(name)], 0)
        await file.close()
      }
      await fileSystem.makeFolder(`${folder}/db/lost+found`)
      const again = await openDatabase(environment, { wal })
      expect(await scan(again)).toEqual(['a=1'])
      await again.compactRange()
      await again.close()
      expect(await fileSystem.list(`${folder}/db`)).toEqual(expect.arrayContaining([...foreign, 'lost+found']))
    }))
})

/** What each of `keys` gives where a get is the first to meet the damage. A rejection that nobody handles fails the world. */
async function getEach(image: Image, keys: readonly string[], damage: (disk: SimDisk) => void): Promise<(string | undefined | Error)[]> {
  const { world, process, disk } = simulate(1)
  install(disk, image)
  damage(disk)
  const read = async () => {
    const db = await openDatabase(environmentOf(process), { wal: false, ...imageOptions })
    const found: (string | undefined | Error)[] = []
    for (const key of keys) found.push(await getText(db, key).catch((error: Error) => error))
    await db.close()
    return found
  }
  return world.settle(read())
}

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
