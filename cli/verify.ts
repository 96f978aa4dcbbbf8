import type { Command } from 'commander'
import { examples, type Registry } from './invocation.ts'

export function addVerify(program: Command, registry: Registry): void {
  const command = program
    .command('verify')
    .description('check every byte of a database, or of a data directory with all in it; changes nothing')
    .argument('<folder>')
    .addHelpText(
      'after',
      `${examples('verify .ostraka', 'verify .ostraka/n1/groups/g1@1.1 --json')}\n\nEnds with 0 where all is whole, with 65 where something is damaged.`,
    )
  registry.add(command, async (invocation) => {
    const { verifyFolder } = await import('./verify-folder.ts')
    return await verifyFolder(invocation, command.processedArgs[0] as string)
  })
}
