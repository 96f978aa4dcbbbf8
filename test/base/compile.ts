import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { transformSync } from '@swc/core'

const root = fileURLToPath(new URL('../../', import.meta.url))

export interface Compiled {
  /** The entry as JavaScript. */
  readonly url: URL
  remove(): void
}

/**
 * Compiles a TypeScript module and all of ours that it imports to JavaScript in a folder of its own (below node_modules, so that packages
 * are found), and `others`, which it starts: for tests that start threads or processes, which Node before 22 cannot run from TypeScript.
 */
export function compile(entry: URL, ...others: readonly URL[]): Compiled {
  const cache = path.join(root, 'node_modules', '.cache')
  mkdirSync(cache, { recursive: true })
  const target = mkdtempSync(path.join(cache, 'ostraka-test-'))
  writeFileSync(path.join(target, 'package.json'), '{"type":"module"}')
  const done = new Set<string>()
  const todo = [entry, ...others].map((module) => fileURLToPath(module))
  for (let source = todo.pop(); source !== undefined; source = todo.pop()) {
    if (done.has(source)) continue
    done.add(source)
    const { code } = transformSync(readFileSync(source, 'utf8'), {
      filename: source,
      swcrc: false,
      sourceMaps: 'inline',
      module: { type: 'es6' },
      jsc: { target: 'es2022', parser: { syntax: 'typescript' }, transform: { verbatimModuleSyntax: true } },
    })
    const folder = path.dirname(source)
    const output = code.replace(
      /^(?!\s*\* )(.*\bfrom|.*\bimport\()\s*(["'])(\.[^"']*)\.ts\2/gm,
      (_all, keyword: string, quote: string, stem: string) => {
        todo.push(path.resolve(folder, `${stem}.ts`))
        return `${keyword} ${quote}${stem}.js${quote}`
      },
    )
    const file = compiledPath(target, source)
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, output)
  }
  return { url: pathToFileURL(compiledPath(target, fileURLToPath(entry))), remove: () => rmSync(target, { recursive: true, force: true }) }
}

function compiledPath(target: string, source: string): string {
  return path.join(target, path.relative(root, source).replace(/\.ts$/, '.js'))
}
