/** abstract-level's own suite over OstrakaLevel, as TAP: `suite.test.ts` starts it as a process of its own. */
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { AbstractLevel } from 'abstract-level'
import suite from 'abstract-level/test/index.js'
import test from 'tape'
import { OstrakaLevel, type OstrakaLevelOptions } from '../../level/index.ts'

const parent = mkdtempSync(path.join(os.tmpdir(), 'ostraka-level-'))
// Before tape's own, which ends the process.
process.on('exit', () => rmSync(parent, { recursive: true, force: true }))
let databases = 0

suite({
  test,
  factory: (options?: OstrakaLevelOptions<string, string>) => {
    const level: unknown = new OstrakaLevel(path.join(parent, String(databases++)), options)
    // It is one; whether the compiler finds so depends on which of the types that name each other it looks at first.
    return level as AbstractLevel<Uint8Array, string, string>
  },
})
