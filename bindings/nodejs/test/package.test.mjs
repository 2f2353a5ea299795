// The tarballs: exactly two, publint and are-the-types-wrong have nothing to say about them, they
// install offline in an empty folder and work, and an install that lacks the addon says what to do.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { platform } from '../scripts/build.mjs'

const here = fileURLToPath(new URL('..', import.meta.url))
const addon = join(here, `kamacache.${platform()}.node`)

function folder(t) {
  const path = mkdtempSync(join(tmpdir(), 'kamacache-'))
  t.after(() => rmSync(path, { recursive: true }))
  return path
}

function run(cwd, command, ...args) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' })
  return { status, output: stdout + stderr }
}

const install = (cwd, ...args) => run(cwd, 'npm', 'install', '--offline', '--no-audit', '--no-fund', ...args)

const program = `
  const node = await Node.start()
  const group = node.group('g', { maxBytes: '1MiB', getter: async (key) => 'loaded ' + key })
  console.log(String(await group.get('Tom')), await node.close())
`

test('the tarballs', async (t) => {
  const dist = folder(t)
  const packed = run(here, process.execPath, 'scripts/pack.mjs', '--out', dist, '--addon', addon)
  assert.equal(packed.status, 0, packed.output)
  const tarballs = readdirSync(dist).sort()
  const { version } = JSON.parse(run(here, process.execPath, '-p', 'JSON.stringify(require("./package.json"))').output)
  assert.deepEqual(tarballs, [`kamacache-${version}.tgz`, `kamacache-${platform()}-${version}.tgz`].sort())

  await t.test('publint and are-the-types-wrong find no problem', () => {
    const tool = (name, ...args) => run(here, join(here, 'node_modules', '.bin', name), ...args)
    for (const tarball of tarballs) {
      const { status, output } = tool('publint', 'run', '--strict', join(dist, tarball))
      assert.equal(status, 0, output)
      assert.ok(output.includes('All good!'), output)
    }
    const { status, output } = tool('attw', '--no-color', '--no-emoji', join(dist, `kamacache-${version}.tgz`))
    assert.equal(status, 0, output)
    assert.ok(output.includes('No problems found'), output)
  })

  await t.test('install offline in an empty folder and work, required and imported', (t) => {
    const cwd = folder(t)
    const installed = install(cwd, ...tarballs.map((name) => join(dist, name)))
    assert.equal(installed.status, 0, installed.output)
    writeFileSync(join(cwd, 'program.mjs'), `import { Node } from 'kamacache'\n${program}`)
    writeFileSync(join(cwd, 'program.cjs'), `const { Node } = require('kamacache')\n;(async () => {${program}})()`)
    for (const name of ['program.mjs', 'program.cjs']) {
      const { status, output } = run(cwd, process.execPath, name)
      assert.deepEqual({ status, output }, { status: 0, output: 'loaded Tom true\n' })
    }
  })

  await t.test('without the platform package the error says what to do', (t) => {
    const cwd = folder(t)
    const installed = install(cwd, '--omit=optional', join(dist, `kamacache-${version}.tgz`))
    assert.equal(installed.status, 0, installed.output)
    const { status, output } = run(cwd, process.execPath, '-e', "require('kamacache')")
    assert.notEqual(status, 0)
    for (const part of [`@kamacache/${platform()}`, 'not installed', '--omit=optional', 'npm install']) {
      assert.ok(output.includes(part), output)
    }
  })
})
