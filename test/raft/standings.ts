import { firstStanding, type Standing } from '../../raft/standing.ts'

/** A group of `count` voters on nodes n1, n2, …, before its first entry. */
export function firstOf(count: number): Standing {
  return firstStanding(new Map(Array.from({ length: count }, (_, i) => [i + 1, `n${i + 1}`])))
}

/** The same group behind an entry, its membership never changed. */
export function standingAt(index: number, term: number, count = 3): Standing {
  return { ...firstOf(count), index, term }
}
