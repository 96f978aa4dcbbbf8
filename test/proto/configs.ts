import type { SeededRandom } from '../../base/random.ts'
import { Config, type Group, type MemberState } from '../../proto/config.ts'

const memberStates: readonly MemberState[] = ['voter', 'joining', 'leaving']

/** A config that might follow `previous`: some groups kept, changed, gone or new; some shards moved; some pins. */
export function randomConfig(random: SeededRandom, shardCount: number, number: number, previous?: Config): Config {
  const groups: Group[] = []
  for (const group of previous?.groups ?? []) {
    if (random.below(4) === 0) continue
    groups.push(random.below(4) === 0 ? { ...group, weight: 1 + random.below(3), state: 'draining' } : group)
  }
  for (let i = random.below(4); i > 0; i--) {
    const name = `g${random.below(20)}`
    if (groups.some((group) => group.name === name)) continue
    const members = Array.from({ length: 1 + random.below(3) }, (_, at) => ({
      node: `n${at}`,
      replica: 1 + random.below(1000),
      state: memberStates[random.below(3)] ?? 'voter',
    }))
    groups.push({ uid: `${name}@${number}`, name, weight: 0.5 + random.next(), state: 'active', members })
  }
  const owners = Array.from({ length: shardCount }, (_, shard) => {
    const kept = previous?.groupOf(shard)?.uid
    if (kept !== undefined && random.below(3) > 0 && groups.some((group) => group.uid === kept)) return kept
    return groups.length === 0 || random.below(5) === 0 ? undefined : groups[random.below(groups.length)]?.uid
  })
  const pins = new Map<number, string>()
  for (let i = random.below(5); i > 0; i--) pins.set(random.below(shardCount), `g${random.below(20)}`)
  return new Config({
    number,
    atMs: 1_700_000_000_000 + number,
    cause: `change ${number}`,
    author: random.below(2) === 0 ? '' : 'somebody',
    shardCount,
    groups,
    owner: (shard) => owners[shard],
    epoch: (shard) => Math.max(previous?.epochOf(shard) ?? 0, 1) + random.below(2),
    pins,
  })
}
