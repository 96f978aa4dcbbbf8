import type { Command } from 'commander'
import type { TuningFlags } from './settings.ts'

/** The tuning flags as commander knows them: texts only. What they may hold is checked in `settings.ts`, which is loaded when it is needed. */

const tuningHelp: Readonly<Record<keyof TuningFlags, string>> = {
  'election-timeout-ms': 'a follower that hears nothing stands for election after T to 2T (default: 1000)',
  'heartbeat-ms': 'how often a leader makes itself heard (default: 100)',
  'snapshot-log-bytes': 'log kept per group before it is cut (default: 67108864)',
  'snapshot-bytes-per-second': 'limit of what replicas that lag fetch, per process (default: none)',
  'memtable-bytes': 'memory for writes that wait to be flushed, per node (default: 67108864)',
  'block-cache-bytes': 'memory for blocks read, per node (default: 134217728)',
  'disk-reserve-bytes': 'held back on the disk, given up when it is full, per process (default: 16777216)',
  'migration-bytes-per-second': 'limit of what moving shards copy into a node, and out of it; they give way to clients (default: none)',
  'max-migrations': 'moves at once into the groups that a node leads, and out of them (default: 2)',
  'balance-leaders': 'true: the leaders of the groups are spread over the nodes (default: true)',
  'read-mode': 'linearizable or lease (default: linearizable)',
  'log-level': 'debug, info, warn, error or silent (default: info)',
}

export function addTuningOptions(command: Command): Command {
  for (const [name, help] of Object.entries(tuningHelp)) command.option(`--${name} <value>`, help)
  return command.option('--config <file>', 'a JSON file: keys are the flags without the dashes')
}

/** The flags that were typed, by their names without dashes. The common flags are none of a schema's and are left out. */
export function typedFlags(command: Command): Record<string, unknown> {
  const flags: Record<string, unknown> = {}
  for (const option of command.options) {
    if (command.getOptionValueSource(option.attributeName()) !== 'cli') continue
    const value: unknown = command.getOptionValue(option.attributeName())
    flags[option.name()] = option.negate ? value === false : value
  }
  return flags
}
