import { isOutOfSpace } from '../base/disk-space.ts'
import { CompactionPace } from './compaction-pace.ts'
import {
  type CompactionPlan,
  olderRanges,
  orderOf,
  pickCompaction,
  pickReclaim,
  planRewrite,
  planTables,
  scores,
} from './compaction-picker.ts'
import type { Engine } from './engine.ts'
import { expiryInput } from './expiry.ts'
import { type CompactionInput, compactionJobName } from './jobs.ts'
import type { KeyRange } from './kind.ts'
import { LiveBytes } from './live-bytes.ts'
import { removeUnused } from './remove-unused.ts'
import { hullOf, levelCount, rangeOverlaps, type TableMetadata, type WrittenTable } from './table-metadata.ts'
import { tablePath } from './table-writer.ts'
import type { Version } from './version.ts'
import type { VersionEdit } from './version-edit.ts'

/** How many tables of the target size one step of a `compactRange` takes out of a level; below them lie some ten times as many. */
const stepTables = 16

/**
 * Runs compactions: those that the picker asks for, up to `maxCompactions` at once that share no table, and those of `compactRange`, alone.
 */
export class Compactor {
  readonly #engine: Engine
  readonly #pace: CompactionPace
  /** By what they have begun with. */
  readonly #running = new Map<Promise<void>, CompactionPlan>()
  /** Ids of the tables that running compactions read. */
  readonly #busy = new Set<number>()
  /** What the picker asks for must wait: a `compactRange` is at the front. */
  #isForRange = false
  /** The last `compactRange`. */
  #ranges: Promise<void> = Promise.resolve()
  readonly #live: LiveBytes
  #measuring: Promise<void> | undefined
  /** What is due finds no room on the disk. */
  #waitsForRoom = false
  #stopped = false

  constructor(engine: Engine) {
    this.#engine = engine
    this.#pace = new CompactionPace(engine.options.compactionBytesPerSecond)
    this.#live = new LiveBytes(engine)
  }

  /** Begins what is due, in the background. */
  maybeStart(): void {
    const { options } = this.#engine
    while (!this.#waitsForRoom && !this.#isForRange && !this.#isOver() && this.#running.size < options.maxCompactions) {
      const plan = this.#pick()
      if (plan === undefined) break
      if (!this.#fits(plan)) {
        // The end of one that runs comes here again.
        if (this.#running.size === 0) this.#waitForRoom()
        break
      }
      this.#start(plan)
    }
    this.#setPace()
    this.#measure()
  }

  /** To give space back is for when nothing else is due: it must not take tables for which something more pressing waits. */
  #pick(): CompactionPlan | undefined {
    const { options, view } = this.#engine
    const isPressed = scores(view.version, options).some((score) => score >= 1)
    if (isPressed) return pickCompaction(view.version, this.#busy, options)
    return pickReclaim(view.version, this.#busy, this.#live.known)
  }

  /** Finds out, in the background, whether a table that was clipped is worth rewriting. */
  #measure(): void {
    if (this.#measuring !== undefined || this.#isOver() || !this.#live.isBehind) return
    this.#measuring = this.#live.measure().finally(() => {
      this.#measuring = undefined
      this.maybeStart()
    })
  }

  #start(plan: CompactionPlan): void {
    const ids = plan.inputs.flat().map(({ id }) => id)
    for (const id of ids) this.#busy.add(id)
    const running: Promise<void> = this.#run(plan)
      .then(() => undefined)
      .catch((error: unknown) => {
        // Where there is no room its outputs are gone again.
        if (this.#engine.options.space !== undefined && isOutOfSpace(error)) this.#waitForRoom()
        else this.#engine.fail(error)
      })
      .finally(() => {
        for (const id of ids) this.#busy.delete(id)
        this.#running.delete(running)
        this.maybeStart()
      })
    this.#running.set(running, plan)
  }

