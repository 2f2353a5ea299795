// The types compile under `tsc --strict`, without skipLibCheck, for CommonJS and ES modules, as
// Node.js resolves them and as bundlers do; and they name what the package really exports.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { EventEmitter } from 'node:events'
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import * as esm from 'kamacache'

const require = createRequire(import.meta.url)
const tsc = require.resolve('typescript/bin/tsc')
const usage = fileURLToPath(new URL('types/usage.ts', import.meta.url))

/** Checks usage.ts in a folder under test/ (so that `kamacache` is this package), as .cts or .mts. */
function check(t, { extension, module, moduleResolution }) {
  const folder = fileURLToPath(new URL(`types/.check-${module}-${extension}/`, import.meta.url))
  mkdirSync(folder, { recursive: true })
  t.after(() => rmSync(folder, { recursive: true }))
  cpSync(usage, `${folder}usage.${extension}`)
  const compilerOptions = {
    strict: true,
    skipLibCheck: false,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    target: 'es2022',
    lib: ['es2023', 'esnext.disposable'],
    types: ['node'],
    module,
    moduleResolution,
  }
  writeFileSync(`${folder}tsconfig.json`, JSON.stringify({ compilerOptions, files: [`usage.${extension}`] }))
  const { status, stdout, stderr } = spawnSync(process.execPath, [tsc, '-p', folder], { encoding: 'utf8' })
  assert.equal(status, 0, stdout + stderr)
}

for (const settings of [
  { extension: 'cts', module: 'node16', moduleResolution: 'node16' },
  { extension: 'mts', module: 'node16', moduleResolution: 'node16' },
  { extension: 'ts', module: 'esnext', moduleResolution: 'bundler' },
]) {
  test(`tsc --strict, ${settings.moduleResolution}, .${settings.extension}`, (t) => check(t, settings))
}

test('require and import give the same objects, and the types name them all', () => {
  const cjs = require('kamacache')
  assert.deepEqual(Object.keys(cjs).sort(), ['Group', 'KamaCacheError', 'Node'])
  assert.deepEqual(Object.keys(esm).sort(), Object.keys(cjs).sort())
  for (const name of Object.keys(cjs)) assert.equal(esm[name], cjs[name])
})

test('the stats of the types are the stats there are', async () => {
  const types = readFileSync(new URL('../lib/index.d.ts', import.meta.url), 'utf8')
  const [, body] = types.match(/export interface Stats \{([^}]*)\}/)
  const typed = [...body.matchAll(/^ {2}(\w+): number$/gm)].map(([, name]) => name)
  const node = await esm.Node.start()
  const stats = node.group('g', { maxBytes: 65_536 }).stats()
  await node.close()
  assert.deepEqual(typed.sort(), Object.keys(stats).sort())
})

test('the prototypes have the methods of the types, and no others of our own', () => {
  const types = readFileSync(new URL('../lib/index.d.ts', import.meta.url), 'utf8')
  for (const name of ['Node', 'Group']) {
    const [, body] = types.match(new RegExp(`export class ${name}(?:<.*>)? \\{([^]*?)\\n\\}`))
    const typed = [...body.matchAll(/^ {2}(?:readonly )?(\w+)[(<:]/gm)].map(([, member]) => member)
    const { prototype } = esm[name]
    for (const member of typed) assert.ok(member in prototype, member)
    const own = Object.getOwnPropertyNames(prototype).filter((member) => !(member in EventEmitter.prototype))
    for (const member of own) assert.ok(typed.includes(member), member)
  }
})
