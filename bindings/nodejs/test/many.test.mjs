// Several keys at once, batch getters, clear, evict events and latencies.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'

import { deferred, keyOwnedBy, keysOwnedBy, rejects, startGroup, startNode, startPair, throws } from './helpers.mjs'

const texts = (map) => Object.fromEntries([...map].map(([key, value]) => [key, String(value)]))

test('getMany: found keys in order, absent ones left out, one getter call each', async (t) => {
  let loads = 0
  const { group } = await startGroup(t, { getter: async (key) => { loads += 1; return key === 'no' ? null : `v ${key}` } })
  await group.set('set', 'before')
  const found = await group.getMany(['b', 'no', 'set', 'a', 'b'])
  assert.deepEqual([...found.keys()], ['b', 'set', 'a'])
  assert.deepEqual(texts(found), { b: 'v b', set: 'before', a: 'v a' })
  assert.equal(loads, 3)
  assert.deepEqual(await group.getMany([]), new Map())
})

test('getMany: a failure rejects, or stands in the Map', async (t) => {
  const boom = new Error('boom')
  const { group } = await startGroup(t, { getter: async (key) => { if (key === 'bad') throw boom; return 'v' } })
  const error = await rejects(group.getMany(['a', 'bad', 'b']), 'GETTER_FAILED', 'boom')
  assert.equal(error.cause, boom)
  const found = await group.getMany(new Set(['a', 'bad', '', 'b']), { returnErrors: true })
  assert.deepEqual([...found.keys()], ['a', 'bad', '', 'b'])
  assert.equal(found.get('bad').cause, boom)
  assert.equal(found.get('').code, 'INVALID_ARGUMENT')
  assert.equal(String(found.get('b')), 'v')
})

test('getterMany: one call for what getMany misses, the getter for single keys', async (t) => {
  const calls = []
  const { group } = await startGroup(t, {
    getter: (key) => { calls.push(key); return `one ${key}` },
    getterMany: async (keys, ctx) => {
      calls.push(keys)
      assert.ok(!('key' in ctx) && ctx.signal instanceof AbortSignal)
      return new Map(keys.filter((key) => key !== 'no').map((key) => [key, `many ${key}`]))
    },
  })
  assert.equal(String(await group.get('x')), 'one x')
  assert.deepEqual(texts(await group.getMany(['x', 'a', 'no', 'b'])), { x: 'one x', a: 'many a', b: 'many b' })
  assert.deepEqual(calls, ['x', ['a', 'no', 'b']])
})

test('getterMany alone loads single keys too, and its failures and garbage are contained', async (t) => {
  const answers = { good: new Map([['good', 'v']]), nothing: new Map(), bad: {}, number: 1, none: null }
  const { group } = await startGroup(t, {
    getterMany: async ([key]) => { if (key === 'throw') throw new Error('boom'); return answers[key] },
  })
  assert.equal(String(await group.get('good')), 'v')
  await rejects(group.get('nothing'), 'NOT_FOUND')
  await rejects(group.get('throw'), 'GETTER_FAILED', 'boom')
  for (const key of ['bad', 'number', 'none']) await rejects(group.get(key), 'GETTER_FAILED', 'Map')
})

test('s16: a batch getter that asks for its own key', async (t) => {
  const { group } = await startGroup(t, {
    getterMany: async (keys) => new Map([[keys[0], await group.get(keys[0]).catch((error) => error.code)]]),
  })
  assert.deepEqual(texts(await group.getMany(['a', 'b'])), { a: 'REENTRANT_LOAD' })
})

test('setMany: a Map or pairs; the first failure when all are done', async (t) => {
  const { group } = await startGroup(t)
  await group.setMany(new Map([['a', '1'], ['b', Buffer.from('2')]]), { ttl: '1m' })
  assert.deepEqual(texts(await group.getMany(['a', 'b'])), { a: '1', b: '2' })
  await rejects(group.setMany([['c', '3'], ['d', 4], ['e', '5']]), 'INVALID_ARGUMENT', 'value')
  assert.deepEqual(texts(await group.getMany(['c', 'd', 'e'])), { c: '3', e: '5' })
})

