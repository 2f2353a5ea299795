// Closing: with gets under way, twice, with getters that hang, and what calls get afterwards.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Node } from '../lib/index.mjs'
import { deferred, rejects, startGroup, startNode, throws } from './helpers.mjs'

test('s37: pending gets are CLOSED, and close says that a getter still ran', async (t) => {
  let aborted
  const { node, group } = await startGroup(t, {
    getter: (key, ctx) => {
      ctx.signal.addEventListener('abort', () => (aborted = ctx.signal.reason))
      return new Promise(() => {})
    },
  })
  const gets = Array.from({ length: 100 }, (_, index) => rejects(group.get(`k${index % 7}`), 'CLOSED'))
  const started = performance.now()
  const closing = node.close({ drain: 100 })
  await Promise.all(gets)
  assert.ok(performance.now() - started < 1000)
  assert.equal(await closing, false)
  assert.equal(aborted.code, 'CLOSED')
})

test('s37: close waits for a getter that ends in time', async (t) => {
  const gate = deferred()
  const entered = deferred()
  const { node, group } = await startGroup(t, { getter: () => { entered.resolve(); return gate.promise } })
  const get = group.get('k').catch((error) => error.code)
  await entered.promise
  const closing = node.close({ drain: '5s' })
  assert.equal(await get, 'CLOSED')
  gate.resolve('v')
  assert.equal(await closing, true)
})

test('close again, at once or later, gives the same answer', async (t) => {
  const node = await startNode(t)
  const [first, second] = await Promise.all([node.close(), node.close({ drain: 10 })])
  assert.deepEqual([first, second, await node.close()], [true, true, true])
})

test('every call after close is CLOSED', async (t) => {
  const { node, group } = await startGroup(t, { getter: () => 'v' })
  await group.get('k')
  await node.close()
  await rejects(group.get('k'), 'CLOSED')
  await rejects(group.set('k', 'v'), 'CLOSED')
  await rejects(group.delete('k'), 'CLOSED')
  await rejects(node.setPeers([]), 'CLOSED')
  throws(() => node.group('h', { maxBytes: 65536 }), 'CLOSED')
  throws(() => node.owner('k'), 'CLOSED')
  assert.equal(group.peek('k'), undefined)
  assert.equal(node.ref().unref(), node)
})

test('the port is free after close', async (t) => {
  const node = await startNode(t, { listen: '127.0.0.1:0' })
  const { address } = node
  await node.close()
  const next = await startNode(t, { listen: address })
  assert.equal(next.address, address)
})

test('Symbol.asyncDispose closes', async () => {
  const node = await Node.start()
  const group = node.group('g', { maxBytes: '1MiB' })
  await node[Symbol.asyncDispose]()
  await rejects(group.get('k'), 'CLOSED')
})

test('a getter that calls close on its own node', async (t) => {
  const { node, group } = await startGroup(t, { getter: () => node.close({ drain: 50 }).then(() => 'v') })
  await rejects(group.get('k'), 'CLOSED')
  assert.equal(await node.close(), false)
})
