// Builds the native addon and puts it next to lib/, where lib/native.js looks first.
// Usage: node scripts/build.mjs [--release]

import { spawnSync } from 'node:child_process'
import { copyFileSync, renameSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = join(dirname(fileURLToPath(import.meta.url)), '..')

/** The name of this platform, as lib/native.js says it. */
export function platform() {
  const libc = process.report.getReport().header.glibcVersionRuntime ? 'gnu' : 'musl'
  return `${process.platform}-${process.arch}${process.platform === 'linux' ? `-${libc}` : ''}`
}

/** Builds the addon; returns where cargo put it. */
export function build({ release }) {
  const args = ['rustc', '-p', 'kamacache-nodejs', '--lib', '--message-format=json-render-diagnostics']
  // Symbols are half of the file and nobody debugs a published addon.
  if (release) args.push('--release', '--', '-C', 'strip=symbols')
  const cargo = spawnSync('cargo', args, { cwd: here, stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 28 })
  if (cargo.error) throw new Error(`cannot run cargo: ${cargo.error.message}; install Rust from https://rustup.rs`)
  if (cargo.status !== 0) process.exit(cargo.status ?? 1)
  const messages = cargo.stdout.toString().split('\n').filter(Boolean).map((line) => JSON.parse(line))
  const built = messages.findLast((m) => m.reason === 'compiler-artifact' && m.target.kind.includes('cdylib'))
  return built.filenames[0]
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const addon = join(here, `kamacache.${platform()}.node`)
  // Renamed into place: a process that has the old file loaded keeps it.
  copyFileSync(build({ release: process.argv.includes('--release') }), `${addon}.new`)
  renameSync(`${addon}.new`, addon)
  console.log(`built ${addon}`)
}