  /** The rate is for work that can wait: writers wait for level 0, a caller for its range, and whoever closes for all. */
  #setPace(): void {
    const { options, view } = this.#engine
    if (options.compactionBytesPerSecond === Number.POSITIVE_INFINITY) return
    const plans = [...this.#running.values()].filter(({ move }) => !move)
    const isAwaited = this.#isOver() || this.#isForRange || (scores(view.version, options)[0] ?? 0) >= 1
    this.#pace.set(isAwaited ? 0 : plans.length)
  }

  /** A compaction can wait: it must not take the room that flushes need. */
  #fits(plan: CompactionPlan): boolean {
    if (plan.move) return true
    let bytes = inputBytesOf(plan)
    for (const other of this.#running.values()) if (!other.move) bytes += inputBytesOf(other)
    return this.#engine.options.space?.fits(bytes) !== false
  }

  #waitForRoom(): void {
    const { space } = this.#engine.options
    if (space === undefined || this.#waitsForRoom) return
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
   * Brings all that overlaps `range` down to the deepest level that holds any of it, and rewrites there what holds tombstones, was clipped, or may have expired.
   * Once `signal` is aborted no further step begins. Rejects where it finds no room; with `space` that is no failure of the database.
   */
  async compactRange(range: KeyRange, signal?: AbortSignal): Promise<void> {
    const engine = this.#engine
    let withoutRoom: unknown
    this.#ranges = this.#ranges
      .then(async () => {
        if (signal?.aborted) return
        this.#isForRange = true
        this.#setPace()
        await this.#idle()
        await this.#runRange(range, signal)
      })
      .catch((error: unknown) => {
        // Its outputs are gone again.
        if (engine.options.space !== undefined && isOutOfSpace(error)) withoutRoom = error
        else engine.fail(error)
      })
      .finally(() => {
        this.#isForRange = false
        this.maybeStart()
      })
    await this.#ranges
    if (engine.failed !== undefined) throw engine.failed
    if (withoutRoom !== undefined) throw withoutRoom
  }

  async #runRange(range: KeyRange, signal: AbortSignal | undefined): Promise<void> {
    const isOver = () => this.#isOver() || signal?.aborted === true
    const engine = this.#engine
    for (let level = 0; level < levelCount - 1; level++) {
      const version = engine.view.version
      const isDeepest = !version.levels.slice(level + 1).some((_, i) => version.overlapping(level + 1 + i, range).length > 0)
      if (level > 0 && isDeepest) break
      await this.#bringDown(level, range, isOver)
    }
    for (let level = levelCount - 1; level > 0; level--) {
      const tables = engine.view.version.overlapping(level, range)
      for (const table of tables) {
        const wants = table.tombstones > 0 || table.clipped || expiryInput(engine.options.expiry, table) !== undefined
        if (wants && engine.view.version.holds(table.id) && !isOver()) await this.#run(planRewrite(table))
        await this.#relieveLevel0(isOver)
      }
      if (tables.length > 0) break
    }
  }

