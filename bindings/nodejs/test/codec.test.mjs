// Groups with a codec: whatever takes or gives a value takes or gives what the codec says, and the bytes are those that
// other languages and plain groups see.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { keyOwnedBy, rejects, startGroup, startPair, throws } from './helpers.mjs'

test('json: getters, sets, batches and peeks speak of values', async (t) => {
  const getter = async (key) => (key === 'none' ? null : { key })
  const { group } = await startGroup(t, { codec: 'json', getter })
  assert.deepEqual(await group.get('a'), { key: 'a' })
  assert.deepEqual(group.peek('a'), { key: 'a' })
  assert.equal(group.peek('b'), undefined)
  await rejects(group.get('none'), 'NOT_FOUND')
  for (const value of [[1, 'zwei', null], 0, '', false, null]) {
    await group.set('set', value)
    assert.deepEqual(await group.get('set'), value)
  }
  await group.setMany({ [Symbol.iterator]: () => [['m', [1]], ['n', [2]]].values() })
  assert.deepEqual(await group.getMany(['m', 'n', 'a', 'none']), new Map([['m', [1]], ['n', [2]], ['a', { key: 'a' }]]))
})

test('str, and a codec of the program’s own with its this', async (t) => {
  const { node, group } = await startGroup(t, { codec: 'str', getter: (key) => `value of ${key}` })
  assert.equal(await group.get('ключ'), 'value of ключ')
  class Dates {
    prefix = 'date '
    encode(date) {
      return this.prefix + date.toISOString()
    }
    decode(bytes) {
      return new Date(bytes.toString().slice(this.prefix.length))
    }
  }
  const dates = node.group('dates', { maxBytes: '1MiB', codec: new Dates(), getterMany: (keys) => new Map(keys.map((key) => [key, new Date(Number(key))])) })
  assert.equal((await dates.get('5')).getTime(), 5)
  assert.deepEqual([...(await dates.getMany(['6', '7'])).values()].map(Number), [6, 7])
})

test('a plain group on another node sees the bytes of json', async (t) => {
  const { nodes, groups } = await startPair(t, (index) => (index === 0 ? { codec: 'json' } : {}))
  const key = keyOwnedBy(nodes[1])
  await groups[0].set(key, { a: [1, null] })
  assert.equal((await groups[1].get(key)).toString(), '{"a":[1,null]}')
  await groups[1].set(key, '[2]')
  assert.deepEqual(await groups[0].get(key), [2])
})

test('wrapped functions use the group’s codec unless told otherwise', async (t) => {
  const { group } = await startGroup(t, { codec: 'str' })
  const shout = group.wrap((word) => word.toUpperCase(), { name: 'shout' })
  assert.equal(await shout('a'), 'A')
  assert.equal(await group.get(shout.key('a')), 'A')
  const twice = group.wrap((n) => 2 * n, { name: 'twice', codec: 'json' })
  assert.equal(await twice(21), 42)
  assert.equal(await twice(21), 42)
})

test('what a codec refuses fails that operation and nothing else', async (t) => {
  const cyclic = {}
  cyclic.self = cyclic
  const { group } = await startGroup(t, { codec: 'json', getter: (key) => (key === 'cyclic' ? cyclic : key) })
  await assert.rejects(group.set('k', cyclic), TypeError)
  await assert.rejects(group.set('k', () => {}), TypeError)
  await rejects(group.set('k', undefined), 'INVALID_ARGUMENT')
  const error = await rejects(group.get('cyclic'), 'GETTER_FAILED')
  assert.ok(error.cause instanceof TypeError)
  assert.equal(await group.get('k'), 'k')
})

test('bytes that a codec cannot read come to the caller as its own error', async (t) => {
  const { nodes, groups } = await startPair(t, (index) => (index === 0 ? { codec: 'json' } : {}))
  const key = keyOwnedBy(nodes[0])
  await groups[1].set(key, '{no json')
  await assert.rejects(groups[0].get(key), SyntaxError)
  assert.throws(() => groups[0].peek(key), SyntaxError)
  await assert.rejects(groups[0].getMany([key]), SyntaxError)
  assert.ok((await groups[0].getMany([key], { returnErrors: true })).get(key) instanceof SyntaxError)
})

test('garbage for a codec is refused with the names that are known', async (t) => {
  const { node } = await startGroup(t)
  for (const codec of ['xml', 5, null, {}, { encode: 1, decode: 2 }, []]) {
    throws(() => node.group('x', { maxBytes: '1MiB', codec }), 'INVALID_ARGUMENT', 'codec', "'json'")
  }
  const group = node.group('x', { maxBytes: '1MiB', codec: 'bytes' })
  await group.set('k', 'v')
  assert.ok(Buffer.isBuffer(await group.get('k')))
})
