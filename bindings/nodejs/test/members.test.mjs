// The `members` event: every change is told, nothing else is, and whoever listens keeps nothing alive.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'

import { deferred, rejects, startNode } from './helpers.mjs'

/** Listening alone keeps no process alive: these nodes do. */
const startOne = async (t) => (await startNode(t, { listen: '127.0.0.1:0' })).ref()
const startTwo = async (t) => [await startOne(t), await startOne(t)]

test('a change of the members is told with the new list', async (t) => {
  const [node, other] = await startTwo(t)
  const both = [node.address, other.address].sort()
  const told = []
  const second = deferred()
  node.on('members', (members) => told.push(members) === 2 && second.resolve())
  const [[first]] = await Promise.all([once(node, 'members'), node.setPeers(both)])
  assert.deepEqual(first, both)
  await node.setPeers(both.toReversed())
  await rejects(node.setPeers(['nonsense']), 'INVALID_ARGUMENT')
  await node.setPeers([node.address])
  await second.promise
  assert.deepEqual(told, [both, [node.address]])
})

test('each node tells its own listeners, however they came', async (t) => {
  const [node, other] = await startTwo(t)
  const both = [node.address, other.address].sort()
  other.on('members', () => assert.fail('a member list of its own'))
  const told = ['prependListener', 'addListener', 'once'].map((way) => new Promise((resolve) => node[way]('members', resolve)))
  await node.setPeers(both)
  assert.deepEqual(await Promise.all(told), [both, both, both])
})

test('a listener on a closed node is no error, and hears nothing', async (t) => {
  const node = await startNode(t, { listen: '127.0.0.1:0' })
  await node.close()
  assert.equal(node.on('members', assert.fail), node)
})
