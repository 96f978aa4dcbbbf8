#!/usr/bin/env node
/** Time, randomness and timers are seams (base/clock.ts, base/random.ts): only adapters may take them from the machine. Comments are not looked at. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const adapters = /^(base\/node-|base\/grpc-|cli\/|test\/|bench\/|examples\/|testing\/|scripts\/|proto\/generate|.*\/grpc-[^/]*\.ts$)/
const rules = [
  [/\bDate\.now\(|\bnew Date\(/, 'take the time from the injected Clock'],
  [/\bperformance\.now\(/, 'take the time from the injected Clock'],
  [/\bMath\.random\(|\brandomBytes\(|\brandomUUID\(|\bgetRandomValues\(|\brandomInt\(/, 'draw from the injected Random'],
  [/(?<![.\w])set(Timeout|Interval|Immediate)\(/, 'use Clock.setTimer or Clock.soon'],
  [/(: any\b|\bas any\b|<any>|@ts-ignore|@ts-expect-error)/, 'give it a type'],
]

const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.ts'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((file) => file && !adapters.test(file))
let bad = 0
for (const file of files) {
  let text
  try {
    text = readFileSync(join(root, file), 'utf8')
  } catch {
    continue
  }
  const code = text.replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ' ')).replace(/(^|[^:'"`])\/\/.*$/gm, '$1')
  for (const [number, line] of code.split('\n').entries()) {
    for (const [pattern, better] of rules) {
      if (!pattern.test(line)) continue
      bad++
      console.error(`${file}:${number + 1}: ${line.trim()}: ${better}`)
    }
  }
}
if (files.length < 20) {
  bad++
  console.error(`only ${files.length} files were seen`)
}
console.log(`${files.length} files, ${bad} violations`)
process.exit(bad === 0 ? 0 : 1)
