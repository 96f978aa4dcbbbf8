import type { Command } from 'commander'
import { examples, type Invocation, type Registry } from './invocation.ts'
import { checkKey, parseConfigNumber } from './text.ts'

export function addExplain(program: Command, registry: Registry): void {
  const command = program
    .command('explain')
    .description('where a key is: its slot, shard, group and leader')
    .argument('<key>')
    .option('--at <number>', 'where it was by the config of that number; of leaders nothing is kept')
    .addHelpText('after', examples('explain colour', "explain '{user:7}:name' --json", 'explain colour --at 12'))
  registry.add(command, async (invocation) => {
    const key = checkKey(command.processedArgs[0] as string)
    const { at } = command.opts<{ at?: string }>()
    await (at === undefined ? explainNow(invocation, key) : explainAt(invocation, key, parseConfigNumber(at)))
    return undefined
  })
}

async function explainNow(invocation: Invocation, key: string): Promise<void> {
  await invocation.withDatabase(async (database) => {
    const { slot, shard, group, leader, configNumber } = await database.explain(key)
    invocation.print(
      { key, slot, shard, group: group ?? null, leader: leader ?? null, configNumber },
      `slot ${slot}, shard ${shard}, group ${group ?? 'none'}, leader ${leader ?? 'unknown'} (config ${configNumber})`,
    )
  })
}

/** By the history of configs alone: no group is asked. */
async function explainAt(invocation: Invocation, key: string, number: number): Promise<void> {
  const { shardOf, slotOf } = await import('../base/slot.ts')
  await invocation.withControllers(async (controllers) => {
    const { config } = await controllers.query(number, { timeoutMs: invocation.timeoutMs() })
    const slot = slotOf(Buffer.from(key))
    const shard = shardOf(slot, config.shardCount)
    const group = config.groupOf(shard)
    const epoch = config.epochOf(shard)
    const at = new Date(config.atMs).toISOString()
    invocation.print(
      { key, slot, shard, group: group?.name ?? null, leader: null, configNumber: config.number, epoch, at, cause: config.cause },
      `slot ${slot}, shard ${shard}, group ${group?.name ?? 'none'}, epoch ${epoch} (config ${config.number} of ${at}: ${config.cause})`,
    )
  })
}
