import type { pb } from '../proto/messages.ts'
import type { CheckedHosted } from './request-checks.ts'

/** What the groups' leaders tell in heartbeats, as the controllers' leader hears it; in memory only. Nothing but hints and what people see rest on it. */
export class Reported {
  /** Group uid → shard → bytes. */
  readonly #sizes = new Map<string, ReadonlyMap<number, number>>()
  readonly #progress = new Map<number, pb.v1.MigrationProgress.$Properties>()

  /** This controller leads from now on. */
  begin(): void {
    this.#sizes.clear()
    this.#progress.clear()
  }

  note({ group, sizes, progress }: CheckedHosted): void {
    if (sizes !== undefined) this.#sizes.set(group, sizes)
    for (const one of progress) {
      const { bytesTotal, bytesCopied } = this.progressOf(one.migration ?? 0) ?? {}
      // A leader that has come since the files were ingested does not know how many they were.
      const isUnknown = one.catchingUp === true && !one.bytesTotal
      this.#progress.set(one.migration ?? 0, isUnknown ? { ...one, bytesTotal: bytesTotal ?? 0, bytesCopied: bytesCopied ?? 0 } : one)
    }
  }

  /** Bytes of a shard as the leader of its group told last; 0: not known. */
  sizeOf(group: string | undefined, shard: number): number {
    return group === undefined ? 0 : (this.#sizes.get(group)?.get(shard) ?? 0)
  }

  progressOf(migration: number): pb.v1.MigrationProgress.$Properties | undefined {
    return this.#progress.get(migration)
  }

  /** Forgets groups that are no more and migrations that do not run. */
  retain(isPresent: (uid: string) => boolean, isOpen: (migration: number) => boolean): void {
    for (const uid of this.#sizes.keys()) if (!isPresent(uid)) this.#sizes.delete(uid)
    for (const id of this.#progress.keys()) if (!isOpen(id)) this.#progress.delete(id)
  }
}
