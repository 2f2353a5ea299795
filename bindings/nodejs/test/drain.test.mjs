// Ten thousand answers at once: they come in batches between which the event loop has its turns.

import assert from 'node:assert/strict'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { test } from 'node:test'

import { deferred, startGroup } from './helpers.mjs'

const GETS = 10_000
/** Items that one turn of the event loop may hand out, as lib/bridge.js says. */
const BATCH_ITEMS = 256
/** Above what this machine does to the same number of plain promises. */
const DELAY_MS = 50
const BURSTS = 3

/** Lets one load answer all gets. */
function burst(group, gate, key) {
  const gets = Array.from({ length: GETS }, () => group.get(key))
  return watch(gets, () => gate.resolve('v'))
}

/** As many promises, settled by a batch in each turn, without kamacache. */
function control() {
  const promises = Array.from({ length: GETS }, deferred)
  const settle = (from) => {
    for (const { resolve } of promises.slice(from, from + BATCH_ITEMS)) resolve('v')
    if (from < GETS) setImmediate(settle, from + BATCH_ITEMS)
  }
  return watch(promises.map(({ promise }) => promise), () => setImmediate(settle, 0))
}

/** Watches the event loop from `begin` until the last of the promises has its value. */
async function watch(gets, begin) {
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
  begin()
  setImmediate(turn)
  await Promise.all(gets)
  await new Promise(setImmediate)
  delay.disable()
  return { p99: delay.percentile(99) / 1e6, turns: turns.length, most: Math.max(...turns) }
}

test('10,000 answers leave the event loop its turns: p99 of its delay, and the most in one turn', async (t) => {
  const gates = Array.from({ length: BURSTS }, deferred)
  const { group } = await startGroup(t, { getter: (key) => gates[key].promise })
  const [bursts, controls] = [[], []]
  for (const [index, gate] of gates.entries()) {
    bursts.push(await burst(group, gate, String(index)))
    controls.push(await control())
  }
  t.diagnostic(bursts.map(({ p99, turns, most }) => `p99 ${p99.toFixed(1)} ms (${turns} turns, at most ${most} answers)`).join('; '))
  for (const { most } of bursts) assert.ok(most <= 2 * BATCH_ITEMS, `${most} answers in one turn`)
  const [ours, plain] = [bursts, controls].map((all) => Math.min(...all.map(({ p99 }) => p99)))
  t.diagnostic(`the best p99: ${ours.toFixed(1)} ms, with plain promises ${plain.toFixed(1)} ms`)
  assert.ok(ours < DELAY_MS + plain, `the event loop was ${ours.toFixed(1)} ms late, and ${plain.toFixed(1)} ms with plain promises`)
})
