import type { Command } from 'commander'
import { examples, type Registry } from './invocation.ts'
import { addTuningOptions, typedFlags } from './tuning-options.ts'

export function addUp(program: Command, registry: Registry): void {
  const command = addTuningOptions(
    program
      .command('up')
      .description('run a cluster on this machine, each server a process of its own, until ^C')
      .option('--nodes <count>', 'shardservers, 1 to 10 (default: 3)')
      .option('--groups <count>', 'replica groups, g1, g2, … (default: 3)')
      .option('--replicas <count>', 'nodes of each group (default: 3, or --nodes if that is less)')
      .option('--shards <count>', 'a power of two from 16 to 16384 (default: 256)')
      .option('--data <folder>', 'where everything is kept (default: .ostraka)')
      .option(
        '--base-port <port>',
        'controllers listen from here on, nodes from 10 above, HTTP from 20 above; 0: free ones (default: 7400)',
      )
      .option('--fresh', 'delete the data first (only of a folder that `up` made)')
      .option('--no-restart', 'leave a server that died dead'),
  ).addHelpText('after', examples('up', 'up --nodes 5 --groups 8 --data /tmp/cluster', 'up --nodes 1 --fresh --json'))
  registry.add(command, async (invocation) => {
    const given = { flags: typedFlags(command), environment: registry.world.environment, file: command.opts<{ config?: string }>().config }
    const { resolveGiven, upSchema } = await import('./settings.ts')
    const { settings, names } = resolveGiven(upSchema, given)
    const { Up } = await import('./up-run.ts')
    return await new Up(invocation.world, settings, names, invocation.json).run()
  })
}
