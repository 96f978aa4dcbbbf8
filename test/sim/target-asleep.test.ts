/**
 * The target's leader is stopped (SIGSTOP) in the middle of a copy of minutes, for longer than a move may stand still. Another one leads and drives meanwhile. Who wakes up
 * has seen nothing move for more than a minute, and believes to lead until it hears better: it must not have the move aborted.
 */
import { expect, it } from 'vitest'
import { pb } from '../../proto/messages.ts'
import { ScriptStage } from './script-stage.ts'
import { World } from './world.ts'

const keys = 60
const keyBytes = 1000

it.each([1501, 1502, 1503])(
  'a leader that wakes up after more than a minute aborts no move that another one drives (seed %i)',
  async (seed) => {
    const world = new World({ seed })
    const stage = new ScriptStage(world, { migrationBytesPerSecond: 500 })
    await stage.open()
    await stage.fill()
    const { cluster } = stage
    const shard = stage.someShard()
    for (let number = 0; number < keys; number++) await stage.put(stage.keyIn(shard, number), `${number}`.padEnd(keyBytes, '.'))
    const group = stage.uid('g2')
    const sleeper = cluster.groupLeader(group) ?? ''
    const exporting = stage.watch('export')
    const id = await stage.ask(shard, 'g2')
    await world.runUntil(exporting, 20_000)
    await world.runFor(1000 + 2000 * world.random.next())
    cluster.pause(sleeper, 65_000 + 20_000 * world.random.next(), 'running')
    await world.runFor(60_000)
    expect(cluster.groupLeader(group)).not.toBe(sleeper)
    expect((await stage.migration(id)).phase).toBe(pb.v1.MigrationPhase.COPYING)
    expect(await stage.ended(id, 300_000)).toBe('done')
    await stage.finish()
    stage.close()
  },
  120_000,
)
