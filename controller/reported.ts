import type { pb } from '../proto/messages.ts'
import type { LostReplica } from './leader-view.ts'
import type { CheckedHosted, CheckedLost } from './request-checks.ts'

/** Several heartbeats. */
const drivenMs = 3000
/**
 * How long a group that had no room for shards is not offered others: at first no longer than it takes to free some, and each time twice as long if it
 * has none again soon after. A refusal costs the entries that begin a copy and a cut at the source; nothing is copied.
 */
const noRoomMsMin = 15_000
const noRoomMsMax = 5 * 60_000

/** What nodes and the groups' leaders tell in heartbeats, as the controllers' leader hears it; in memory only. Hints, what people see, and the replacing of lost replicas rest on it. */
export class Reported {
  readonly #progress = new Map<number, { readonly told: pb.v1.MigrationProgress.$Properties; readonly atMs: number }>()

  /** Uid → until when it counts as full, since it refused shards for want of room, and how long that is. */
  readonly #noRoom = new Map<string, { readonly untilMs: number; readonly forMs: number }>()

  /** Uid and number → what its node told. */
  readonly #lost = new Map<string, LostReplica>()

  /** This controller leads from now on. */
  begin(): void {
    this.#lost.clear()
    this.#noRoom.clear()
    this.#progress.clear()
  }

  note({ progress }: CheckedHosted, nowMs: number): void {
    for (const one of progress) {
      const { bytesTotal, bytesCopied } = this.progressOf(one.migration ?? 0) ?? {}
      // A leader that has come since the files were ingested does not know how many they were.
      const isUnknown = one.catchingUp === true && !one.bytesTotal
      const told = isUnknown ? { ...one, bytesTotal: bytesTotal ?? 0, bytesCopied: bytesCopied ?? 0 } : one
      this.#progress.set(one.migration ?? 0, { told, atMs: nowMs })
    }
  }

  noteNoRoom(group: string, nowMs: number): void {
    // Who had none more than so long ago begins anew.
    for (const [uid, { untilMs, forMs }] of this.#noRoom) if (nowMs >= untilMs + forMs) this.#noRoom.delete(uid)
    const before = this.#noRoom.get(group)
    if (before !== undefined && nowMs < before.untilMs) return
    const forMs = before === undefined ? noRoomMsMin : Math.min(noRoomMsMax, 2 * before.forMs)
    this.#noRoom.set(group, { untilMs: nowMs + forMs, forMs })
  }

  hasNoRoom(group: string, nowMs: number): boolean {
    return nowMs < (this.#noRoom.get(group)?.untilMs ?? Number.NEGATIVE_INFINITY)
  }

  /** All replicas that `node` cannot hold, as it says now. */
  noteLost(node: string, lost: readonly CheckedLost[], nowMs: number): void {
    const told = new Map(lost.map((one) => [keyOf(one), one]))
    for (const [key, { node: teller }] of this.#lost) if (teller === node && !told.has(key)) this.#lost.delete(key)
    for (const [key, one] of told) this.#lost.set(key, { ...one, node, sinceMs: this.#lost.get(key)?.sinceMs ?? nowMs })
  }

  isLost(group: string, replica: number): boolean {
    return this.#lost.has(keyOf({ group, replica }))
  }

  lost(): LostReplica[] {
    return [...this.#lost.values()]
  }

  progressOf(migration: number): pb.v1.MigrationProgress.$Properties | undefined {
    return this.#progress.get(migration)?.told
  }

  /** Whether the leader of its target has told of it a moment ago, as it does while it leads, whether or not anything goes on. */
  isDriven(migration: number, nowMs: number): boolean {
    const progress = this.#progress.get(migration)
    return progress !== undefined && nowMs - progress.atMs < drivenMs
  }

  /** Forgets migrations that do not run. */
  retain(isOpen: (migration: number) => boolean): void {
    for (const id of this.#progress.keys()) if (!isOpen(id)) this.#progress.delete(id)
  }
}

function keyOf({ group, replica }: { readonly group: string; readonly replica: number }): string {
  return `${group} ${replica}`
}
