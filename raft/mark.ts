import { readU32, writeU32 } from '../base/bytes.ts'
import { crc32 } from '../base/checksum.ts'
import { CorruptionError } from '../base/errors.ts'
import { pb } from '../proto/messages.ts'
import type { SnapshotMeta } from './core/types.ts'

/**
 * The mark that a state machine's database keeps with its contents: the Raft position and the membership that they stand at.
 *
 *     0         4        5
 *     ┌─────────┬────────┬──────────────────────┐
 *     │ crc32   │version │ pb.v1.SnapshotMark   │
 *     └─────────┴────────┴──────────────────────┘
 *
 * The checksum (little-endian) covers all that follows it.
 */
const version = 1
const headerBytes = 5

export function encodeMark(meta: SnapshotMeta): Uint8Array {
  const message = pb.v1.SnapshotMark.encode({
    index: meta.index,
    term: meta.term,
    voters: [...meta.conf.voters],
    votersOutgoing: [...meta.conf.votersOutgoing],
    learners: [...meta.conf.learners],
    learnersNext: [...meta.conf.learnersNext],
    autoLeave: meta.conf.autoLeave,
  }).finish()
  const bytes = new Uint8Array(headerBytes + message.length)
  bytes[4] = version
  bytes.set(message, headerBytes)
  writeU32(bytes, 0, crc32(bytes.subarray(4)))
  return bytes
}

/** Throws CorruptionError, naming `file`, where `bytes` are no mark. */
export function decodeMark(bytes: Uint8Array, file: string): SnapshotMeta {
  const broken = (what: string) => new CorruptionError(file, undefined, `damaged mark: ${what}`)
  if (bytes.length < headerBytes || readU32(bytes, 0) !== crc32(bytes.subarray(4))) throw broken('checksum')
  if (bytes[4] !== version) throw broken(`version ${bytes[4]}`)
  let mark: pb.v1.SnapshotMark
  try {
    mark = pb.v1.SnapshotMark.decode(bytes.subarray(headerBytes))
  } catch {
    throw broken('not a mark')
  }
  const { index, term, voters, votersOutgoing, learners, learnersNext, autoLeave } = mark
  const numbers = [...voters, ...votersOutgoing, ...learners, ...learnersNext]
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(term) || numbers.some((replica) => replica === 0)) throw broken('numbers')
  return { index, term, conf: { voters, votersOutgoing, learners, learnersNext, autoLeave } }
}
