import { isOutOfSpace } from '../base/disk-space.ts'
import { type CompactionPlan, deeperRanges, pickCompaction, planRange, planRewrite } from './compaction-picker.ts'
import type { Engine } from './engine.ts'
import { expiryInput } from './expiry.ts'
import { type CompactionInput, compactionJobName } from './jobs.ts'
import type { KeyRange } from './kind.ts'
import { hullOf, levelCount, rangeOverlaps, type TableMetadata, type WrittenTable } from './table-metadata.ts'
import { tablePath } from './table-writer.ts'
import type { Version } from './version.ts'
import type { VersionEdit } from './version-edit.ts'

/** Runs compactions, one at a time: those that the picker asks for, and those of `compactRange`. */
export class Compactor {
  readonly #engine: Engine
  #turn: Promise<void> = Promise.resolve()
  #automatic = false
  /** What is due finds no room on the disk. */
  #waitsForRoom = false
  #stopped = false

  constructor(engine: Engine) {
    this.#engine = engine
  }

  /** Begins what is due, in the background. */
  maybeStart(): void {
    if (this.#automatic || this.#waitsForRoom || this.#isOver() || this.#pick() === undefined) return
    this.#automatic = true
    void this.#inTurn(() => this.#runAll()).finally(() => {
      this.#automatic = false
      this.maybeStart()
    })
  }

  async #runAll(): Promise<void> {
    for (let plan = this.#pick(); plan !== undefined && !this.#isOver(); plan = this.#pick()) {
      if (!this.#fits(plan)) return this.#waitForRoom()
      try {
        await this.#run(plan)
      } catch (error) {
        // Its outputs are gone again.
        if (this.#engine.options.space === undefined || !isOutOfSpace(error)) throw error
        return this.#waitForRoom()
      }
    }
  }

  /** A compaction can wait: it must not take the room that flushes need. */
  #fits(plan: CompactionPlan): boolean {
    return plan.move || this.#engine.options.space?.fits(inputBytesOf(plan)) !== false
  }

  #waitForRoom(): void {
    const { space } = this.#engine.options
    if (space === undefined) return
    this.#waitsForRoom = true
    const goOn = () => {
      this.#waitsForRoom = false
    }
    space.whenMore().then(() => {
      goOn()
      this.maybeStart()
    }, goOn)
  }

  /**
   * Brings all that overlaps `range` down to the deepest level that holds any of it, and rewrites there what holds tombstones or was clipped.
   * Once `signal` is aborted no further step begins. Rejects where it finds no room; with `space` that is no failure of the database.
   */
  async compactRange(range: KeyRange, signal?: AbortSignal): Promise<void> {
    let withoutRoom: unknown
    await this.#inTurn(async () => {
      try {
        await this.#runRange(range, signal)
      } catch (error) {
        // Its outputs are gone again.
        if (this.#engine.options.space === undefined || !isOutOfSpace(error)) throw error
        withoutRoom = error
      }
    })
    if (this.#engine.failed !== undefined) throw this.#engine.failed
    if (withoutRoom !== undefined) throw withoutRoom
  }

  async #runRange(range: KeyRange, signal: AbortSignal | undefined): Promise<void> {
    const isOver = () => this.#isOver() || signal?.aborted === true
    const engine = this.#engine
    for (let level = 0; level < levelCount - 1; level++) {
      const version = engine.view.version
      const isDeepest = !version.levels.slice(level + 1).some((_, i) => version.overlapping(level + 1 + i, range).length > 0)
      if (level > 0 && isDeepest) break
      const plan = planRange(version, level, range)
      if (plan !== undefined && !isOver()) await this.#run(plan)
    }
    for (let level = levelCount - 1; level > 0; level--) {
      const tables = engine.view.version.overlapping(level, range)
      for (const table of tables) {
        const wants = table.tombstones > 0 || table.clipped
        if (wants && engine.view.version.holds(table.id) && !isOver()) await this.#run(planRewrite(table))
      }
      if (tables.length > 0) break
    }
  }

  /** Begins nothing more; resolves when nothing runs. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#turn
  }

  /** Resolves when nothing is due and nothing runs. */
  async settle(): Promise<void> {
    do await this.#turn
    while (this.#automatic)
  }

  #isOver(): boolean {
    return this.#stopped || this.#engine.failed !== undefined
  }

  #pick(): CompactionPlan | undefined {
    return pickCompaction(this.#engine.view.version, new Set(), this.#engine.options)
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(work).catch((error: unknown) => {
      this.#engine.fail(error)
    })
    this.#turn = done
    return done
  }

  async #run(plan: CompactionPlan): Promise<void> {
    const engine = this.#engine
    const view = engine.view.retain()
    try {
      if (plan.move) await this.#move(plan)
      else await this.#merge(plan, view.version)
    } finally {
      view.release()
    }
  }

  async #move(plan: CompactionPlan): Promise<void> {
    const table = plan.inputs[0]?.[0] as TableMetadata
    const { manifest, counters } = this.#engine
    await this.#install(plan, () => [{ ...table, level: plan.outputLevel, id: manifest.newNumber() }])
    counters.moves++
  }

  async #merge(plan: CompactionPlan, version: Version): Promise<void> {
    const { options, manifest, counters, writerOptions } = this.#engine
    const inputBytes = inputBytesOf(plan)
    // Every table but the last has a quarter of the target size, and entries never grow much by being merged.
    const fileCount = 16 + Math.ceil((8 * inputBytes) / options.targetTableBytes)
    const written = await options.compactionExecutor.run<CompactionInput, WrittenTable[]>(compactionJobName, {
      folder: options.folder,
      inputs: plan.inputs,
      firstFile: manifest.reserveNumbers(fileCount),
      fileCount,
      targetTableBytes: options.targetTableBytes,
      boundaryPrefixBytes: options.boundaryOf === 'none' ? 0 : options.boundaryOf.prefixBytes,
      deeper: deeperRanges(version, plan.outputLevel),
      // Asked in the turn in which the inputs were taken: what comes into tables later is no matter of these horizons.
      expiry: expiryInput(options.expiry, hullOf(plan.inputs.flat())),
      writer: writerOptions,
    })
    if (written.length > 0) await options.fileSystem.syncFolder(options.folder)
    const installed = await this.#install(plan, () =>
      written.map((table) => ({ ...table, id: manifest.newNumber(), level: plan.outputLevel, order: 0, clipped: false })),
    )
    if (!installed) for (const { file } of written) await options.fileSystem.unlink(tablePath(options.folder, file))
    counters.compactions++
    counters.compactedBytes += inputBytes
  }

  /** Puts the result in the place of the inputs, if they are all still there as they were and nothing came between. */
  async #install(plan: CompactionPlan, outputs: () => TableMetadata[]): Promise<boolean> {
    const engine = this.#engine
    const inputs = plan.inputs.flat()
    return await engine.manifest.commit(
      (state): VersionEdit | undefined => {
        const added = outputs()
        if (!inputs.every((table) => state.version.holds(table.id)) || this.#isCrossed(state.version, plan, added)) return undefined
        return { dropped: inputs.map((table) => table.id), added }
      },
      (state) => engine.setView({ version: state.version }),
    )
  }

  /** Whether an output overlaps a table of the output level that is no input: one that was ingested meanwhile. */
  #isCrossed(version: Version, plan: CompactionPlan, outputs: readonly TableMetadata[]): boolean {
    const hull = hullOf(outputs)
    if (hull === undefined) return false
    const inputs = new Set(plan.inputs.flat().map((table) => table.id))
    const others = version.overlapping(plan.outputLevel, hull).filter((table) => !inputs.has(table.id))
    return others.some((other) => outputs.some((table) => rangeOverlaps(other, table.lower, table.upper)))
  }
}

function inputBytesOf(plan: CompactionPlan): number {
  return plan.inputs.flat().reduce((sum, table) => sum + table.size, 0)
}
