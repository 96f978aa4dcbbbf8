import { type Command, Option } from 'commander'
import type { ReadMode } from '../client/types.ts'
import { limits } from '../proto/limits.ts'
import { usageError } from './exit-code.ts'

/** How fresh reads are to be, as flags say; undefined: as the SDK has it. */
export interface FreshnessFlags {
  readonly read?: ReadMode
  readonly maxStalenessMs?: string
}

/** Adds `--read` and `--max-staleness-ms`. */
export function addFreshness(command: Command): Command {
  const modes = ['linearizable', 'lease', 'follower', 'stale']
  return command
    .addOption(new Option('--read <mode>', 'how fresh (default: linearizable)').choices(modes))
    .option('--max-staleness-ms <number>', 'how old an answer to a stale read may be (default: 10000)')
}

/** For calls of the SDK. */
export function freshnessOf({ read, maxStalenessMs: text }: FreshnessFlags): {
  readonly read: ReadMode | undefined
  readonly maxStalenessMs: number | undefined
} {
  if (text === undefined) return { read, maxStalenessMs: undefined }
  const maxStalenessMs = Number(text)
  if (!/^\d+$/.test(text) || maxStalenessMs < 1 || maxStalenessMs > limits.maxStalenessMsMax) {
    throw usageError(`--max-staleness-ms ${text}: give a whole number from 1 to ${limits.maxStalenessMsMax}`)
  }
  return { read, maxStalenessMs }
}
