import type { Command } from 'commander'
import { addAdminAutoRebalance } from './admin-auto-rebalance.ts'
import { addAdminCompact } from './admin-compact.ts'
import { addAdminJoin } from './admin-join.ts'
import { addAdminLeave } from './admin-leave.ts'
import { addAdminMigrations } from './admin-migrations.ts'
import { addAdminMove } from './admin-move.ts'
import { addAdminPlan } from './admin-plan.ts'
import { addAdminQuery } from './admin-query.ts'
import { addAdminRebalance } from './admin-rebalance.ts'
import { addAdminReplicas } from './admin-replicas.ts'
import { addAdminShards } from './admin-shards.ts'
import { addAdminStatus } from './admin-status.ts'
import { addAdminSteer } from './admin-steer.ts'
import { addAdminTransfer } from './admin-transfer.ts'
import { addAdminWeight } from './admin-weight.ts'
import { addCommonOptions, type Registry } from './invocation.ts'

export function addAdmin(program: Command, registry: Registry): void {
  // The common flags may also stand between `admin` and the name of what it is to do.
  const admin = addCommonOptions(program.command('admin')).description('change the cluster, or look at it')
  addAdminJoin(admin, registry)
  addAdminLeave(admin, registry)
  addAdminMove(admin, registry)
  addAdminPlan(admin, registry)
  addAdminRebalance(admin, registry)
  addAdminWeight(admin, registry)
  addAdminAutoRebalance(admin, registry)
  addAdminReplicas(admin, registry)
  addAdminMigrations(admin, registry)
  addAdminSteer(admin, registry)
  addAdminQuery(admin, registry)
  addAdminStatus(admin, registry)
  addAdminShards(admin, registry)
  addAdminTransfer(admin, registry)
  addAdminCompact(admin, registry)
}
