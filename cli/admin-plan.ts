import type { Command } from 'commander'
import type { pb } from '../proto/messages.ts'
import { addJoinFlags, type JoinFlags, joinRequest } from './admin-join.ts'
import { addCommonOptions, examples, type Registry } from './invocation.ts'

export function addAdminPlan(admin: Command, registry: Registry): void {
  const plan = addCommonOptions(admin.command('plan')).description('tell what a change would do, and do nothing')
  const command = addJoinFlags(plan.command('join'))
    .description('what adding a group would do')
    .addHelpText('after', examples('admin plan join g3 --nodes n7=10.0.0.7:7410,n8=10.0.0.8:7410,n9=10.0.0.9:7410'))
  registry.add(command, async (invocation) => {
    const options = command.opts<JoinFlags>()
    const join = joinRequest(command.processedArgs[0] as string[], options, invocation.world.author)
    await invocation.withControllers(async (controllers) => {
      const reply = await controllers.plan({ join }, { timeoutMs: invocation.timeoutMs() })
      invocation.print(planJson(reply), planText(reply))
    })
    return undefined
  })
}

function planJson(plan: pb.v1.PlanReply): object {
  return {
    configNumber: plan.configNumber,
    moves: plan.moves.map(({ shard, from, to }) => ({ shard, from: from || null, to })),
    imbalanceBefore: plan.imbalanceBefore,
    imbalanceAfter: plan.imbalanceAfter,
  }
}

function planText(plan: pb.v1.PlanReply): string {
  const counts = new Map<string, number>()
  for (const { from, to } of plan.moves) {
    const way = from ? `${from} → ${to}` : `born in ${to}`
    counts.set(way, (counts.get(way) ?? 0) + 1)
  }
  const percent = (share: number) => `${(share * 100).toFixed(1)} %`
  return [
    `on config ${plan.configNumber}: ${plan.moves.length} shards`,
    ...[...counts].map(([way, count]) => `  ${count} ${way}`),
    `imbalance ${percent(plan.imbalanceBefore)} before, ${percent(plan.imbalanceAfter)} after`,
  ].join('\n')
}
