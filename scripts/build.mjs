#!/usr/bin/env node
/** Makes `dist/`: generated protobuf code, then TypeScript, then what TypeScript does not copy. */
import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, readdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const run = (file, ...parameters) => execFileSync(process.execPath, [join(root, file), ...parameters], { cwd: root, stdio: 'inherit' })

/** Modules that were deleted or renamed must not live on in `dist/`. */
function removeOrphans(folder) {
  if (!existsSync(join(root, 'dist', folder))) return
  for (const entry of readdirSync(join(root, 'dist', folder), { withFileTypes: true })) {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`
    if (path === 'proto/gen') continue
    if (entry.isDirectory()) {
      removeOrphans(path)
      continue
    }
    const source = path.replace(/(\.js|\.js\.map|\.d\.ts)$/, '.ts')
    if (source !== path && !existsSync(join(root, source))) rmSync(join(root, 'dist', path))
  }
}

try {
  removeOrphans('')
  run('proto/generate.mjs')
  // The incremental state must not outlive what it describes.
  if (!existsSync(join(root, 'dist/cli/main.js'))) rmSync(join(root, 'dist/.tsbuildinfo'), { force: true })
  run('node_modules/typescript/bin/tsc', '-p', '.')
  cpSync(join(root, 'proto/gen'), join(root, 'dist/proto/gen'), { recursive: true })
  for (const name of ['error', 'kv', 'controller', 'raft', 'node'])
    cpSync(join(root, `proto/${name}.proto`), join(root, `dist/proto/${name}.proto`))
  chmodSync(join(root, 'dist/cli/main.js'), 0o755)
} catch (error) {
  // The tool that failed has said why.
  process.exit(error.status ?? 1)
}
