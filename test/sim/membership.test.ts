import { describe, expect, it } from 'vitest'
import { MembershipStage } from './membership-stage.ts'

async function stage(seed: number): Promise<MembershipStage> {
  const opened = new MembershipStage(seed)
  await opened.open()
  return opened
}

describe('the members of a group change under load', () => {
  it('one comes, one goes, one is replaced', async () => {
    const play = await stage(1)
    await play.change('g1', ['n4'], [])
    await play.settled('g1', 'n1 n2 n3 n4')
    await play.change('g1', [], ['n1'])
    await play.settled('g1', 'n2 n3 n4')
    await play.change('g1', ['n5'], ['n2'])
    await play.settled('g1', 'n3 n4 n5')
    await play.finish()
    expect(play.workload.counts.failed + play.workload.counts.unknown).toBe(0)
  })
})
