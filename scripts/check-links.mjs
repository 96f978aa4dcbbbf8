#!/usr/bin/env node
/** Every relative link in the Markdown files names a file that is there, and every `#anchor` a heading; no place is left to be filled in (a line of CAPITALS_ALONE). */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((file) => file && existsSync(join(root, file)))
const slug = (heading) =>
  heading
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .replace(/\s/g, '-')
const anchors = (file) =>
  new Set([...readFileSync(join(root, file), 'utf8').matchAll(/^#{1,6}\s+(.+)$/gm)].map((match) => slug(match[1].replace(/`/g, ''))))

let bad = 0
let links = 0
for (const file of files) {
  const text = readFileSync(join(root, file), 'utf8')
    .replace(/```[\s\S]*?```/g, '')
    .replace(/`[^`\n]*`/g, '')
  for (const [place] of text.matchAll(/^[A-Z]+(_[A-Z]+)+$/gm)) {
    bad++
    console.error(`${file}: ${place} was never filled in`)
  }
  for (const match of text.matchAll(/\]\(([^)\s]+)\)/g)) {
    const [path, anchor] = match[1].split('#')
    if (/^[a-z]+:/.test(match[1])) continue
    links++
    const target = path === '' ? file : normalize(join(dirname(file), path))
    const there = existsSync(join(root, target))
    if (!there || (anchor && statSync(join(root, target)).isFile() && !anchors(target).has(anchor))) {
      bad++
      console.error(`${file}: broken link ${match[1]}`)
    }
  }
}
console.log(`${links} links in ${files.length} files, ${bad} bad`)
process.exit(bad === 0 ? 0 : 1)
