import { readU32, writeU32 } from '../base/bytes.ts'
import { crc32 } from '../base/checksum.ts'
import { CorruptionError } from '../base/errors.ts'
import { pb } from '../proto/messages.ts'
import { decodeNodes, encodeNodes, type Standing } from './standing.ts'

/**
 * The mark that a state machine's database keeps with its contents: the Raft position that they stand at, with the membership as of there.
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

export function encodeMark(standing: Standing): Uint8Array {
  const message = pb.v1.SnapshotMark.encode({
    index: standing.index,
    term: standing.term,
    voters: [...standing.conf.voters],
    votersOutgoing: [...standing.conf.votersOutgoing],
    learners: [...standing.conf.learners],
    learnersNext: [...standing.conf.learnersNext],
    autoLeave: standing.conf.autoLeave,
    nodes: encodeNodes(standing.nodes),
    changedAt: standing.changedAt,
    configNumber: standing.configNumber,
  }).finish()
  const bytes = new Uint8Array(headerBytes + message.length)
  bytes[4] = version
  bytes.set(message, headerBytes)
  writeU32(bytes, 0, crc32(bytes.subarray(4)))
  return bytes
}

/** Throws CorruptionError, naming `file`, where `bytes` are no mark. */
export function decodeMark(bytes: Uint8Array, file: string): Standing {
  const broken = (what: string) => new CorruptionError(file, undefined, `damaged mark: ${what}`)
  if (bytes.length < headerBytes || readU32(bytes, 0) !== crc32(bytes.subarray(4))) throw broken('checksum')
  if (bytes[4] !== version) throw broken(`version ${bytes[4]}`)
  let mark: pb.v1.SnapshotMark
  try {
    mark = pb.v1.SnapshotMark.decode(bytes.subarray(headerBytes))
  } catch {
    throw broken('not a mark')
  }
  const { index, term, voters, votersOutgoing, learners, learnersNext, autoLeave, changedAt, configNumber } = mark
  const numbers = [...voters, ...votersOutgoing, ...learners, ...learnersNext]
  if (![index, term, changedAt, configNumber].every(Number.isSafeInteger) || numbers.some((replica) => replica === 0))
    throw broken('numbers')
  const conf = { voters, votersOutgoing, learners, learnersNext, autoLeave }
  return { index, term, conf, nodes: decodeNodes(mark.nodes), changedAt, configNumber }
}