  /** Brings what overlaps `range` now one level down, in steps that hold no more than some hundred files open. */
  async #bringDown(level: number, range: KeyRange, isOver: () => boolean): Promise<void> {
    const engine = this.#engine
    const mostBytes = stepTables * engine.options.targetTableBytes
    const left = new Set(engine.view.version.overlapping(level, range).map(({ id }) => id))
    const next = () => {
      const { version } = engine.view
      return planTables(
        version,
        level,
        version.overlapping(level, range).filter(({ id }) => left.has(id)),
        mostBytes,
      )
    }
    for (let plan = next(); plan !== undefined && !isOver(); plan = next()) {
      // Once more where something came between its tables meanwhile.
      const isDone = await this.#run(plan)
      const again = isDone || isOver() ? undefined : next()
      if (again !== undefined) await this.#run(again)
      for (const { id } of level === 0 ? plan.inputs.flat() : (plan.inputs[0] ?? [])) left.delete(id)
      await this.#relieveLevel0(isOver)
    }
  }

  /** Between two steps for a range: writers wait for level 0. */
  async #relieveLevel0(isOver: () => boolean): Promise<void> {
    const { options, view } = this.#engine
    if (isOver() || (scores(view.version, options)[0] ?? 0) < 1) return
    const plan = planTables(view.version, 0, view.version.levels[0] ?? [], Number.POSITIVE_INFINITY)
    if (plan !== undefined) await this.#run(plan)
  }

  /** Begins nothing more; resolves when nothing runs, and what runs goes as fast as it can. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#setPace()
    await this.settle()
  }

  /** Resolves when nothing is due and nothing runs. */
  async settle(): Promise<void> {
    let last: Promise<void>
    do {
      last = this.#ranges
      await last
      await this.#idle()
    } while (last !== this.#ranges)
  }

  /** Resolves when nothing of the picker's runs. */
  async #idle(): Promise<void> {
    while (this.#running.size > 0 || this.#measuring !== undefined) await Promise.all([...this.#running.keys(), this.#measuring])
  }

  #isOver(): boolean {
    return this.#stopped || this.#engine.closed || this.#engine.failed !== undefined
  }

  /** False: something came between its tables meanwhile, and nothing has changed. */
  async #run(plan: CompactionPlan): Promise<boolean> {
    if (plan.move) return this.#move(plan)
    // Only what it reads is kept for it: a view would keep memtables, too.
    const { view, store } = this.#engine
    const inputs = plan.inputs.flat()
    store.use(inputs)
    try {
      return await this.#merge(plan, view.version)
    } finally {
      store.release(inputs)
    }
  }

  async #move(plan: CompactionPlan): Promise<boolean> {
    const table = plan.inputs[0]?.[0] as TableMetadata
    const { manifest, counters } = this.#engine
    const installed = await this.#install(plan, () => [{ ...table, level: plan.outputLevel, id: manifest.newNumber() }])
    counters.moves++
    return installed
  }

  async #merge(plan: CompactionPlan, version: Version): Promise<boolean> {
    const { options, manifest, counters, writerOptions } = this.#engine
    const inputBytes = inputBytesOf(plan)
    // Every table but the last has a quarter of the target size. Entries grow where they were compressed: the job makes larger tables before numbers run out.
    const fileCount = 16 + Math.ceil((8 * inputBytes) / options.targetTableBytes)
    const written = await options.compactionExecutor.run<CompactionInput, WrittenTable[]>(compactionJobName, {
      folder: options.folder,
      outputFolder: options.folder,
      inputs: plan.inputs,
      firstFile: manifest.reserveNumbers(fileCount),
      fileCount,
      // In level 0 one table stays one: their number is what calls for compactions, and slows writers.
      targetTableBytes: plan.outputLevel === 0 ? Number.POSITIVE_INFINITY : options.targetTableBytes,
      boundaryPrefixBytes: options.boundaryOf === 'none' || plan.outputLevel === 0 ? 0 : options.boundaryOf.prefixBytes,
      deeper: olderRanges(version, plan),
      pace: this.#pace.cell,
      // Asked in the turn in which the inputs were taken: what comes into tables later is no matter of these horizons.
      expiry: expiryInput(options.expiry, hullOf(plan.inputs.flat())),
      writer: writerOptions,
    })
    if (written.length > 0) await options.fileSystem.syncFolder(options.folder)
    const installed = await this.#install(plan, () =>
      written.map((table) => ({ ...table, id: manifest.newNumber(), level: plan.outputLevel, order: orderOf(plan), clipped: false })),
    )
    if (!installed) for (const { file } of written) await removeUnused(options.fileSystem, tablePath(options.folder, file), options.logger)
    counters.compactions++
    counters.compactedBytes += inputBytes
    return installed
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
    if (hull === undefined || plan.outputLevel === 0) return false
    const inputs = new Set(plan.inputs.flat().map((table) => table.id))
    const others = version.overlapping(plan.outputLevel, hull).filter((table) => !inputs.has(table.id))
    return others.some((other) => outputs.some((table) => rangeOverlaps(other, table.lower, table.upper)))
  }
}

function inputBytesOf(plan: CompactionPlan): number {
  return plan.inputs.flat().reduce((sum, table) => sum + table.size, 0)
}
