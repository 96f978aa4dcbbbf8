import type { Command } from 'commander'
import type { ChangeOutcome } from '../proto/controller-client.ts'
import type { pb } from '../proto/messages.ts'
import { addJoinFlags, type JoinFlags, joinChange, parseGroupName } from './admin-join.ts'
import { leaveChange } from './admin-leave.ts'
import { moveChange } from './admin-move.ts'
import { rebalanceChange } from './admin-rebalance.ts'
import { weightChange } from './admin-weight.ts'
import { anyBase, type Base, outcomeJson, outcomeText, type PlannableChange, waitHelp, waitSeconds } from './change.ts'
import { CommandError, type ExitCode, exitCode, usageError } from './exit-code.ts'
import { addCommonOptions, examples, type Invocation, type Registry } from './invocation.ts'
import { byteText, durationText } from './units.ts'

interface PlanFlags {
  readonly apply?: boolean
  readonly base?: string
  readonly wait?: boolean
}

/** plan join, leave, move, rebalance, weight. */
export function addAdminPlan(admin: Command, registry: Registry): void {
  const plan = addCommonOptions(admin.command('plan')).description('tell what a change would do; with --apply do exactly that')
  const add = (command: Command, change: (command: Command, author: string) => PlannableChange, ...shown: string[]) => {
    command
      .option('--apply', 'do exactly that; refused if the config has changed since')
      .option(
        '--base <number>',
        'NUMBER or NUMBER:MARK of a plan: refused unless that config is the newest and, with its mark, no migration went on',
      )
      .option('--wait', `with --apply: ${waitHelp}`)
      .addHelpText('after', examples(...shown))
    registry.add(command, (invocation) => runPlan(invocation, change(command, invocation.world.author), command.opts<PlanFlags>()))
  }
  add(
    addJoinFlags(plan.command('join')).description('what adding groups would do'),
    (command, author) => joinChange(command.processedArgs[0] as string[], command.opts<JoinFlags>(), author),
    'admin plan join g3 --nodes n7=10.0.0.7:7410,n8=10.0.0.8:7410,n9=10.0.0.9:7410',
    'admin plan join g3 --nodes n7=10.0.0.7:7410 --apply --wait',
  )
  add(
    plan.command('leave').description('what taking a group out would do').argument('<group>', 'name of the group'),
    (command, author) => leaveChange(parseGroupName(command.processedArgs[0] as string), author),
    'admin plan leave g3 --json',
    'admin plan leave g3 --apply --base 12',
  )
  add(
    plan
      .command('move')
      .description('what moving a shard would do')
      .argument('<shard>', 'its number')
      .argument('<group>', 'name of the group'),
    (command, author) => moveChange(command.processedArgs[0] as string, command.processedArgs[1] as string, author),
    'admin plan move 12 g2',
  )
  add(
    plan.command('rebalance').description('what evening out would do'),
    (_, author) => rebalanceChange(author),
    'admin plan rebalance',
    'admin plan rebalance --apply --wait',
  )
  add(
    plan
      .command('weight')
      .description('what another weight of a group would do')
      .argument('<group>', 'name of the group')
      .argument('<weight>', 'its share relative to the others'),
    (command, author) => weightChange(command.processedArgs[0] as string, command.processedArgs[1] as string, author),
    'admin plan weight g2 0.5',
    'admin plan weight g2 2 --apply --wait',
  )
}

