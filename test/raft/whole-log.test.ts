import { describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import { CorruptionError, NewerFormatError } from '../../base/errors.ts'
import { silentLogger } from '../../base/logger.ts'
import { DataDirectory } from '../../raft/data-directory.ts'
import { SharedLog } from '../../raft/log/shared-log.ts'
import { openWholeLog } from '../../raft/whole-log.ts'
import { changeKind, entryInTheMiddle, entryRecords } from '../sim/log-damage.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'

const groups = ['g1@1', 'g2@2', 'g3@3'] as const
const hardState = { term: 3, vote: 1, commit: 2 }

class Rig {
  readonly world: World
  process: SimProcess
  /** Whose entries were damaged. */
  damaged = ''

  constructor(seed: number) {
    this.world = new World({ seed })
    this.process = new SimProcess(this.world, { name: 'n1', network: new SimNetwork(this.world), disk: { recordTrace: true } })
  }

  open(retires = true): Promise<{ directory: DataDirectory; log: SharedLog }> {
    return this.world.settle(this.begin(retires))
  }

  async begin(retires = true): Promise<{ directory: DataDirectory; log: SharedLog }> {
    const { fileSystem, random } = this.process
    const directory = await DataDirectory.open(fileSystem, random, 'data', 'server', 'n1')
    const open = () => this.#openLog()
    return { directory, log: await openWholeLog({ fileSystem, logger: silentLogger, directory, retires, open }) }
  }

  #openLog(): Promise<SharedLog> {
    const { fileSystem, clock } = this.process
    const onFailure = (error: Error) => {
      if (this.process.alive) this.world.fail(error)
    }
    return SharedLog.open({ fileSystem, clock, logger: silentLogger, folder: 'data/log', segmentBytes: 64 * 1024, onFailure })
  }

  /** Three groups with entries, one of which is then damaged. */
  async damage(what: 'entries' | 'headers'): Promise<void> {
    const file = await this.fill(100)
    const { disk } = this.process
    const { at, group } = entryInTheMiddle(disk.bytesOf(file))
    disk.flip(file, what === 'entries' ? at : 20)
    this.damaged = group
    this.process = this.process.restart()
  }

  /** Three groups with entries, and a kill after `idleMs`: within 20 no mark covers the last of them. Returns the segment. */
  async fill(idleMs: number): Promise<string> {
    const { directory, log } = await this.open()
    for (const [i, uid] of groups.entries()) {
      await this.world.settle(directory.markStarted(uid, i + 1))
      await this.world.settle(this.process.fileSystem.makeFolder(directory.replicaFolder(uid, i + 1)))
    }
    for (const [i, uid] of groups.entries()) {
      const group = log.group({ uid, replica: i + 1 })
      for (let index = 1; index <= 5; index++) {
        const entries = [{ term: 3, index, kind: 0, data: new Uint8Array(100).fill(i) }]
        await this.world.settle(new Promise<void>((resolve) => group.append(entries, hardState, resolve)))
      }
    }
    await this.world.runFor(idleMs)
    this.process.kill()
    return `data/log/${must(this.process.disk.list('data/log')[0], 'a segment')}`
  }

  /** Whom the directory and the log still know. */
  told({ directory, log }: { directory: DataDirectory; log: SharedLog }): { started: string[]; retired: string[]; logs: string[] } {
    return {
      started: directory.started.map(({ group }) => group).sort(),
      retired: directory.retired.map(({ group }) => group).sort(),
      logs: log
        .groups()
        .map(({ uid }) => uid)
        .sort(),
    }
  }

  async reopen(): Promise<{ directory: DataDirectory; log: SharedLog }> {
    if (this.process.alive) this.process.powerLoss()
    this.process = this.process.restart()
    return await this.open()
  }
}

