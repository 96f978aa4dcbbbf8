import { describeCheck, type Mutant } from './mutant.ts'
import type { Verdict } from './workshop.ts'

/** What became of one mutant. */
export interface Row {
  readonly mutant: Mutant
  /** What each of its checks found, as far as they were run. */
  readonly caught: readonly Verdict[]
  /** Why it counts as not caught; undefined: every check caught it. */
  readonly escaped: string | undefined
}

const begin = '<!-- npm run mutants -- --write: begin -->'
const end = '<!-- npm run mutants -- --write: end -->'

/** In Markdown. */
export function renderTable(rows: readonly Row[]): string {
  const lines = rows.map(({ mutant, caught, escaped }) => {
    const by = escaped === undefined ? caught.map(tell(mutant)).join('; ') : `**not caught**: ${escaped}`
    const seeds = caught.flatMap((verdict) => (verdict.seeds === undefined ? [] : [String(verdict.seeds)])).join(', ')
    return `| ${[mutant.title, mutant.bugClass, by, seeds].map(escapeCell).join(' | ')} |`
  })
  return ['| break | class | caught by | seeds |', '|---|---|---|---|', ...lines].join('\n')
}

/** For people: `Verdict.by`, and for the simulator how it is called. */
function tell({ checks }: Mutant): (verdict: Verdict, i: number) => string {
  return ({ by }, i) => {
    const check = checks[i]
    return check?.kind === 'sim' ? `\`${describeCheck(check)}\`: ${by}` : by
  }
}

/** `document` with `table` in the place of the one that is there. Throws Error where it has no place for it. */
export function withTable(document: string, table: string): string {
  const from = document.indexOf(begin)
  const to = document.indexOf(end)
  if (from < 0 || to < from) throw new Error(`there is no '${begin}' followed by '${end}'`)
  return `${document.slice(0, from + begin.length)}\n\n${table}\n\n${document.slice(to)}`
}

function escapeCell(cell: string): string {
  return cell.replaceAll('|', '\\|').replaceAll('<', '\\<')
}
