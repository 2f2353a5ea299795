// s39: memory stays flat over operations of every kind, failures among them: 100,000 of them, or as many as the
// environment variable OPERATIONS says (`make soak-nodejs`: a million).

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const OPERATIONS = Number(process.env.OPERATIONS ?? 100_000)
/** Over the second half of them; 100 bytes kept of each of a million would be 50 MB. */
const GROWTH = 8 << 20

test(`s39: RSS is flat over ${OPERATIONS} operations`, (t) => {
  const program = fileURLToPath(new URL('programs/memory.mjs', import.meta.url))
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', program, OPERATIONS], { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  const sizes = stdout.trim().split('\n').map(Number)
  assert.equal(sizes.length, 10)
  t.diagnostic(`RSS in MiB after each tenth: ${sizes.map((size) => (size / (1 << 20)).toFixed(1)).join(' ')}`)
  const grown = sizes[9] - sizes[4]
  assert.ok(grown < GROWTH, `RSS grew by ${grown} bytes: ${sizes}`)
})
