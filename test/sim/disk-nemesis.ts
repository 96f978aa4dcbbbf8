/** The nemesis of disks and clocks: what it does to them, and how that is mended. When, and to whom, is drawn by the nemesis that it is a part of. */
import type { SeededRandom } from '../../base/random.ts'
import type { FaultKind } from './fault-menu.ts'
import { isTakenForTorn } from './log-damage.ts'
import type { SimDisk } from './sim-disk.ts'
import type { World } from './world.ts'

/** One fault, all of it drawn. */
export interface Fault {
  readonly id: string
  readonly kind: FaultKind
  readonly random: SeededRandom
  readonly victim: string
  readonly durationMs: number
}

/** Machines whose disks may be damaged. */
export interface DamageTarget {
  disk(name: string): SimDisk
  /** Its wall clock is set forward or back. */
  jumpWall(name: string, byMs: number): void
  /** Whether one more damaged machine leaves a good majority of everything. */
  mayDamage(name: string): boolean
  /** `lies`: syncs are answered and not done from now on. */
  damaged(name: string, what: string, lies?: boolean): void
  /** Power loss, and an empty disk when it comes back. */
  wipe(name: string): void
}

/** What is asked of the nemesis. */
export interface NemesisHost {
  /** False: nothing more is broken. */
  readonly isRunning: boolean
  /** Unless it is stopped by then. */
  later(what: string, delayMs: number, action: () => void): void
  /** kill -9, if it lives; it comes back after a while. */
  kill(name: string, random: SeededRandom): void
  reviveLater(name: string, random: SeededRandom): void
}

const slowDiskMsMax = 1000
const stallMsMax = 3000
const rottenBytesMax = 16
const blockBytes = 4096
/** A file that is cut loses as much at most, in half of the cases. */
const shortCutBytesMax = 8192
/** A stale read is looked for behind fewer than so many others: the log is read more than once at a start. */
const staleReadsPassedMax = 3
const strobeMsMin = 1
const strobeMsMax = 20
const strobeJumpMsMax = 600_000

export class DiskNemesis {
  readonly #world: World
  readonly #target: DamageTarget
  readonly #host: NemesisHost

  constructor(world: World, target: DamageTarget, host: NemesisHost) {
    this.#world = world
    this.#target = target
    this.#host = host
  }

