import type { Clock, Timer } from '../../base/clock.ts'
import type { Logger } from '../../base/logger.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'
import { migrationMethods } from '../../proto/methods.ts'
import type { Migration } from '../../proto/migration.ts'
import { digestOfNothing, isDigestOfNothing } from '../record-digest.ts'
import type { ShardRecord } from '../shard-state.ts'
import { CatchUp } from './catch-up.ts'
import { FileWait } from './file-wait.ts'
import { GroupLink, isRefusal } from './group-link.ts'
import { type ImportStep, nextImportStep } from './import-step.ts'
import type { MigrationNode, MovingReplica } from './node.ts'
import { confirmLead, proposeStep } from './propose.ts'

const exportTimeoutMs = 10_000
const releaseTimeoutMs = 3000
const reportTimeoutMs = 3000
/** How often it looks again where nothing tells it that something changed. */
const lookMs = 500
const backoffMsMin = 20
const backoffMsMax = 2000
/** Where clients wait for it. */
const pauseBackoffMsMax = 200
/** Without progress for so long before the commit, the source being there: the controllers are asked to abort. */
const stallMs = 60_000
/** It is woken far more often: where it was not for so long this process was away (stopped, asleep), and knows nothing of what came meanwhile. */
const awayMs = 5000

/** What the source answered when it was asked to release, and when that came. */
interface Released {
  readonly reply: pb.v1.DeltaReply
  readonly atMs: number
}

export interface ImportDriverOptions {
  readonly node: MigrationNode
  readonly hosted: MovingReplica
  readonly id: number
  /** Takes a place among the copies into groups that this node leads; the place is to be given back once the import is logged, or is not. */
  maybeBegin(): (() => void) | undefined
  onEnd(): void
}

/** Drives one migration into a group that this node leads, until it is done, ended or not ours to drive any more (`close`). */
export class ImportDriver {
  readonly #options: ImportDriverOptions
  readonly #node: MigrationNode
  readonly #hosted: MovingReplica
  readonly #logger: Logger
  readonly #link: GroupLink
  readonly #files: FileWait
  readonly #catchUp: CatchUp
  #exportedAttempt = 0
  /** Index of the cut of that attempt. */
  #cut = 0
  /** That cut has no files. */
  #isCutOfNothing = false
  #releaseAskedMs: number | undefined
  /** When the source released, as its leader has told. */
  #releasedMs: number | undefined
  /** A release that was asked for together with the commit, of what the source executed behind `after`. */
  #ahead: { readonly after: number; readonly released: Promise<Released> } | undefined
  #pauseUs = 0
  #failures = 0
  /** How its last step failed; undefined: it did not. */
  #trouble: OstrakaError | undefined
  #hasNoRoom = false
  #lastFailure = ''
  #progressAtMs: number
  /** When it was last seen that this process runs. */
  #awakeAtMs: number
  #isSourceAway = false
  #waitsForPlace = false
  #seen: Seen = {}
  #wake: (() => void) | undefined
  #closed = false

