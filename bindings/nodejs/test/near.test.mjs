// Near copies: hits that never reach the native side, and that end with whatever ends the entry they were made of.
//
// What a group may serve is asserted through its API; that copies exist at all is seen by counting native calls.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'

import { keyOwnedBy, rejects, startGroup, startPair } from './helpers.mjs'

const { native } = createRequire(import.meta.url)('../lib/bridge.js')

/** How often `work` calls these native functions. */
async function nativeCalls(names, work) {
  const real = names.map((name) => native[name])
  let calls = 0
  names.forEach((name, at) => {
    native[name] = (...args) => {
      calls++
      return real[at](...args)
    }
  })
  try {
    await work()
  } finally {
    names.forEach((name, at) => (native[name] = real[at]))
  }
  return calls
}

/** Asks so often that there is a copy for sure. */
function settle(group, key, wanted) {
  for (let asked = 0; asked < 100; asked++) assert.equal(group.peek(key)?.toString(), wanted)
}

test('hits of a hot key seldom reach the native side, and all are counted', async (t) => {
  const { group } = await startGroup(t)
  await group.set('k', 'value')
  const calls = await nativeCalls(['hit', 'get', 'near', 'peek'], async () => {
    for (let asked = 0; asked < 1000; asked++) assert.equal((await group.get('k')).toString(), 'value')
  })
  assert.ok(calls > 1000 / 64 && calls < 100, `${calls} native calls for 1000 gets`)
  const { gets, hits } = group.stats()
  assert.deepEqual({ gets, hits }, { gets: 1000, hits: 1000 })
  const peeks = await nativeCalls(['peek', 'near'], () => settle(group, 'k', 'value'))
  assert.ok(peeks < 20, `${peeks} native calls for 100 peeks`)
  assert.equal(group.stats().gets, 1000)
})

test('S18: a get after a write of any node sees it', async (t) => {
  const { nodes, groups } = await startPair(t)
  const key = keyOwnedBy(nodes[0])
  for (const [round, writer] of [...groups, ...groups].entries()) {
    await writer.set(key, `value-${round}`)
    settle(groups[0], key, `value-${round}`)
    await writer.set(key, 'new')
    assert.equal((await groups[0].get(key)).toString(), 'new')
    settle(groups[0], key, 'new')
    await writer.delete(key)
    assert.equal(groups[0].peek(key), undefined)
    await writer.set(key, 'again')
    settle(groups[0], key, 'again')
    await writer.clear()
    assert.equal(groups[0].peek(key), undefined)
  }
})

test('S34: a copy is not served after the members changed', async (t) => {
  const { nodes, groups } = await startPair(t)
  const key = keyOwnedBy(nodes[1])
  await nodes[0].setPeers([nodes[0].address])
  await groups[0].set(key, 'mine')
  settle(groups[0], key, 'mine')
  await nodes[0].setPeers(nodes.map((node) => node.address))
  assert.equal(groups[0].peek(key), undefined)
})

test('S23: a copy expires with its value', async (t) => {
  const { group } = await startGroup(t)
  await group.set('k', 'value', { ttl: 100 })
  const begun = performance.now()
  while (group.peek('k') !== undefined) assert.ok(performance.now() < begun + 20_000, 'a copy outlives its value')
  await rejects(group.get('k'), 'NOT_FOUND')
})

test('a Buffer that was handed out is not the copy', async (t) => {
  const { group } = await startGroup(t)
  await group.set('k', 'value')
  for (let asked = 0; asked < 100; asked++) {
    const value = group.peek('k')
    assert.equal(value.toString(), 'value')
    assert.ok(Buffer.isBuffer(value))
    value.fill(0)
  }
})

test('detaching the memory of a Buffer that was handed out harms no later one', async (t) => {
  const { group } = await startGroup(t)
  await group.set('k', 'value')
  for (let asked = 0; asked < 100; asked++) {
    const value = group.peek('k')
    assert.equal(value.toString(), 'value')
    try {
      value.buffer.transfer?.()
      structuredClone(value.buffer, { transfer: [value.buffer] })
    } catch {
      // Refused, which is as good.
    }
  }
})

test('values and keys of all lengths survive the copy', async (t) => {
  const { group } = await startGroup(t, { maxBytes: '64MiB' })
  const lengths = [0, 1, 7, 8, 9, 4095, 4096, 4097, 70_000]
  for (const length of lengths) {
    const value = Buffer.alloc(length, 'x')
    const key = `ключ-${length}`
    await group.set(key, value)
    for (let asked = 0; asked < 50; asked++) assert.ok(group.peek(key).equals(value), `${length} bytes`)
  }
})

test('copies take a part of max_bytes, whatever is asked for', async (t) => {
  const { group } = await startGroup(t, { maxBytes: '256KiB' })
  const keys = Array.from({ length: 300 }, (_, n) => `key-${n}`)
  for (const key of keys) await group.set(key, key)
  for (let round = 0; round < 100; round++) {
    for (const key of keys) assert.equal(group.peek(key).toString(), key)
  }
  const calls = await nativeCalls(['peek', 'near'], () => keys.forEach((key) => group.peek(key)))
  // 32 KiB at about 280 bytes each.
  assert.ok(calls > keys.length - 120, `${keys.length - calls} copies`)
})

test('a strict group sees every hit itself', async (t) => {
  const { group } = await startGroup(t, { policy: 'lru', strict: true })
  await group.set('k', 'value')
  assert.equal(await nativeCalls(['peek'], () => settle(group, 'k', 'value')), 100)
})

test('nothing is served after close', async (t) => {
  const { group, node } = await startGroup(t)
  await group.set('k', 'value')
  settle(group, 'k', 'value')
  const closing = node.close()
  assert.equal(group.peek('k'), undefined)
  await rejects(group.get('k'), 'CLOSED')
  await closing
})