test('over a ring: getMany, setMany and clear reach every member', async (t) => {
  const { nodes, groups } = await startPair(t, (me) => ({
    getterMany: (keys) => new Map(keys.map((key) => [key, `${key} from ${me}`])),
  }))
  const keys = nodes.map((node) => keyOwnedBy(node))
  assert.deepEqual(texts(await groups[0].getMany(keys)), { [keys[0]]: `${keys[0]} from 0`, [keys[1]]: `${keys[1]} from 1` })
  await groups[0].setMany(keys.map((key) => [key, 'set']))
  assert.deepEqual(texts(await groups[1].getMany(keys)), { [keys[0]]: 'set', [keys[1]]: 'set' })
  await groups[1].clear()
  for (const group of groups) for (const key of keys) assert.equal(group.peek(key), undefined)
  assert.equal(String(await groups[0].get(keys[1])), `${keys[1]} from 1`)
})

const LARGE = Buffer.alloc(60_000, 7)

/** Two nodes whose getter only counts, and so many keys of the second one. */
async function startCounting(t, count) {
  const calls = []
  const pair = await startPair(t, { maxBytes: '256MiB', getter: (key) => { calls.push(key); return null } })
  return { ...pair, calls, keys: keysOwnedBy(pair.nodes[1], count) }
}

test('s09, s25: batches of large values of another owner', async (t) => {
  const { groups, calls, keys } = await startCounting(t, 100)
  await groups[0].setMany(keys.map((key) => [key, LARGE]))
  assert.equal(groups[1].stats().entries, 100)
  const found = await groups[0].getMany(keys)
  assert.deepEqual([...found.keys()], keys)
  for (const value of found.values()) assert.ok(LARGE.equals(value))
  assert.deepEqual(calls, [])
  assert.equal(groups[0].stats().fetchErrors, 0)
})

test('s24: a batch of 100,000 keys of another owner', async (t) => {
  const { groups, calls, keys } = await startCounting(t, 100_000)
  await groups[1].setMany(keys.map((key) => [key, 'v']))
  const found = await groups[0].getMany(keys, { timeout: '1m', returnErrors: true })
  assert.deepEqual([...found.values()].filter((value) => value instanceof Error).slice(0, 3), [])
  assert.equal(found.size, keys.length)
  assert.deepEqual(calls, [])
})

test('s09, s25: gets of large values side by side, beside a writer', async (t) => {
  const { groups, calls, keys: [written, ...keys] } = await startCounting(t, 301)
  await groups[1].setMany(keys.map((key) => [key, LARGE]))
  let done = false
  let sets = 0
  const writer = (async () => { for (; !done; sets++) await groups[0].set(written, LARGE) })()
  for (let round = 0; round < 3; round++) {
    for (const value of await Promise.all(keys.map((key) => groups[0].get(key)))) assert.ok(LARGE.equals(value))
  }
  done = true
  await writer
  assert.ok(sets > 0)
  assert.deepEqual(calls, [])
})

test('clear drops everything', async (t) => {
  const { group } = await startGroup(t)
  await group.setMany([['a', '1'], ['b', '2']])
  assert.equal(await group.clear(), undefined)
  assert.equal(group.stats().entries, 0)
  assert.equal(group.stats().clears, 1)
})

/** Waiting for an event keeps no process alive; this does, until the test `t` ends. */
function holdProcess(t) {
  const timer = setTimeout(() => {}, 20_000)
  t.after(() => clearTimeout(timer))
}

