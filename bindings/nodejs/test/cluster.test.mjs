// Two nodes in one process: one ring, one getter call, errors across the wire, reentrancy.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { deferred, keyOwnedBy, rejects, startNode, startPair } from './helpers.mjs'

test('members and owners agree', async (t) => {
  const { nodes } = await startPair(t)
  assert.match(nodes[0].address, /^127\.0\.0\.1:[1-9]\d*$/)
  assert.deepEqual(nodes[0].members(), nodes.map((node) => node.address).sort())
  assert.deepEqual(nodes[0].members(), nodes[1].members())
  for (let index = 0; index < 100; index++) assert.equal(nodes[0].owner(`k${index}`), nodes[1].owner(`k${index}`))
})

test('the admin HTTP tells its port', async (t) => {
  assert.equal((await startNode(t)).adminAddress, undefined)
  const node = await startNode(t, { admin: ':0' })
  assert.match(node.adminAddress, /^127\.0\.0\.1:[1-9]\d*$/)
  assert.equal((await fetch(`http://${node.adminAddress}/healthz`)).status, 200)
})

test('s09: 1,000 gets over two nodes make one getter call, on the owner', async (t) => {
  const loads = [0, 0]
  const gate = deferred()
  const { nodes, groups } = await startPair(t, (me) => ({
    getter: async (key) => {
      loads[me] += 1
      await gate.promise
      return `${key} from ${me}`
    },
  }))
  const key = keyOwnedBy(nodes[1])
  const gets = Array.from({ length: 1000 }, (_, index) => groups[index % 2].get(key))
  setImmediate(gate.resolve)
  const values = new Set((await Promise.all(gets)).map(String))
  assert.deepEqual(values, new Set([`${key} from 1`]))
  assert.deepEqual(loads, [0, 1])
})

test('s17, s18: a set or delete through one node is seen through the other', async (t) => {
  const { nodes, groups } = await startPair(t)
  for (const owner of nodes) {
    const key = keyOwnedBy(owner, 'rw')
    await groups[0].set(key, 'one')
    assert.equal((await groups[1].get(key)).toString(), 'one')
    await groups[1].set(key, Buffer.from('two'), { ttl: '1m' })
    assert.equal((await groups[0].get(key)).toString(), 'two')
    await groups[0].delete(key)
    await rejects(groups[1].get(key), 'NOT_FOUND', key)
  }
})

test('s13: a getter’s failure at the owner crosses with its message and code, not its object', async (t) => {
  const boom = Object.assign(new Error('disk on fire'), { appCode: -7 })
  const { nodes, groups } = await startPair(t, { getter: async () => { throw boom } })
  const error = await rejects(groups[0].get(keyOwnedBy(nodes[1])), 'GETTER_FAILED', 'disk on fire')
  assert.equal(error.appCode, -7)
  assert.equal(error.peer, nodes[1].address)
  assert.equal(error.cause, undefined)
  const local = await rejects(groups[1].get(keyOwnedBy(nodes[1])), 'GETTER_FAILED', 'disk on fire')
  assert.equal(local.cause, boom)
  assert.equal(local.peer, undefined)
})

test('garbage from a getter that a peer asked for is contained', async (t) => {
  const { nodes, groups } = await startPair(t, { getter: () => 42 })
  await rejects(groups[0].get(keyOwnedBy(nodes[1])), 'GETTER_FAILED', 'a number')
})

test('large and empty values cross', async (t) => {
  const large = Buffer.alloc(1_000_000, 'large ')
  const { nodes, groups } = await startPair(t, { maxBytes: '32MiB', getter: (key) => (key.startsWith('large') ? large : '') })
  assert.deepEqual(await groups[0].get(keyOwnedBy(nodes[1], 'large')), large)
  assert.deepEqual(await groups[0].get(keyOwnedBy(nodes[1], 'empty')), Buffer.alloc(0))
})

test('s16: a peer’s load that asks for its own key', async (t) => {
  const { nodes, groups } = await startPair(t, (me) => ({
    getter: async (key) => {
      await null
      return groups[me].get(key).then(() => 'no', (error) => error.code)
    },
  }))
  assert.equal((await groups[0].get(keyOwnedBy(nodes[1]))).toString(), 'REENTRANT_LOAD')
})

test('s25: a refused peer falls back to the local getter', async (t) => {
  const loads = [0, 0]
  const { nodes, groups } = await startPair(t, (me) => ({ getter: (key) => { loads[me] += 1; return `from ${me}` } }))
  const key = keyOwnedBy(nodes[1])
  await nodes[1].close({ drain: 0 })
  assert.equal((await groups[0].get(key)).toString(), 'from 0')
  assert.deepEqual(loads, [1, 0])
})

test('closing the owner while peers wait on its getter', async (t) => {
  const entered = deferred()
  const { nodes, groups } = await startPair(t, (me) => ({
    getter: () => {
      if (me === 0) return 'fallback'
      entered.resolve()
      return new Promise(() => {})
    },
  }))
  const get = groups[0].get(keyOwnedBy(nodes[1])).then(String, (error) => error.code)
  await entered.promise
  assert.equal(await nodes[1].close({ drain: 50 }), false)
  assert.match(await get, /^(fallback|UNAVAILABLE|CLOSED)$/)
})

test('10,000 remote gets in flight', async (t) => {
  const { nodes, groups } = await startPair(t, { maxBytes: '32MiB', getter: (key) => key })
  const keys = []
  for (let index = 0; keys.length < 10_000; index++) if (nodes[0].owner(`k${index}`) === nodes[1].address) keys.push(`k${index}`)
  const values = await Promise.all(keys.map((key) => groups[0].get(key, { timeout: '60s' })))
  assert.deepEqual(values.map(String), keys)
})