  /** What was done, for people; undefined: nothing, it makes no sense now. */
  do(fault: Fault): string | undefined {
    const { kind, random, victim, durationMs } = fault
    const disk = this.#target.disk(victim)
    switch (kind) {
      case 'slow-disk': {
        const most = random.next() ** 3 * slowDiskMsMax
        disk.slowness = () => random.next() * most
        this.#host.later('disk is fast', durationMs, () => {
          disk.slowness = undefined
        })
        return `the disk of ${victim} takes up to ${Math.round(most)} ms more for each operation, for ${Math.round(durationMs)} ms`
      }
      case 'disk-stall': {
        const endMs = this.#world.nowMs + random.next() * stallMsMax
        disk.slowness = () => Math.max(0, endMs - this.#world.nowMs)
        this.#host.later('disk goes on', endMs - this.#world.nowMs, () => {
          disk.slowness = undefined
        })
        return `the disk of ${victim} stands still for ${Math.round(endMs - this.#world.nowMs)} ms`
      }
      case 'sync-fails':
        disk.failNext('sync', 'EIO')
        return `the next fsync of ${victim} fails`
      case 'folder-sync-fails':
        disk.failNext('syncFolder', 'EIO')
        return `the next fsync of a folder of ${victim} fails`
      case 'read-fails':
        return this.#failReads(fault, disk)
      case 'disk-full':
        disk.quotaBytes = disk.usedBytes() + random.below(64 * 1024)
        this.#host.later('disk has room', durationMs, () => {
          disk.quotaBytes = Number.POSITIVE_INFINITY
        })
        return `the disk of ${victim} is full for ${Math.round(durationMs)} ms`
      case 'wall-jump': {
        const byMs = (random.next() - 0.5) * 7_200_000
        this.#target.jumpWall(victim, byMs)
        return `the wall clock of ${victim} jumps by ${Math.round(byMs / 1000)} s`
      }
      case 'wall-strobe': {
        const byMs = Math.ceil(random.next() ** 3 * strobeJumpMsMax) * (random.next() < 0.5 ? 1 : -1)
        const everyMs = strobeMsMin + random.next() * (strobeMsMax - strobeMsMin)
        this.#strobe(victim, byMs, everyMs, this.#world.nowMs + durationMs)
        return `the wall clock of ${victim} jumps by ${byMs} ms and back every ${everyMs.toFixed(1)} ms, for ${Math.round(durationMs)} ms`
      }
      default:
        return this.#target.mayDamage(victim) ? this.#destroy(fault) : undefined
    }
  }

  #failReads({ random, victim, durationMs }: Fault, disk: SimDisk): string {
    if (random.next() < 0.5) {
      disk.failsRead = () => {
        disk.failsRead = undefined
        return true
      }
      return `the next read of ${victim} fails`
    }
    const share = random.next()
    const fails = () => random.next() < share
    disk.failsRead = fails
    this.#host.later('disk reads', durationMs, () => {
      if (disk.failsRead === fails) disk.failsRead = undefined
    })
    return `${Math.round(100 * share)} % of the reads of ${victim} fail, for ${Math.round(durationMs)} ms`
  }

  /** There and back again; it ends where it began, but where the process was another in between. */
  #strobe(victim: string, byMs: number, everyMs: number, untilMs: number): void {
    const isLast = !this.#host.isRunning || this.#world.nowMs >= untilMs
    this.#target.jumpWall(victim, byMs)
    this.#world.schedule(everyMs, undefined, 'strobe', () => {
      this.#target.jumpWall(victim, -byMs)
      if (isLast) return
      this.#world.schedule(everyMs, undefined, 'strobe', () => this.#strobe(victim, byMs, everyMs, untilMs))
    })
  }

  /** For good. */
  #destroy({ kind, random, victim, durationMs }: Fault): string | undefined {
    const disk = this.#target.disk(victim)
    switch (kind) {
      case 'bit-rot': {
        const files = disk.paths().filter((path) => disk.bytesOf(path).length > 0)
        const path = files[random.below(Math.max(1, files.length))]
        if (path === undefined) return undefined
        const { length } = disk.bytesOf(path)
        const count = 1 + random.below(rottenBytesMax)
        for (let i = 0; i < count; i++) disk.flip(path, random.below(length), 1 << random.below(8))
        this.#target.damaged(victim, `${path} has rotted`)
        return `${count} bits of ${path} of ${victim} flip`
      }
      case 'misdirected-write':
        disk.misdirectNextWrite = (position, fileLength) => {
          const blocks = Math.floor(fileLength / blockBytes)
          const other = random.below(blocks + 1) * blockBytes
          // Only now is something wrong with it.
          this.#target.damaged(victim, 'a write went astray')
          return other === position ? position + blockBytes : other
        }
        this.#target.damaged(victim, 'a write will go astray')
        return `the next write of ${victim} lands elsewhere in its file`
      case 'stale-read':
        return this.#readStale(random, victim)
      case 'truncation':
        return this.#truncate(random, victim)
      case 'lying-sync':
        disk.lyingSync = true
        this.#target.damaged(victim, 'the disk lies', true)
        this.#host.later('the lie is found out', durationMs, () => this.#target.wipe(victim))
        return `the disk of ${victim} answers syncs and does nothing, for ${Math.round(durationMs)} ms; then it is lost`
      default:
        this.#target.wipe(victim)
        this.#host.reviveLater(victim, random)
        return `${victim} loses power and its disk`
    }
  }

  /**
   * The machine is killed, and when it comes back one block of its log, or of a manifest, reads as it was before it was last written: nothing else is
   * overwritten, or appended to, and read again.
   */
  #readStale(random: SeededRandom, victim: string): string {
    const disk = this.#target.disk(victim)
    const part = random.next() < 0.75 ? '/log/' : '/MANIFEST'
    let left = random.below(staleReadsPassedMax)
    const picksLast = random.next() < 0.5
    const pick = random.next()
    this.#host.kill(victim, random)
    disk.staleNextRead = (path, overwritten) => {
      if (!path.includes(part) || left-- > 0) return undefined
      const stale = overwritten[picksLast ? overwritten.length - 1 : Math.floor(pick * overwritten.length)]
      if (stale === undefined) return undefined
      const { block, from } = stale
      const isLoss = isTakenForTorn(disk, path, from, (block + 1) * blockBytes)
      this.#target.damaged(
        victim,
        `block ${block} of ${path} reads as it was before it was last written${isLoss ? ', which nothing tells' : ''}`,
      )
      if (isLoss) this.#lose(victim, random)
      return block
    }
    this.#target.damaged(victim, 'a read will be stale')
    return `${victim} is killed, and a block of its ${part === '/log/' ? 'log' : 'manifests'} will read as it was before it was last written`
  }

  /** The machine is killed, and the end of a file is gone when it comes back. */
  #truncate(random: SeededRandom, victim: string): string {
    this.#host.kill(victim, random)
    const disk = this.#target.disk(victim)
    const files = disk.paths().filter((path) => disk.bytesOf(path).length > 0)
    const path = files[random.below(Math.max(1, files.length))]
    const isShort = random.next() < 0.5
    const share = random.next()
    if (path === undefined) return `${victim} is killed: it has no file to be cut`
    const { length } = disk.bytesOf(path)
    const lost = 1 + Math.floor(share * (isShort ? Math.min(length, shortCutBytesMax) : length))
    const isLoss = isTakenForTorn(disk, path, length - lost, length)
    disk.cut(path, length - lost)
    this.#target.damaged(victim, `the last ${lost} bytes of ${path} are gone${isLoss ? ', which nothing tells' : ''}`)
    if (isLoss) this.#lose(victim, random)
    return `${victim} is killed, and ${path} loses its last ${lost} of ${length} bytes${isLoss ? '; that is the loss of its disk' : ''}`
  }

  /**
   * What is gone of the end of a log cannot be told from what was never written, where it was the only copy of the word that it was acknowledged: no
   * checksum helps. So it is as if the disk were lost, before the process can act on it.
   */
  #lose(victim: string, random: SeededRandom): void {
    this.#world.schedule(0, undefined, 'the end of a log is lost', () => {
      this.#target.wipe(victim)
      this.#host.reviveLater(victim, random)
    })
  }

  /** What passes. */
  mend(name: string): void {
    const disk = this.#target.disk(name)
    disk.slowness = undefined
    disk.quotaBytes = Number.POSITIVE_INFINITY
    disk.disarm()
  }

  /** What would destroy more for good. */
  end(name: string): void {
    const disk = this.#target.disk(name)
    disk.misdirectNextWrite = undefined
    disk.staleNextRead = undefined
    if (disk.lyingSync) this.#target.wipe(name)
  }
}