test('evict events say which key and why', async (t) => {
  holdProcess(t)
  const { group } = await startGroup(t)
  const seen = []
  const listener = (key, reason) => seen.push([key, reason])
  group.on('evict', listener)
  await group.set('a', '1')
  await group.set('a', '2')
  await group.delete('a')
  await group.set('last', 'x')
  const end = once(group, 'evict', { signal: AbortSignal.timeout(5000) })
  await group.clear()
  while (seen.at(-1)?.[0] !== 'last') await once(group, 'evict', { signal: AbortSignal.timeout(5000) })
  await end
  assert.deepEqual(seen, [['a', 'replaced'], ['a', 'deleted'], ['last', 'cleared']])
  group.off('evict', listener)
  await group.set('b', '1')
  await group.delete('b')
  assert.equal(seen.length, 3)
})

test('evict events of capacity come in order and hold nobody up', async (t) => {
  holdProcess(t)
  const { group } = await startGroup(t, { maxBytes: '64KiB', policy: 'lru', strict: true })
  let evicted = 0
  const enough = deferred()
  group.on('evict', (key, reason) => {
    // The first to go are the first that came.
    if (evicted < 500) assert.deepEqual([key, reason], [`k${evicted}`, 'capacity'])
    if (++evicted === 500) enough.resolve()
  })
  for (let index = 0; index < 2000; index++) await group.set(`k${index}`, 'x'.repeat(100))
  await enough.promise
})

test('closing with a listener, and listening to a closed group', async (t) => {
  const { node, group } = await startGroup(t)
  const seen = new Set()
  group.once('evict', (key) => seen.add(key))
  await group.setMany([['a', '1'], ['b', '2'], ['c', '3']])
  await node.close()
  group.on('evict', () => {}).removeAllListeners()
  assert.ok(seen.size <= 1)
})

test('latency', async (t) => {
  const { group } = await startGroup(t, { getter: () => 'v' })
  assert.equal(group.latency().load.count, 0)
  await group.get('k')
  const { hit, load, fetch } = group.latency()
  assert.deepEqual(Object.keys(load), ['count', 'sumNs', 'p50Ns', 'p90Ns', 'p99Ns', 'p999Ns', 'maxNs'])
  assert.equal(load.count, 1)
  assert.ok(load.maxNs > 0 && hit.count >= 0 && fetch.count === 0)
})

test('garbage', async (t) => {
  const { group } = await startGroup(t)
  for (const keys of [undefined, null, 1, 'abc', {}, Symbol('s')]) {
    await rejects(group.getMany(keys), 'INVALID_ARGUMENT', 'iterable')
    await rejects(group.setMany(keys), 'INVALID_ARGUMENT', 'iterable')
  }
  for (const entry of ['ab', null, ['a'], ['a', 'b', 'c'], {}]) await rejects(group.setMany([entry]), 'INVALID_ARGUMENT', 'pairs')
  await rejects(group.getMany(['ok', 7]), 'INVALID_ARGUMENT', 'key must be a string')
  await rejects(group.getMany(['a'], { returnErrors: 'yes' }), 'INVALID_ARGUMENT', 'returnErrors')
  for (const options of [null, 1, 'x', []]) {
    await rejects(group.getMany(['a'], options), 'INVALID_ARGUMENT', 'options of getMany')
    await rejects(group.setMany([], options), 'INVALID_ARGUMENT', 'options of setMany')
    await rejects(group.clear(options), 'INVALID_ARGUMENT', 'options of clear')
  }
  await rejects(group.clear({ timeout: -1 }), 'INVALID_ARGUMENT', 'timeout')
  await rejects(group.clear({ ttl: 1 }), 'INVALID_ARGUMENT', 'ttl')
  const node = await startNode(t)
  for (const getterMany of [null, 1, 'f', {}]) throws(() => node.group('h', { maxBytes: 65536, getterMany }), 'INVALID_ARGUMENT', 'getterMany')
  await assert.rejects(group.getMany.call({}, ['a']), TypeError)
})
