import type { Command } from 'commander'
import { OstrakaError } from '../proto/errors.ts'
import type { pb } from '../proto/messages.ts'
import { parseName } from './address.ts'
import { CommandError, exitCode } from './exit-code.ts'
import { examples, type Invocation, type Registry } from './invocation.ts'
import { pollUntil } from './poll.ts'

/** The controllers' own group. */
const controllerGroup = 'controller'

export function addAdminTransfer(admin: Command, registry: Registry): void {
  const command = admin
    .command('transfer-leader')
    .description('hand the leadership of a group to one of its nodes')
    .argument('<group>', `its name, or '${controllerGroup}' for the controllers`)
    .argument('<node>', 'the id of the node that is to lead')
    .addHelpText('after', examples('admin transfer-leader g1 n2', 'admin transfer-leader controller c1 --json'))
  registry.add(command, async (invocation) => {
    const group = parseName(command.processedArgs[0] as string, 'group')
    const node = parseName(command.processedArgs[1] as string, 'id')
    await transferLeader(invocation, group, node)
    invocation.print({ group, leader: node }, `${node} leads ${group}`)
    return undefined
  })
}

/** Asks the node that leads, as far as is known; one that does not names another. */
async function transferLeader(invocation: Invocation, group: string, node: string): Promise<void> {
  const timeoutMs = invocation.timeoutMs()
  await invocation.withControllers(async (controllers) => {
    let hint = ''
    let refusal: OstrakaError | undefined
    const done = await pollUntil(timeoutMs, async (leftMs) => {
      const status = await controllers.status({ timeoutMs: leftMs })
      const leader = hint || leaderOf(status, group)
      hint = ''
      if (leader === '') return undefined
      try {
        await invocation.world.transferLeader(addressOf(status, leader), { group, node }, leftMs)
        return true
      } catch (error) {
        if (!(error instanceof OstrakaError) || error.code !== 'NOT_LEADER') throw error
        refusal = error
        hint = error.details.leaderHint ?? ''
        return undefined
      }
    })
    if (done === undefined) throw refusal ?? new CommandError(exitCode.unavailable, 'UNAVAILABLE', `${group} has no leader`)
  })
}

/** Node id; '' where nobody leads. */
function leaderOf(status: pb.v1.ClusterStatusReply, group: string): string {
  if (group === controllerGroup) return status.controllers.find(({ role }) => role === 'leader')?.id ?? ''
  const found = status.groups.find(({ name }) => name === group)
  if (found !== undefined) return found.leader ?? ''
  const known = [...status.groups.map(({ name }) => name), controllerGroup].join(', ')
  throw new CommandError(exitCode.failed, 'NOT_FOUND', `there is no group '${group}'; known are ${known}`)
}

function addressOf(status: pb.v1.ClusterStatusReply, id: string): string {
  const address = [...status.nodes, ...status.controllers].find((process) => process.id === id)?.address
  if (address) return address
  throw new CommandError(exitCode.failed, 'NOT_FOUND', `${id} has not registered: its address is not known`)
}
