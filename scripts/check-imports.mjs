#!/usr/bin/env node
/**
 * Holds the table of docs/architecture.md ("imports run only downwards") with dependency-cruiser, and the rule that only adapters touch the
 * machine. Fails too when the cruiser saw no modules, or none in one of our folders: a cruiser that cannot parse passes everything.
 */
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cruise } from 'dependency-cruiser'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
process.chdir(root)

const everything = ['base', 'proto', 'raft', 'lsm', 'level', 'controller', 'shardserver', 'client', 'testing', 'cli', 'bench', 'examples']
const mayImport = {
  base: [],
  proto: ['base'],
  raft: ['base', 'proto'],
  lsm: ['base'],
  level: ['base', 'lsm'],
  controller: ['base', 'proto', 'raft', 'lsm'],
  shardserver: ['base', 'proto', 'raft', 'lsm'],
  client: ['base', 'proto'],
  testing: everything,
  cli: everything,
  bench: everything,
  examples: everything,
}

const layerRules = Object.entries(mayImport).map(([folder, allowed]) => ({
  name: `imports-of-${folder}`,
  severity: 'error',
  from: { path: `^${folder}/` },
  to: {
    path: '^(?!node_modules/)[^/]+/',
    pathNot: [`^(${[folder, ...allowed].join('|')})/`],
    dependencyTypesNot: ['core', 'npm', 'npm-dev', 'npm-no-pkg', 'unknown', 'undetermined'],
  },
}))

const adapters = ['^base/node-', '^base/grpc-', '/grpc-[^/]*\\.ts$', '^cli/', '^test/', '^bench/', '^examples/', '^testing/']
const result = await cruise([...Object.keys(mayImport), 'test'], {
  ruleSet: {
    forbidden: [
      ...layerRules,
      // Types count as imports here, so a cycle is one of design too.
      { name: 'no-cycle', severity: 'error', from: { pathNot: '^test/' }, to: { circular: true } },
      {
        name: 'machine-only-in-adapters',
        comment: 'files, sockets, threads and timers are seams (base/): inject them',
        severity: 'error',
        from: { pathNot: [...adapters, '\\.mjs$'] },
        to: {
          dependencyTypes: ['core'],
          path: '^(node:)?(fs|fs/promises|net|tls|dgram|http|http2|worker_threads|timers|timers/promises|child_process|os)$',
        },
      },
    ],
  },
  validate: true,
  tsPreCompilationDeps: true,
  doNotFollow: { path: 'node_modules' },
  exclude: { path: ['^node_modules', '^dist', '^proto/gen'] },
  enhancedResolveOptions: { extensions: ['.ts', '.js', '.mjs'] },
  parser: 'swc',
})

const { summary, modules } = result.output
let bad = 0
for (const violation of summary.violations) {
  bad++
  console.error(
    `${violation.rule.name}: ${violation.from} -> ${violation.to}${violation.cycle ? ` (${violation.cycle.map((step) => step.name).join(' -> ')})` : ''}`,
  )
}
for (const folder of Object.keys(mayImport)) {
  const seen = modules.filter((module) => module.source.startsWith(`${folder}/`) && module.source.endsWith('.ts'))
  if (seen.length === 0) {
    bad++
    console.error(`the cruiser saw no module of ${folder}/`)
  }
}
const edges = modules.reduce((sum, module) => sum + module.dependencies.filter((to) => !to.coreModule).length, 0)
if (edges < modules.length / 2) {
  bad++
  console.error(`the cruiser saw ${modules.length} modules but only ${edges} imports: it does not parse them`)
}
console.log(`${modules.length} modules, ${edges} imports, ${bad} violations`)
process.exit(bad === 0 ? 0 : 1)
