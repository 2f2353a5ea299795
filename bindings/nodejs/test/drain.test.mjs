// Ten thousand answers at once: they come in batches between which the event loop has its turns.

import assert from 'node:assert/strict'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { test } from 'node:test'

import { deferred, startGroup } from './helpers.mjs'

const GETS = 10_000
/** Items that one turn of the event loop may hand out, as lib/bridge.js says. */
const BATCH_ITEMS = 256
/** What a busy machine adds is more than what a batch takes, but not in every burst. */
const DELAY_MS = 50
const BURSTS = 3

/** Lets one load answer all gets, and watches the event loop until the last of them has its value. */
async function burst(group, gate, key) {
  const gets = Array.from({ length: GETS }, () => group.get(key))
  let answered = 0
  for (const get of gets) get.then(() => (answered += 1))
  const turns = []
  let last = 0
  const turn = () => {
    turns.push(answered - last)
    last = answered
    if (answered < GETS) setImmediate(turn)
  }
  const delay = monitorEventLoopDelay({ resolution: 1 })
  await new Promise(setImmediate)
  delay.enable()
  gate.resolve('v')
  setImmediate(turn)
  await Promise.all(gets)
  await new Promise(setImmediate)
  delay.disable()
  return { p99: delay.percentile(99) / 1e6, turns: turns.length, most: Math.max(...turns) }
}

test('10,000 answers leave the event loop its turns: p99 of its delay, and the most in one turn', async (t) => {
  const gates = Array.from({ length: BURSTS }, deferred)
  const { group } = await startGroup(t, { getter: (key) => gates[key].promise })
  const bursts = []
  for (const [index, gate] of gates.entries()) bursts.push(await burst(group, gate, String(index)))
  t.diagnostic(bursts.map(({ p99, turns, most }) => `p99 ${p99.toFixed(1)} ms (${turns} turns, at most ${most} answers)`).join('; '))
  for (const { most } of bursts) assert.ok(most <= 2 * BATCH_ITEMS, `${most} answers in one turn`)
  const best = Math.min(...bursts.map(({ p99 }) => p99))
  assert.ok(best < DELAY_MS, `the event loop was ${best.toFixed(1)} ms late`)
})
