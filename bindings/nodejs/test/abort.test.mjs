// AbortSignal: it leaves the wait, never the load.

import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { test } from 'node:test'

import { deferred, rejects, startGroup } from './helpers.mjs'

test('an aborted get is CANCELLED with the reason as its cause, and the load goes on', async (t) => {
  const gate = deferred()
  let loads = 0
  const { group } = await startGroup(t, { getter: () => { loads += 1; return gate.promise } })
  const controller = new AbortController()
  const leader = group.get('k', { signal: controller.signal })
  const other = group.get('k')
  const reason = new Error('changed my mind')
  controller.abort(reason)
  const error = await rejects(leader, 'CANCELLED', 'k')
  assert.equal(error.cause, reason)
  gate.resolve('v')
  assert.equal((await other).toString(), 'v')
  assert.equal((await group.get('k')).toString(), 'v')
  assert.equal(loads, 1)
})

test('a signal that is aborted already starts nothing', async (t) => {
  let loads = 0
  const { group } = await startGroup(t, { getter: () => { loads += 1; return 'v' } })
  const error = await rejects(group.get('k', { signal: AbortSignal.abort('early') }), 'CANCELLED')
  assert.equal(error.cause, 'early')
  assert.equal(loads, 0)
})

test('AbortSignal.timeout works, and an abort after the end does nothing', async (t) => {
  const { group } = await startGroup(t, { getter: (key) => (key === 'slow' ? new Promise(() => {}) : 'v') })
  const error = await rejects(group.get('slow', { signal: AbortSignal.timeout(30) }), 'CANCELLED')
  assert.equal(error.cause.name, 'TimeoutError')
  const controller = new AbortController()
  assert.equal((await group.get('k', { signal: controller.signal })).toString(), 'v')
  controller.abort()
})

test('no listener stays on a signal that outlives its gets', async (t) => {
  const { group } = await startGroup(t, { getter: async (key) => (key === 'bad' ? Promise.reject(new Error('x')) : 'v') })
  const { signal } = new AbortController()
  await Promise.all([group.get('a', { signal }), group.get('b', { signal }), group.get('bad', { signal }).catch(() => {})])
  await group.get('a', { signal })
  await rejects(group.get('bad', { signal, timeout: -1 }), 'INVALID_ARGUMENT')
  assert.equal(getEventListeners(signal, 'abort').length, 0)
})

test('1,000 gets aborted at once, without a warning', async (t) => {
  const warned = (warning) => assert.fail(warning)
  process.on('warning', warned)
  t.after(() => process.off('warning', warned))
  const gate = deferred()
  const { group } = await startGroup(t, { getter: () => gate.promise })
  const controller = new AbortController()
  const gets = Array.from({ length: 1000 }, (_, index) => group.get(`k${index % 10}`, { signal: controller.signal }))
  controller.abort()
  const results = await Promise.allSettled(gets)
  assert.ok(results.every(({ status, reason }) => status === 'rejected' && reason.code === 'CANCELLED'))
  gate.resolve('v')
  assert.equal((await group.get('k1')).toString(), 'v')
})
