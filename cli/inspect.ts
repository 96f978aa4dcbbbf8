import type { Command } from 'commander'
import { usageError } from './exit-code.ts'
import type { InspectOptions } from './inspect-options.ts'
import { examples, type Registry } from './invocation.ts'

export function addInspect(program: Command, registry: Registry): void {
  const command = program
    .command('inspect')
    .description('show what a file or folder of the storage engine or a data directory holds; changes nothing')
    .argument('<path>', 'a table, log, manifest, CURRENT, identity or log segment, a database or a data directory')
    .option('--entries', 'also every entry or operation')
    .option('--values', 'also their values (means --entries)')
    .option('--block <number>', 'of a table only this data block, with its entries', parseBlock)
    .addHelpText(
      'after',
      `${examples(
        'inspect .ostraka/n1',
        'inspect .ostraka/n1/groups/g1@1.1',
        'inspect .ostraka/n1/groups/g1@1.1/000012.sst --block 3 --values',
        'inspect 000012.sst --entries --json',
      )}\n\nEnds with 65 where something is damaged: what can be read is shown all the same.`,
    )
  registry.add(command, async (invocation) => {
    const { inspectPath } = await import('./inspect-path.ts')
    return await inspectPath(invocation, command.processedArgs[0] as string, command.opts<InspectOptions>())
  })
}

function parseBlock(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw usageError(`--block ${text}: give a whole number from 0`)
  return Number(text)
}
