import type { Command } from 'commander'
import { parseGroupName, parseWeight } from './admin-join.ts'
import { addChangeFlags, type ChangeFlags, type PlannableChange, waitHelp } from './change.ts'
import { examples, type Registry } from './invocation.ts'
import { runChange } from './run-change.ts'

export function addAdminWeight(admin: Command, registry: Registry): void {
  const command = addChangeFlags(admin.command('weight'), waitHelp)
    .description('give a group another share of the shards, and move what that asks for')
    .argument('<group>', 'name of the group')
    .argument('<weight>', 'its share relative to the others; 1 unless something else was said when it joined')
    .addHelpText('after', examples('admin weight g2 0.5', 'admin weight g2 2 --wait'))
  registry.add(command, (invocation) => {
    const [group, weight] = command.processedArgs as [string, string]
    return runChange(invocation, weightChange(group, weight, invocation.world.author), command.opts<ChangeFlags>())
  })
}

export function weightChange(group: string, weight: string, author: string): PlannableChange {
  const weigh = { group: parseGroupName(group), weight: parseWeight(weight, 'weight'), author }
  return { plan: { weigh }, make: (controllers, base, options) => controllers.weigh({ ...weigh, ...base }, options) }
}
