import { hasEnded, type MigrationJson } from './migration-json.ts'

/** How fast migrations copy, by looks at them one after the other. */
export class MigrationRates {
  readonly #seen = new Map<number, { readonly bytes: number; readonly atMs: number }>()
  readonly #rates = new Map<number, number>()

  /** `nowMs`: by a monotonic clock. */
  look(migrations: readonly MigrationJson[], nowMs: number): void {
    for (const migration of migrations) this.#measure(migration, nowMs)
  }

  /** Bytes per second, smoothed; undefined: it was not looked at twice yet. */
  of(id: number): number | undefined {
    return this.#rates.get(id)
  }

  #measure(migration: MigrationJson, nowMs: number): void {
    const { id, bytesCopied } = migration
    const before = this.#seen.get(id)
    if (hasEnded(migration)) {
      this.#rates.delete(id)
      this.#seen.delete(id)
      return
    }
    this.#seen.set(id, { bytes: bytesCopied, atMs: nowMs })
    if (before === undefined || nowMs <= before.atMs) return
    const rate = (Math.max(0, bytesCopied - before.bytes) * 1000) / (nowMs - before.atMs)
    this.#rates.set(id, 0.7 * (this.#rates.get(id) ?? rate) + 0.3 * rate)
  }
}

/** Until its files are copied; undefined: it does not copy, or nobody can tell. `perSecond`: bytes. */
export function copyLeftMs({ phase, paused, bytesCopied, bytesTotal }: MigrationJson, perSecond: number): number | undefined {
  if (phase !== 'copying' || paused || bytesTotal === 0 || perSecond < 1) return undefined
  return (Math.max(0, bytesTotal - bytesCopied) * 1000) / perSecond
}
