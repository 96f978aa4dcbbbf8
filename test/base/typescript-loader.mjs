/** `node --import <this file>` runs TypeScript as it stands, on any Node that we support: types are stripped by swc. For tests that start threads and processes. */
import { register } from 'node:module'

const hooks = `
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { transform } from ${JSON.stringify(import.meta.resolve('@swc/core'))}
export async function load(url, context, next) {
  if (!url.startsWith('file:') || !url.endsWith('.ts')) return next(url, context)
  const { code } = await transform(await readFile(fileURLToPath(url), 'utf8'), {
    filename: fileURLToPath(url), swcrc: false, sourceMaps: 'inline', module: { type: 'es6' },
    jsc: { target: 'es2022', parser: { syntax: 'typescript' }, transform: { verbatimModuleSyntax: true } },
  })
  return { format: 'module', source: code, shortCircuit: true }
}
`
register(`data:text/javascript,${encodeURIComponent(hooks)}`, import.meta.url)