describe('a log that is damaged', () => {
  it('in the entries of one replica: that one is retired, the others have all that they had', async () => {
    const rig = new Rig(1)
    await rig.damage('entries')
    const opened = await rig.open()
    const whole = groups.filter((group) => group !== rig.damaged)
    const told = { started: whole, retired: [rig.damaged], logs: whole }
    expect(rig.told(opened)).toEqual(told)
    expect(opened.directory.retired[0]?.reason).toMatch(/^the log is damaged: data\/log\/\d+\.log at offset \d+: damaged record body/)
    for (const [i, uid] of groups.entries()) {
      if (uid !== rig.damaged) expect(opened.log.group({ uid, replica: i + 1 })).toMatchObject({ lastIndex: 5, hardState })
    }
    expect(rig.told(await rig.reopen())).toEqual(told)
  })

  it('where it is not known whose the damage is: all are retired, and the log begins anew', async () => {
    const rig = new Rig(2)
    await rig.damage('headers')
    const opened = await rig.open()
    const told = { started: [], retired: [...groups], logs: [] }
    expect(rig.told(opened)).toEqual(told)
    await rig.world.settle(new Promise<void>((resolve) => opened.log.group({ uid: 'g1@1', replica: 9 }).append([], hardState, resolve)))
    expect(rig.told(await rig.reopen())).toEqual({ ...told, logs: ['g1@1'] })
  })

  it("is an error where nobody replaces what is lost: a controller's", async () => {
    const rig = new Rig(3)
    await rig.damage('entries')
    await expect(rig.open(false)).rejects.toThrow(CorruptionError)
    await expect(rig.open(false)).rejects.toThrow(/lost acknowledged log entries and must be replaced/)
  })

  it.each(['entries', 'headers'] as const)(
    'in the %s, and the power is lost at any file operation while that is mended: whoever lost something never comes back under its number',
    async (what) => {
      let crashes = 0
      for (let k = 1; ; k++) {
        const rig = new Rig(100 + k)
        await rig.damage(what)
        rig.process.disk.faultAt(rig.process.disk.operations + k, 'crash')
        const { process } = rig
        let done = false
        rig.begin().then(
          () => {
            done = true
          },
          () => undefined,
        )
        await rig.world.runFor(500)
        if (process.alive && done) break
        crashes++
        const lost = what === 'entries' ? [rig.damaged] : [...groups]
        const whole = groups.filter((group) => !lost.includes(group))
        expect(rig.told(await rig.reopen()), `operation ${k}`).toEqual({ started: whole, retired: lost, logs: whole })
      }
      expect(crashes).toBeGreaterThan(5)
    },
  )
})

describe('a log with a record of a kind that this release does not know', () => {
  it.each([
    ['in the middle', 100, 7],
    ['in the middle, with a torn tail', 100, 7],
    ['in the middle, with damage of its group before it', 100, 7],
    ['in the last batch, which no mark covers', 0, 14],
    ['in the last batch, which is torn', 0, 14],
  ])('%s: the start is refused with its place, and nothing is touched', async (what, idleMs, which) => {
    const rig = new Rig(4)
    const file = await rig.fill(idleMs)
    const { disk } = rig.process
    const original = disk.bytesOf(file)
    const bytes = original.slice()
    const records = entryRecords(bytes)
    expect(records).toHaveLength(15)
    const { offset } = must(records[which], 'a record')
    changeKind(bytes, offset, 77)
    if (what.endsWith('torn tail')) bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1
    if (what.endsWith('which is torn')) bytes[bytes.length - 9] = (bytes.at(-9) as number) ^ 1
    if (what.includes('damage')) {
      const earlier = must(records[which - 1], 'a record')
      expect(earlier.group).toBe(records[which]?.group)
      bytes[earlier.offset + 40] = (bytes[earlier.offset + 40] as number) ^ 1
    }
    for (const [i, byte] of bytes.entries()) if (byte !== original[i]) disk.flip(file, i, byte ^ (original[i] as number))
    rig.process = rig.process.restart()
    const before = filesOf(rig)
    const from = disk.trace.length

    const refused = rig.open()
    await expect(refused).rejects.toThrow(NewerFormatError)
    await expect(refused).rejects.toThrow(`${file} at offset ${offset}: a record of kind 77, which this release does not know`)
    expect(filesOf(rig)).toEqual(before)
    expect(disk.trace.slice(from).filter((line) => /^(write|truncate|unlink|rename|link|removeFolder)|create$/.test(line))).toEqual([])
  })

  function filesOf({ process: { disk } }: Rig): Map<string, Uint8Array> {
    return new Map(disk.paths().map((path) => [path, disk.bytesOf(path)]))
  }
})
