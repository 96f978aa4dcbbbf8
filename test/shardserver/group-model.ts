import { pb } from '../../proto/messages.ts'
import type { Command } from '../../shardserver/commands.ts'

interface ModelRecord {
  value: string
  expiry: number
  revision: number
}

interface ModelSession {
  lowest: number
  usedAtMs: number
  replies: Map<number, string>
}

interface ModelShard {
  revision: number
  records: Map<string, ModelRecord>
  sessions: Map<number, ModelSession>
}

type Reply = Record<string, unknown>

const hourMs = 3_600_000
const codes = pb.v1.ErrorCode

function latin(bytes: Uint8Array | null | undefined): string {
  return Buffer.from(bytes ?? []).toString('latin1')
}

/** What a group must do, written down as plainly as can be: strings in maps, no runs, no memory kept small. */
export class GroupModel {
  readonly shards = new Map<number, ModelShard>()
  timeMs = 0

  time(timeMs: number): void {
    this.timeMs = Math.max(this.timeMs, timeMs)
  }

  birth(shard: number): void {
    if (!this.shards.has(shard)) this.shards.set(shard, { revision: 0, records: new Map(), sessions: new Map() })
  }

  /** The reply, in the form of `replyText`. */
  command(client: number, command: Command): string {
    const shard = this.shards.get(command.shard ?? 0)
    if (shard === undefined) return refused(codes.WRONG_GROUP)
    const sequence = command.sequence ?? 0
    const lowest = command.lowestOutstanding ?? 0
    let session = shard.sessions.get(client)
    if (session !== undefined && this.timeMs - session.usedAtMs >= hourMs) session = undefined
    if (session === undefined) {
      if (!command.first || sequence < lowest) return refused(codes.SESSION_EXPIRED)
      session = { lowest, usedAtMs: this.timeMs, replies: new Map() }
      shard.sessions.set(client, session)
    }
    session.usedAtMs = this.timeMs
    session.lowest = Math.max(session.lowest, lowest)
    for (const number of [...session.replies.keys()]) if (number < session.lowest) session.replies.delete(number)
    if (sequence < session.lowest) return refused(codes.SESSION_EXPIRED)
    const known = session.replies.get(sequence)
    if (known !== undefined) return known
    const reply = replyText(this.#execute(shard, command))
    session.replies.set(sequence, reply)
    return reply
  }

  get(shard: number, key: Uint8Array): ModelRecord | undefined {
    const records = this.shards.get(shard)?.records
    const record = records?.get(latin(key))
    return record !== undefined && (record.expiry === 0 || record.expiry > this.timeMs) ? record : undefined
  }

  #execute(shard: ModelShard, command: Command): Reply {
    for (const [key, record] of shard.records) if (record.expiry !== 0 && record.expiry <= this.timeMs) shard.records.delete(key)
    const { records } = shard
    const write = (key: string, value: string, expiry: number, revision: number) => records.set(key, { value, expiry, revision })
    const end = (ttlMs: number | null | undefined) => (ttlMs ? this.timeMs + ttlMs : 0)
    if (command.put) {
      write(latin(command.put.key), latin(command.put.value), end(command.put.ttlMs), ++shard.revision)
      return { revision: shard.revision }
    }
    if (command.delete) {
      if (!records.delete(latin(command.delete.key))) return {}
      return { revision: ++shard.revision, existed: true }
    }
    if (command.append) {
      const key = latin(command.append.key)
      const value = (records.get(key)?.value ?? '') + latin(command.append.value)
      write(key, value, records.get(key)?.expiry ?? 0, ++shard.revision)
      return { revision: shard.revision, length: value.length }
    }
    if (command.increment) {
      const key = latin(command.increment.key)
      const present = records.get(key)?.value ?? '0'
      if (!/^(0|-?[1-9]\d*)$/.test(present)) return { code: codes.INVALID_ARGUMENT }
      const sum = BigInt(present) + BigInt(command.increment.by ?? '')
      if (BigInt.asIntN(64, sum) !== sum) return { code: codes.INVALID_ARGUMENT }
      write(key, sum.toString(), records.get(key)?.expiry ?? 0, ++shard.revision)
      return { revision: shard.revision, value: sum.toString() }
    }
    if (command.expire) {
      const record = records.get(latin(command.expire.key))
      if (record === undefined) return {}
      write(latin(command.expire.key), record.value, end(command.expire.ttlMs), ++shard.revision)
      return { revision: shard.revision, existed: true }
    }
    if (command.compareAndSet) return this.#compareAndSet(shard, command.compareAndSet, end)
    if (command.batch) {
      const isMet = (command.batch.checks ?? []).every((check) => (records.get(latin(check.key))?.revision ?? 0) === (check.revision ?? 0))
      if (!isMet) return { code: codes.CONDITION_FAILED }
      shard.revision++
      for (const { put, delete: remove } of command.batch.writes ?? []) {
        if (put) write(latin(put.key), latin(put.value), end(put.ttlMs), shard.revision)
        if (remove) records.delete(latin(remove.key))
      }
      return { revision: shard.revision }
    }
    return { code: codes.INVALID_ARGUMENT }
  }

  #compareAndSet(shard: ModelShard, command: pb.v1.CompareAndSet.$Properties, end: (ttlMs: number | null | undefined) => number): Reply {
    const key = latin(command.key)
    const record = shard.records.get(key)
    const isMet = command.expectAbsent
      ? record === undefined
      : command.expectValue
        ? record?.value === latin(command.expectValue)
        : record?.revision === command.expectRevision
    if (!isMet)
      return {
        current:
          record === undefined ? undefined : `${record.revision} ${record.value} ${record.expiry === 0 ? 0 : record.expiry - this.timeMs}`,
      }
    if (command.remove) {
      if (!shard.records.delete(key)) return { applied: true }
      return { applied: true, revision: ++shard.revision }
    }
    shard.records.set(key, { value: latin(command.value), expiry: end(command.ttlMs), revision: ++shard.revision })
    return { applied: true, revision: shard.revision }
  }
}

function refused(code: number): string {
  return replyText({ code })
}

/** A reply without what is 0, false or empty, as text. */
export function replyText(reply: Reply): string {
  const rows = Object.entries(reply).filter(
    ([, value]) => value !== undefined && value !== 0 && value !== false && value !== '' && value !== null,
  )
  return JSON.stringify(rows.sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** A real reply in the form of the model's. */
export function resultText(result: pb.v1.WriteResult.$Properties): string {
  const { error, current, revision, existed, length, value, applied } = result
  const found = current ? `${current.revision} ${latin(current.value)} ${current.expiresInMs ?? 0}` : undefined
  return replyText({ code: error?.code ?? undefined, current: found, revision, existed, length, value, applied })
}
