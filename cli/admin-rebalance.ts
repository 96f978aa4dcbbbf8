import type { Command } from 'commander'
import { addChangeFlags, type ChangeFlags, type PlannableChange, waitHelp } from './change.ts'
import { examples, type Registry } from './invocation.ts'
import { runChange } from './run-change.ts'

export function addAdminRebalance(admin: Command, registry: Registry): void {
  const command = addChangeFlags(admin.command('rebalance'), waitHelp)
    .description('move shards until every group has its share; pinned ones stay')
    .addHelpText('after', examples('admin rebalance', 'admin rebalance --wait'))
  registry.add(command, (invocation) => {
    return runChange(invocation, rebalanceChange(invocation.world.author), command.opts<ChangeFlags>())
  })
}

export function rebalanceChange(author: string): PlannableChange {
  return { plan: { rebalance: { author } }, make: (controllers, base, options) => controllers.rebalance({ author, ...base }, options) }
}