async function runPlan(invocation: Invocation, change: PlannableChange, flags: PlanFlags): Promise<ExitCode | undefined> {
  const base = flags.base === undefined ? anyBase : parseBase(flags.base)
  const wait = flags.wait === true
  if (wait && flags.apply !== true) throw usageError('--wait goes with --apply')
  const timeoutMs = invocation.timeoutMs(wait ? waitSeconds : undefined)
  const startMs = performance.now()
  const leftMs = () => Math.max(1, timeoutMs - (performance.now() - startMs))
  await invocation.withControllers(async (controllers) => {
    const reply = await controllers.plan(change.plan, { timeoutMs })
    mustBuildOn(reply, base)
    let outcome: ChangeOutcome | undefined
    if (flags.apply === true) {
      const planned = { base: reply.configNumber, baseMigrations: reply.migrationsMark }
      outcome = await change.make(controllers, planned, { timeoutMs: leftMs() })
      if (wait) {
        const { waitForChange } = await import('./wait.ts')
        await waitForChange(invocation, controllers, change, outcome, leftMs())
      }
    }
    invocation.print(planJson(reply, outcome), planText(reply, outcome))
  })
  return undefined
}

function parseBase(text: string): Base {
  const match = /^([1-9]\d{0,14})(?::([1-9]\d{0,14}))?$/.exec(text)
  if (match === null) throw usageError(`--base ${text}: give a config number, a whole number from 1, or what a plan says it is on (12:3)`)
  return { base: Number(match[1]), baseMigrations: Number(match[2] ?? 0) }
}

function mustBuildOn({ configNumber, migrationsMark }: pb.v1.PlanReply, { base, baseMigrations }: Base): void {
  const isSame = (base === 0 || base === configNumber) && (baseMigrations === 0 || baseMigrations === migrationsMark)
  if (isSame) return
  const [now, then] = base === configNumber ? [`${configNumber}:${migrationsMark}`, `${base}:${baseMigrations}`] : [configNumber, base]
  const text = `config is ${now}, you planned on ${then}: look at a new plan first`
  throw new CommandError(exitCode.failed, 'FAILED_PRECONDITION', text)
}

function planJson(plan: pb.v1.PlanReply, applied: ChangeOutcome | undefined): object {
  const moves = plan.moves.map(({ shard, from, to, bytes }) => ({ shard, from: from || null, to, bytes }))
  return {
    configNumber: plan.configNumber,
    migrationsMark: plan.migrationsMark,
    moves,
    bytes: bytesOf(plan),
    estimatedSeconds: estimatedSeconds(plan),
    imbalanceBefore: plan.imbalanceBefore,
    imbalanceAfter: plan.imbalanceAfter,
    ...(applied === undefined ? {} : { applied: outcomeJson(applied) }),
  }
}

function planText(plan: pb.v1.PlanReply, applied: ChangeOutcome | undefined): string {
  const ways = new Map<string, { shards: number; bytes: number }>()
  for (const { from, to, bytes } of plan.moves) {
    const name = from ? `${from} → ${to}` : `born in ${to}`
    const way = ways.get(name) ?? { shards: 0, bytes: 0 }
    ways.set(name, { shards: way.shards + 1, bytes: way.bytes + (bytes ?? 0) })
  }
  const percent = (share: number) => `${(share * 100).toFixed(1)} %`
  return [
    `on config ${plan.configNumber}:${plan.migrationsMark}: ${plan.moves.length} shards, about ${byteText(bytesOf(plan))}${durationOf(plan)}`,
    ...[...ways].map(([name, { shards, bytes }]) => `  ${name}: ${shards} shards, about ${byteText(bytes)}`),
    `imbalance ${percent(plan.imbalanceBefore)} before, ${percent(plan.imbalanceAfter)} after`,
    ...(applied === undefined ? [] : [`applied: ${outcomeText(applied)}`]),
  ].join('\n')
}

/** Null: nothing moves, or the controllers' leader is new and does not know the sizes yet. */
function estimatedSeconds({ estimatedMs }: pb.v1.PlanReply): number | null {
  return estimatedMs > 0 ? estimatedMs / 1000 : null
}

function durationOf({ estimatedMs, moves }: pb.v1.PlanReply): string {
  if (moves.length === 0) return ''
  return estimatedMs > 0 ? `, about ${durationText(estimatedMs)}` : ', of sizes not known yet'
}

function bytesOf(plan: pb.v1.PlanReply): number {
  return plan.moves.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0)
}