  constructor(options: ImportDriverOptions, from: string) {
    const { node, hosted, id } = options
    this.#options = options
    this.#node = node
    this.#hosted = hosted
    this.#logger = node.logger.child({ group: hosted.replica.group, migration: id })
    this.#link = new GroupLink(node, from)
    this.#files = new FileWait(node, hosted, id, from)
    this.#catchUp = new CatchUp(node, hosted, this.#link)
    this.#progressAtMs = node.clock.monotonicMs()
    this.#awakeAtMs = this.#progressAtMs
    this.#run().catch((error: unknown) => {
      this.#logger.error({ error: error instanceof Error ? error.message : String(error) }, 'driving a migration failed')
      this.close()
    })
  }

  /** It has nothing to do before it may begin. */
  get waitsForPlace(): boolean {
    return this.#waitsForPlace
  }

  /** Something changed, maybe of another migration: what it waits for is not disturbed by that. */
  wake(): void {
    this.#stayAwake()
    if (this.#waitsForPlace || !isSame(this.#seen, this.#look())) this.#wake?.()
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#catchUp.dropEarly()
    this.#wake?.()
    this.#options.onEnd()
  }

  /** It waits for the source, which nobody of this group has reached. */
  get isSourceAway(): boolean {
    return this.#isSourceAway || this.#link.isAway
  }

  progress(): pb.v1.MigrationProgress.$Properties {
    const local = this.#hosted.stateMachine.migrations().find(({ id }) => id === this.#options.id)
    const { copied, total } = this.#files.bytes
    const catchingUp = local?.ingested ?? false
    return {
      migration: this.#options.id,
      attempt: local?.attempt ?? 0,
      bytesCopied: catchingUp ? total : copied,
      bytesTotal: total,
      catchingUp,
      waitsFor: this.#waitsFor(),
    }
  }

  /** For people; '': it gets on. */
  #waitsFor(): string {
    if (this.#waitsForPlace) return 'a free place (--max-migrations)'
    if (this.#isSourceAway) return 'its source, which is away'
    if (this.#trouble === undefined) return ''
    return `${this.#trouble.code === 'OVERLOADED' ? 'its turn' : 'another try'}: ${this.#trouble.message}`
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      this.#seen = this.#look()
      const { migration } = this.#seen
      if (migration === undefined) break
      const records = migration.shards.map((shard) => this.#hosted.stateMachine.shardRecord(shard))
      const step = nextImportStep(migration, records)
      if (step.kind === 'none') break
      try {
        await this.#maybeGiveUp(migration, step)
        await this.#perform(migration, step)
        this.#failures = 0
        this.#trouble = undefined
      } catch (error) {
        if (!(error instanceof OstrakaError)) throw error
        this.#trouble = error
        await this.#failed(migration, step, error)
      }
    }
    this.close()
  }

  /** What may bring its next step about. The migration's shards move together, so the first one's record tells of all; where they do not, it looks again by itself. */
  #look(): Seen {
    const { stateMachine } = this.#hosted
    const migration = this.#node.book.get(this.#options.id)
    if (migration === undefined) return {}
    const record = stateMachine.shardRecord(migration.shards[0] ?? 0)
    const held = record.ingested ? undefined : stateMachine.holdsImport(migration.id, record.attempt)
    return { migration, record, held: held !== undefined }
  }

  #perform(migration: Migration, step: Exclude<ImportStep, { kind: 'none' }>): Promise<void> {
    switch (step.kind) {
      case 'wait':
        if (step.why === 'paused') this.#progress()
        this.#catchUp.dropEarly()
        return this.#pause(lookMs)
      case 'begin':
        return this.#begin(migration)
      case 'copy':
        return this.#copy(migration, step.attempt)
      case 'catch-up':
        return this.#catchUpOnce(migration, step.after)
      case 'take-over':
        return this.#takeOver(migration, step.after)
      case 'refuse':
        return this.#refuse(migration, 'the source was given up')
      case 'report-refused':
        return this.#report(migration, {
          kind: pb.v1.ReportKind.REPORT_REFUSED,
          noRoom: this.#hasNoRoom,
          reason: this.#lastFailure || 'the target refused the copy',
        })
      case 'report-active':
        return this.#report(migration, { kind: pb.v1.ReportKind.REPORT_ACTIVE, pauseUs: this.#pauseUs })
    }
  }

  async #begin({ id, shards, from }: Migration): Promise<void> {
    const leave = this.#options.maybeBegin()
    if (leave === undefined) {
      this.#progress()
      this.#waitsForPlace = true
      await this.#pause(lookMs)
      this.#waitsForPlace = false
      return
    }
    await proposeStep(this.#node, this.#hosted, { kind: 'import', id, shards, attempt: 1, from }).finally(leave)
    this.#logger.info({ shards, from }, 'the import begins')
    this.#progress()
  }

  /** The cut is asked for only now that this group's log names the attempt. */
  async #copy(migration: Migration, attempt: number): Promise<void> {
    const { id, shards, from } = migration
    if (this.#exportedAttempt !== attempt) {
      const request = new pb.v1.ExportRequest({ ...this.#naming(id, from), attempt, shards: [...shards] })
      const reply = await this.#link.call(migrationMethods.export, request, exportTimeoutMs, isRefusal)
      this.#exportedAttempt = reply.attempt
      this.#cut = reply.cut
      this.#isCutOfNothing = isDigestOfNothing(reply.digest)
      this.#sawSource(true)
      this.#logger.info({ attempt: reply.attempt, cut: reply.cut }, 'the source has cut')
      // A cut is none: the same may be lost again and again.
      if (attempt === 1) this.#progress()
    }
    const next = { kind: 'import', id, shards, attempt: attempt + 1, from } as const
    // The source stands at a later attempt, that of a leader whose entry has not come here yet or never will.
    if (this.#exportedAttempt > attempt) return proposeStep(this.#node, this.#hosted, next)
    if (this.#isCutOfNothing) return this.#ingest({ id, shards }, attempt, this.#cut, digestOfNothing)
    this.#catchUp.fetchEarly(migration, this.#cut)
    const verdict = await this.#files.look(attempt)
    if (this.#files.moved) this.#progress()
    this.#sawSource(!this.#files.isSourceAway)
    if (verdict.kind === 'wait') return this.#pause(this.#files.pauseMs)
    if (verdict.kind === 'lost') {
      this.#logger.warn({ attempt }, 'the files of the cut are lost: it is cut again')
      return proposeStep(this.#node, this.#hosted, next)
    }
    if (verdict.kind === 'differ') return this.#refuse({ id, shards }, 'the digests of the copies differ')
    if (verdict.kind === 'no-room') {
      this.#hasNoRoom = true
      return this.#refuse({ id, shards }, verdict.why)
    }
    return this.#ingest({ id, shards }, attempt, verdict.cut, verdict.digest)
  }

  async #ingest({ id, shards }: Pick<Migration, 'id' | 'shards'>, attempt: number, cut: number, digest: Uint8Array): Promise<void> {
    await proposeStep(this.#node, this.#hosted, { kind: 'ingest', id, shards, attempt, cut, digest })
    this.#logger.info({ attempt, bytes: this.#files.bytes.total, cut }, 'the files are ingested')
    this.#progress()
  }

  async #catchUpOnce(migration: Migration, after: number): Promise<void> {
    const { breaks } = this.#node
    await this.#catchUp.round(migration, after)
    this.#sawSource(true)
    if (this.#catchUp.moved) this.#progress()
    if (!this.#catchUp.isClose) return
    if (breaks.has('activate-before-commit')) return this.#catchUp.activateUnreleased(migration)
    if (breaks.has('release-before-commit')) await this.#release(migration, this.#catchUp.cursorOf(migration))
    // Who was deposed meanwhile knows neither what the group has refused since nor how far it is behind.
    await confirmLead(this.#node, this.#hosted)
    if (this.#closed) return
    this.#releaseAhead(migration)
    const { digest } = this.#hosted.stateMachine.shardRecord(migration.shards[0] ?? 0)
    await this.#report(migration, { kind: pb.v1.ReportKind.REPORT_READY, digest })
  }

  /**
   * The source waits for the commit too, by its own watch, and releases when it has seen it: it need not hear of it by way of this node. One such call
   * at a time: of a commit that is refused it goes on for as long as the source waits.
   */
  #releaseAhead(migration: Migration): void {
    if (this.#ahead !== undefined) return
    const after = this.#catchUp.cursorOf(migration)
    const ahead = { after, released: this.#release({ ...migration, configNumber: 0 }, after) }
    this.#ahead = ahead
    ahead.released.catch((error: unknown) => {
      if (this.#ahead === ahead) this.#ahead = undefined
      if (!(error instanceof OstrakaError)) this.#logger.error({ error: String(error) }, 'asking for a release failed')
    })
  }

  /** Nothing here waits for the controllers: the source's word that it has released is enough. */
  async #takeOver(migration: Migration, after: number): Promise<void> {
    this.#releaseAskedMs ??= this.#node.clock.monotonicMs()
    const ahead = this.#ahead?.after === after ? [this.#ahead.released] : []
    this.#ahead = undefined
    const asked = this.#release(migration, after)
    const { reply, atMs } = await Promise.any([...ahead, asked]).catch(() => asked)
    // Only the first answer may know: with more to come before the release there are others.
    if (reply.releasedForUs > 0) this.#releasedMs ??= atMs - reply.releasedForUs / 1000
    if (reply.releasedAt === 0 || reply.upTo !== reply.releasedAt) return this.#catchUp.replay(migration, after, reply)
    await this.#catchUp.activate(migration, after, reply)
    this.#pauseUs = Math.round((this.#node.clock.monotonicMs() - (this.#releasedMs ?? this.#releaseAskedMs)) * 1000)
    const records = migration.shards.map((shard) => this.#hosted.stateMachine.shardRecord(shard))
    const serves = records.every(({ state, newestId }) => state === 'serving' && newestId === migration.id)
    if (serves) this.#logger.info({ shards: migration.shards, pauseUs: this.#pauseUs }, 'the shards are served here')
    else this.#logger.error({ shards: migration.shards }, 'what came in is not what the source had: the import is refused')
  }

  async #release({ id, shards, from, configNumber }: Migration, after: number): Promise<Released> {
    const request = new pb.v1.ReleaseRequest({ ...this.#naming(id, from), configNumber, after, shards: [...shards] })
    const reply = await this.#link.call(migrationMethods.release, request, releaseTimeoutMs, isRefusal)
    return { reply, atMs: this.#node.clock.monotonicMs() }
  }

  #naming(migration: number, group: string) {
    return { clusterId: this.#node.clusterId(), group, migration }
  }

  async #report({ id, phase }: Migration, report: Partial<pb.v1.ReportRequest>): Promise<void> {
    const { copied, total } = this.#files.bytes
    const attempt = this.#exportedAttempt
    const request = { ...report, migration: id, group: this.#hosted.replica.group, attempt, bytes: Math.max(copied, total) }
    const answer = await this.#node.controllers.report(request, { timeoutMs: reportTimeoutMs })
    if (answer !== undefined) this.#node.book.hear(answer)
    if (answer === undefined || answer.phase === phase) await this.#pause(backoffMsMin * 5)
    else this.#logger.info({ phase: answer.phase, config: answer.configNumber }, 'the controllers decided')
  }

  async #refuse({ id, shards }: { readonly id: number; readonly shards: readonly number[] }, why: string): Promise<void> {
    this.#lastFailure = why
    await proposeStep(this.#node, this.#hosted, { kind: 'refuse', id, shards })
    this.#logger.error({ why }, 'the import is refused')
  }

  #progress(): void {
    this.#progressAtMs = this.#node.clock.monotonicMs()
  }

  /** Another may have led, and driven, while this process was away: the minute begins anew. */
  #stayAwake(): void {
    const nowMs = this.#node.clock.monotonicMs()
    if (nowMs - this.#awakeAtMs >= awayMs) this.#progress()
    this.#awakeAtMs = nowMs
  }

  /** A source that is away is waited for, however long it takes: what it holds is nowhere else, and it serves nobody meanwhile. */
  #sawSource(isThere: boolean): void {
    if (!isThere) this.#progress()
    if (this.#isSourceAway === !isThere) return
    this.#isSourceAway = !isThere
    this.#logger.info({}, isThere ? 'the source is there again' : 'the source is away: the migration waits for it')
  }

  /** Only the controllers end a migration: this asks them to, where the copy does not move. Only who still leads knows that it does not. */
  async #maybeGiveUp(migration: Migration, step: ImportStep): Promise<void> {
    this.#stayAwake()
    if (migration.phase !== 'copying' || migration.paused || step.kind === 'report-refused') return
    if (this.#node.clock.monotonicMs() - this.#progressAtMs < stallMs) return
    await confirmLead(this.#node, this.#hosted)
    if (this.#closed) return
    const reason = `no progress for ${stallMs / 1000} s${this.#lastFailure === '' ? '' : `: ${this.#lastFailure}`}`
    this.#logger.warn({ reason }, 'asking the controllers to abort')
    this.#progress()
    await this.#report(migration, { kind: pb.v1.ReportKind.REPORT_CANNOT, reason })
  }

  async #failed(migration: Migration, step: ImportStep, error: OstrakaError): Promise<void> {
    // The source is busy with other copies: its turn comes.
    if (error.code === 'OVERLOADED') this.#progress()
    else if (this.#link.isAway) this.#sawSource(false)
    else this.#lastFailure = error.message
    this.#logger.debug({ step: step.kind, error: error.message }, 'a step failed')
    if (this.#catchUp.isHopeless) await this.#refuse(migration, error.message).catch(ignoreRefusal)
    const most = step.kind === 'take-over' ? pauseBackoffMsMax : backoffMsMax
    const asked = error.code === 'OVERLOADED' ? (error.details.waitMs ?? most) : most
    const backoffMs = Math.min(asked, most, backoffMsMin * 2 ** Math.min(this.#failures++, 10))
    await this.#pause(backoffMs * (0.5 + this.#node.random.next()))
  }

  /** Ends early at `wake`, and at once where something has changed since it looked. */
  #pause(delayMs: number): Promise<void> {
    if (!isSame(this.#seen, this.#look())) return Promise.resolve()
    return pauseUntil(this.#node.clock, delayMs, this.#closed, (wake) => {
      this.#wake = wake
    })
  }
}

interface Seen {
  readonly migration?: Migration
  readonly record?: ShardRecord
  /** The files are on this node. */
  readonly held?: boolean
}

function isSame(a: Seen, b: Seen): boolean {
  return a.migration === b.migration && a.record === b.record && a.held === b.held
}

function ignoreRefusal(error: unknown): void {
  if (!(error instanceof OstrakaError)) throw error
}

function pauseUntil(clock: Clock, delayMs: number, closed: boolean, arm: (wake: (() => void) | undefined) => void): Promise<void> {
  if (closed) return Promise.resolve()
  return new Promise((resolve) => {
    let timer: Timer | undefined
    const end = () => {
      timer?.cancel()
      arm(undefined)
      resolve()
    }
    timer = clock.setTimer(delayMs, end)
    arm(end)
  })
}
