import type { Logger } from '../../base/logger.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'
import { decodeMigration, isEnded, type Migration } from '../../proto/migration.ts'
import type { LocalMigration } from '../shard-migrations.ts'
import type { MigrationOutcome } from '../shard-state.ts'
import type { MigrationNode, MovingReplica } from './node.ts'
import { confirmLead, proposeStep } from './propose.ts'

const reportTimeoutMs = 3000
/** How often the controllers are asked about one that their list does not name. */
const askEveryMs = 1000
/** A confirmation that the list does not show by then is said again. */
const sayAgainMs = 5000

interface Outcome {
  readonly outcome: MigrationOutcome
  readonly epochs: readonly number[]
}

/** An outcome of a migration that neither group needs any more was ABORTED for whoever comes late. */
const forgotten: Outcome = { outcome: 'aborted', epochs: [] }

/**
 * The end of migrations in one group that this node leads: has the group obey what the controllers decided of exactly that id, and tells them
 * when nothing of it is left. Groups act on outcomes of migrations, never on differences between configs.
 */
export class Outcomes {
  readonly #node: MigrationNode
  readonly #hosted: MovingReplica
  readonly #logger: Logger
  /** When an end was confirmed, by id. */
  readonly #said = new Map<number, number>()
  readonly #asked = new Map<number, number>()
  #isRunning = false
  #again = false
  #closed = false

  constructor(node: MigrationNode, hosted: MovingReplica) {
    this.#node = node
    this.#hosted = hosted
    this.#logger = node.logger.child({ group: hosted.replica.group })
  }

  /** The list, the role or a record changed, or time passed. */
  check(): void {
    if (this.#closed) return
    if (this.#isRunning) {
      this.#again = true
      return
    }
    this.#isRunning = true
    this.#again = false
    this.#run()
      .catch((error: unknown) => {
        if (!(error instanceof OstrakaError)) throw error
        this.#logger.debug({ error: error.message }, 'ending a migration has to be tried again')
      })
      .catch((error: unknown) => this.#logger.error({ error: String(error) }, 'ending a migration failed'))
      .finally(() => {
        this.#isRunning = false
        if (this.#again) this.check()
      })
  }

  close(): void {
    this.#closed = true
  }

  async #run(): Promise<void> {
    const failures: unknown[] = []
    const attempt = (step: Promise<void>) => step.catch((error: unknown) => failures.push(error))
    for (const local of this.#hosted.stateMachine.migrations()) await attempt(this.#obey(local))
    for (const migration of this.#node.book.of(this.#hosted.replica.group))
      if (this.#mayConfirm(migration)) await attempt(this.#confirm(migration))
    for (const failure of failures) throw failure
  }

  async #obey(local: LocalMigration): Promise<void> {
    const { id, shards } = local
    const decided = await this.#outcomeOf(local)
    if (decided === undefined || !isNext(local.state, decided.outcome) || this.#closed) return
    await proposeStep(this.#node, this.#hosted, { kind: 'outcome', id, shards, ...decided })
    this.#logger.info({ migration: id, shards, outcome: decided.outcome }, 'a migration ended here')
  }

  /** undefined: it runs, or that is not known yet. */
  async #outcomeOf({ id }: LocalMigration): Promise<Outcome | undefined> {
    const { book, clock, controllers } = this.#node
    const known = book.get(id)
    if (known !== undefined) return isEnded(known.phase) ? outcomeOf(known) : undefined
    // What this group holds it has not confirmed, so the list is older than the record, or the entry came long after the end.
    const nowMs = clock.monotonicMs()
    if (nowMs - (this.#asked.get(id) ?? Number.NEGATIVE_INFINITY) < askEveryMs) return undefined
    this.#asked.set(id, nowMs)
    const all = await controllers.migrations({ timeoutMs: reportTimeoutMs, ids: [id] })
    const found = all.find((migration) => migration.id === id)
    if (found === undefined) return forgotten
    const migration = decodeMigration(found)
    book.hear(migration)
    return isEnded(migration.phase) ? outcomeOf(migration) : undefined
  }

  #mayConfirm(migration: Migration): boolean {
    const { group } = this.#hosted.replica
    if (!isEnded(migration.phase) || !this.#node.book.isListed(migration.id) || this.#holds(migration.id)) return false
    const isOpen = (migration.from === group && !migration.fromConfirmed) || (migration.to === group && !migration.toConfirmed)
    const saidMs = this.#said.get(migration.id) ?? Number.NEGATIVE_INFINITY
    return isOpen && this.#node.clock.monotonicMs() - saidMs >= sayAgainMs
  }

  /** A new leader may not have applied yet what its log holds: it looks behind a round that confirms it. */
  async #confirm({ id, phase }: Migration): Promise<void> {
    await confirmLead(this.#node, this.#hosted)
    if (this.#holds(id) || this.#closed) return
    const { group } = this.#hosted.replica
    const request = { migration: id, group, kind: pb.v1.ReportKind.REPORT_CLEAN }
    await this.#node.controllers.report(request, { timeoutMs: reportTimeoutMs })
    this.#said.set(id, this.#node.clock.monotonicMs())
    this.#logger.debug({ migration: id, phase }, 'nothing of an ended migration is left here')
    this.#forgetOld()
  }

  #holds(id: number): boolean {
    return this.#hosted.stateMachine.migrations().some((local) => local.id === id)
  }

  #forgetOld(): void {
    const { book } = this.#node
    for (const ids of [this.#said, this.#asked]) for (const id of ids.keys()) if (!book.isListed(id) && !this.#holds(id)) ids.delete(id)
  }
}

function outcomeOf({ phase, epochs }: Migration): Outcome {
  if (phase === 'given-back') return { outcome: 'given-back', epochs }
  return { outcome: phase === 'done' ? 'done' : 'aborted', epochs: [] }
}

/** What the log would refuse is not proposed: the entry that has to come before is on its way. */
function isNext(state: LocalMigration['state'], outcome: MigrationOutcome): boolean {
  if (outcome === 'done') return state === 'released'
  if (outcome === 'given-back') return state !== 'importing'
  return state !== 'released'
}
