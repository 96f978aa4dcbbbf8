import type { Command } from 'commander'
import { OstrakaError } from '../proto/errors.ts'
import type { pb } from '../proto/messages.ts'
import { parseAddress, parseName } from './address.ts'
import { CommandError, exitCode } from './exit-code.ts'
import { examples, type Invocation, type Registry } from './invocation.ts'
import { nodeAt } from './node-at.ts'
import { pollUntil } from './poll.ts'

/** The controllers' own group. */
const controllerGroup = 'controller'

export function addAdminTransfer(admin: Command, registry: Registry): void {
  const command = admin
    .command('transfer-leader')
    .description('hand the leadership of a group to one of its nodes')
    .argument('<group>', `its name, or '${controllerGroup}' for the controllers`)
    .argument('<node>', 'the id of the node that is to lead, or HOST:PORT')
    .addHelpText('after', examples('admin transfer-leader g1 n2', 'admin transfer-leader controller c1 --json'))
  registry.add(command, async (invocation) => {
    const group = parseName(command.processedArgs[0] as string, 'group')
    const given = command.processedArgs[1] as string
    const node = given.includes(':') ? parseAddress(given) : parseName(given, 'id')
    const leader = await transferLeader(invocation, group, node)
    invocation.print({ group, leader }, `${leader} leads ${group}`)
    return undefined
  })
}

/** Asks the node that leads, as far as is known; one that does not names another. Returns the id of `node`, an id or an address. */
async function transferLeader(invocation: Invocation, group: string, node: string): Promise<string> {
  const timeoutMs = invocation.timeoutMs()
  return await invocation.withControllers(async (controllers) => {
    let hint = ''
    let refusal: OstrakaError | undefined
    const done = await pollUntil(timeoutMs, async (leftMs) => {
      const status = await controllers.status({ timeoutMs: leftMs })
      const leader = hint || leaderOf(status, group)
      hint = ''
      if (leader === '') return undefined
      try {
        const id = node.includes(':') ? nodeAt(status, group === controllerGroup ? 'controllers' : 'nodes', node) : node
        await invocation.world.transferLeader(addressOf(status, leader), { group, node: id }, leftMs)
        return id
      } catch (error) {
        if (!(error instanceof OstrakaError) || error.code !== 'NOT_LEADER') throw error
        refusal = error
        hint = error.details.leaderHint ?? ''
        return undefined
      }
    })
    if (done === undefined) throw refusal ?? new CommandError(exitCode.unavailable, 'UNAVAILABLE', `${group} has no leader`)
    return done
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
