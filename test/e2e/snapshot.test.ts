/** A real server that is away while the others truncate their logs past it: it comes back by a snapshot. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, connect } from '../../client/index.ts'
import { Up } from './up.ts'

const snapshotLogBytes = 1024 * 1024
/** Twice the bound is kept for who lags; then a flush, and what is written meanwhile. */
const logBytesMax = 5 * snapshotLogBytes
const value = 'x'.repeat(128)

interface GroupJson {
  readonly leader: string
  readonly applied: number
  readonly lastIndex: number
  readonly firstIndex: number
  readonly logBytes: number
  readonly stateHash?: string
}

describe('a server that was away past the truncation of the log', () => {
  let up: Up
  let db: Client
  beforeAll(async () => {
    up = await Up.start([
      '--shards',
      '16',
      '--groups',
      '1',
      '--election-timeout-ms',
      '500',
      '--snapshot-log-bytes',
      String(snapshotLogBytes),
    ])
    db = await connect({ controllers: [...up.ready.controllers], deadlineMs: 30_000 })
  })
  afterAll(async () => {
    await db?.close()
    await up?.dispose()
  })

  async function group(node: string, ...flags: string[]): Promise<GroupJson | undefined> {
    const { code, stdout } = await up.run(['admin', 'status', node, '--json', ...flags])
    return code === 0 ? (JSON.parse(stdout) as { groups: Record<string, GroupJson> }).groups.g1 : undefined
  }

  it('catches up by a snapshot and is equal; the log of the others stays bounded meanwhile', async () => {
    await db.put('first', value)
    const leader = (await group('n1'))?.leader
    const away = up.ready.nodes.find(({ id }) => id !== leader)
    const other = up.ready.nodes.find(({ id }) => id !== leader && id !== away?.id)?.id ?? ''
    const last = (await group(away?.id ?? ''))?.lastIndex ?? 0
    expect(last).toBeGreaterThan(0)
    process.kill(away?.pid ?? 0, 'SIGSTOP')
    let rounds = 0
    for (; rounds < 40; rounds++) {
      await Promise.all(Array.from({ length: 1000 }, (_, i) => db.put(`key ${(rounds * 1000 + i) % 5000}`, value)))
      const seen = await group(other)
      expect(seen?.logBytes).toBeLessThan(logBytesMax)
      if ((seen?.firstIndex ?? 0) > last + 1 && ((await group(leader ?? ''))?.firstIndex ?? 0) > last + 1) break
    }
    expect(rounds).toBeLessThan(40)
    process.kill(away?.pid ?? 0, 'SIGKILL')
    await up.saw(`${away?.id} is back`)
    await db.put('last', value)
    let met: GroupJson[] = []
    for (let round = 0; round < 60 && met.length === 0; round++) {
      const seen = await Promise.all(up.ready.nodes.map(({ id }) => group(id, '--hash')))
      const found = seen.filter((each) => each !== undefined)
      if (found.length === 3 && new Set(found.map(({ applied }) => applied)).size === 1) met = found
    }
    expect(met).toHaveLength(3)
    expect(new Set(met.map(({ stateHash }) => stateHash)).size).toBe(1)
    expect(met[0]?.stateHash).toMatch(/^[0-9a-f]+$/)
    // Its own log has nothing of what it missed.
    expect((await group(away?.id ?? ''))?.firstIndex).toBeGreaterThan(last + 1)
    expect(up.stderr).toContain('installed a snapshot')
  }, 240_000)
})
