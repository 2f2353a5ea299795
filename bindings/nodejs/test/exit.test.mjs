// s45: the process ends as the program chose, in every state of a node, without a crash or a hang.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { run } from './helpers.mjs'

/** States that end by themselves when nothing else is to be done. */
const FREE = ['loaded', 'starting', 'idle', 'used', 'unreferenced', 'listening', 'pending', 'busy', 'peers', 'closing', 'closed']
/** States that keep the process alive. */
const HELD = ['referenced', 'forever']
/** Above what starting Node.js itself takes. */
const LIMIT_MS = 2000

const startup = (await run('exit.mjs', 'loaded', 'exit')).ms

function ended({ code, signal, stdout, stderr, ms }, expected, label) {
  assert.deepEqual({ code, signal }, { code: null, signal: null, ...expected }, `${label}: ${stderr}`)
  assert.ok(stdout.includes('ready'), label)
  assert.ok(ms - startup < LIMIT_MS, `${label} took ${Math.round(ms)} ms, ${Math.round(startup)} of it to start`)
}

test('s45: what waits for nothing ends by itself', async () => {
  for (const state of FREE) ended(await run('exit.mjs', state), { code: 0 }, state)
})

test('s45: process.exit in every state', async () => {
  for (const state of [...FREE, ...HELD]) ended(await run('exit.mjs', state, 'exit'), { code: 7 }, state)
})

test('s45: an uncaught exception in every state', async () => {
  for (const state of [...FREE, ...HELD]) {
    const result = await run('exit.mjs', state, 'throw')
    ended(result, { code: 1 }, state)
    assert.ok(result.stderr.includes('on purpose'), state)
  }
})

test('s46: SIGTERM still ends the process at once', async () => {
  for (const state of ['idle', 'busy', 'forever']) ended(await run('exit.mjs', state, 'kill'), { signal: 'SIGTERM' }, state)
})

test('a referenced node and a get without end keep the process alive', async () => {
  for (const state of HELD) {
    const { stdout, stderr, signal } = await run('held.mjs', state)
    assert.equal(signal, 'SIGTERM', `${state} ended by itself: ${stderr}`)
    assert.ok(stdout.includes('still here'), state)
  }
})
