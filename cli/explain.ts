import type { Command } from 'commander'
import { examples, type Registry } from './invocation.ts'
import { checkKey } from './text.ts'

export function addExplain(program: Command, registry: Registry): void {
  const command = program
    .command('explain')
    .description('where a key is: its slot, shard, group and leader')
    .argument('<key>')
    .addHelpText('after', examples('explain colour', "explain '{user:7}:name' --json"))
  registry.add(command, async (invocation) => {
    const key = checkKey(command.processedArgs[0] as string)
    await invocation.withDatabase(async (database) => {
      const { slot, shard, group, leader, configNumber } = await database.explain(key)
      invocation.print(
        { key, slot, shard, group: group ?? null, leader: leader ?? null, configNumber },
        `slot ${slot}, shard ${shard}, group ${group ?? 'none'}, leader ${leader ?? 'unknown'} (config ${configNumber})`,
      )
    })
    return undefined
  })
}
