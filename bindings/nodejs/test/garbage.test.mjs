// Every exported function with garbage: a KamaCacheError that names the value and the rule, rejected
// by what is asynchronous and thrown by the rest, with nothing stored.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { KamaCacheError, Node } from '../lib/index.mjs'
import { rejects, startGroup, startNode, throws } from './helpers.mjs'

const NOT_STRINGS = [undefined, null, 1, 1n, true, {}, [], Symbol('s'), () => 1, Buffer.from('k')]
const NOT_OBJECTS = [null, 1, 'x', true, Symbol('s'), 1n, []]
const NOT_DURATIONS = [null, NaN, -1, {}, [], true, 'soon', '', '-5s', 1n, Symbol('s')]

test('messages name options as they are written here, and leave what is quoted as it is', async (t) => {
  const node = await startNode(t)
  const { message } = throws(() => node.group('max_bytes', { maxBytes: 1 }), 'INVALID_ARGUMENT', 'maxBytes 1 of group "max_bytes"')
  assert.ok(!message.includes('max_bytes 1'), message)
  throws(() => node.group('g', { maxBytes: '1MiB', maxConcurrentLoads: 0 }), 'INVALID_ARGUMENT', 'maxConcurrentLoads of group "g"')
  const group = node.group('g', { maxBytes: '1MiB', getter: () => { throw new Error('max_bytes is what I say') } })
  await rejects(group.get('max_bytes'), 'GETTER_FAILED', 'max_bytes is what I say')
})

test('keys', async (t) => {
  const { node, group } = await startGroup(t, { getter: (key) => key })
  for (const key of NOT_STRINGS) {
    await rejects(group.get(key), 'INVALID_ARGUMENT', 'key must be a string')
    await rejects(group.set(key, 'v'), 'INVALID_ARGUMENT', 'key must be a string')
    await rejects(group.delete(key), 'INVALID_ARGUMENT', 'key must be a string')
    throws(() => node.owner(key), 'INVALID_ARGUMENT', 'key must be a string')
    assert.equal(group.peek(key), undefined)
  }
  for (const key of ['', 'k'.repeat(4097), 'é'.repeat(2049), 'k'.repeat(100_000)]) {
    await rejects(group.get(key), 'INVALID_ARGUMENT', '4096')
    await rejects(group.set(key, 'v'), 'INVALID_ARGUMENT', '4096')
    await rejects(group.delete(key), 'INVALID_ARGUMENT', '4096')
    throws(() => node.owner(key), 'INVALID_ARGUMENT', '4096')
    assert.equal(group.peek(key), undefined)
  }
  assert.equal(group.stats().entries, 0)
})

test('s01: lone surrogates are refused, whole pairs and U+FFFD are not', async (t) => {
  const { node, group } = await startGroup(t, { getter: (key) => key })
  for (const key of ['\uD800', 'a\uDC00b', '\uDC00\uD800', `${'k'.repeat(4090)}\uD800`, `${'k'.repeat(5000)}\uD800`]) {
    await rejects(group.get(key), 'INVALID_ARGUMENT', 'surrogate')
    await rejects(group.set(key, 'v'), 'INVALID_ARGUMENT', 'surrogate')
    await rejects(group.delete(key), 'INVALID_ARGUMENT', 'surrogate')
    throws(() => node.owner(key), 'INVALID_ARGUMENT', 'surrogate')
    assert.equal(group.peek(key), undefined)
  }
  await rejects(group.set('k', 'v\uD800'), 'INVALID_ARGUMENT', 'surrogate')
  assert.equal(group.stats().entries, 0)
  assert.equal((await group.get('\uFFFD')).toString(), '\uFFFD')
})

test('values and ttls of set', async (t) => {
  const { group } = await startGroup(t)
  for (const value of [undefined, null, 1, 1n, true, {}, [1], Symbol('s'), () => 1, new Uint16Array(2), new DataView(new ArrayBuffer(1))]) {
    await rejects(group.set('k', value), 'INVALID_ARGUMENT', 'value', 'Uint8Array')
  }
  for (const ttl of NOT_DURATIONS) await rejects(group.set('k', 'v', { ttl }), 'INVALID_ARGUMENT', 'ttl')
  for (const timeout of NOT_DURATIONS) await rejects(group.set('k', 'v', { timeout }), 'INVALID_ARGUMENT', 'timeout')
  await rejects(group.set('k', Buffer.alloc(200_000)), 'TOO_LARGE', '200000')
  assert.equal(group.stats().entries, 0)
})

test('options of get, set, delete and close', async (t) => {
  const { node, group } = await startGroup(t, { getter: () => 'v' })
  for (const options of NOT_OBJECTS) {
    await rejects(group.get('k', options), 'INVALID_ARGUMENT', 'options of get')
    await rejects(group.set('k', 'v', options), 'INVALID_ARGUMENT', 'options of set')
    await rejects(group.delete('k', options), 'INVALID_ARGUMENT', 'options of delete')
    await rejects(node.close(options), 'INVALID_ARGUMENT', 'options of close')
  }
  const strange = { colour: 'red' }
  await rejects(group.get('k', strange), 'INVALID_ARGUMENT', 'colour', 'timeout')
  await rejects(group.set('k', 'v', strange), 'INVALID_ARGUMENT', 'colour', 'ttl')
  await rejects(group.delete('k', strange), 'INVALID_ARGUMENT', 'colour', 'timeout')
  await rejects(node.close(strange), 'INVALID_ARGUMENT', 'colour', 'drain')
  for (const timeout of NOT_DURATIONS) {
    await rejects(group.get('k', { timeout }), 'INVALID_ARGUMENT', 'timeout')
    await rejects(group.delete('k', { timeout }), 'INVALID_ARGUMENT', 'timeout')
    await rejects(node.close({ drain: timeout }), 'INVALID_ARGUMENT', 'drain')
  }
  for (const signal of [null, 1, {}, new AbortController(), 'x']) {
    await rejects(group.get('k', { signal }), 'INVALID_ARGUMENT', 'AbortSignal')
  }
  // None of it closed the node or did anything else.
  assert.equal((await group.get('k', { timeout: undefined, signal: undefined })).toString(), 'v')
})

test('options of Node.start', async () => {
  for (const options of NOT_OBJECTS) await rejects(Node.start(options), 'INVALID_ARGUMENT', 'Node.start')
  await rejects(Node.start({ lisen: 'x' }), 'INVALID_ARGUMENT', 'lisen', 'listen')
  for (const name of ['listen', 'advertise', 'cluster']) {
    for (const value of [null, 1, {}, []]) await rejects(Node.start({ [name]: value }), 'INVALID_ARGUMENT', name)
  }
  for (const peers of [null, 'a:1', {}, [1]]) await rejects(Node.start({ peers }), 'INVALID_ARGUMENT', 'peers')
  for (const ioThreads of [0, -1, 1.5, NaN, '2', 5000, Infinity]) await rejects(Node.start({ ioThreads }), 'INVALID_ARGUMENT')
  for (const value of NOT_DURATIONS) {
    await rejects(Node.start({ defaultTimeout: value }), 'INVALID_ARGUMENT', 'defaultTimeout')
    await rejects(Node.start({ drain: value }), 'INVALID_ARGUMENT', 'drain')
  }
  for (const listen of ['nonsense', '127.0.0.1', '127.0.0.1:70000', ':', '']) {
    await rejects(Node.start({ listen }), 'INVALID_ARGUMENT')
  }
  await rejects(Node.start({ listen: '127.0.0.1:0', peers: ['127.0.0.1:1'] }), 'INVALID_ARGUMENT', 'own address')
  await rejects(Node.start({ peers: ['127.0.0.1:1'] }), 'INVALID_ARGUMENT', 'listen')
  await rejects(Node.start({ listen: '0.0.0.0:0' }), 'INVALID_ARGUMENT', 'advertise')
})

test('a throwing accessor or proxy of the options rejects with what it threw', async () => {
  const boom = new Error('boom')
  const accessor = Object.defineProperty({}, 'listen', { enumerable: true, get: () => { throw boom } })
  const proxy = new Proxy({}, { ownKeys: () => { throw boom } })
  await assert.rejects(Node.start(accessor), boom)
  await assert.rejects(Node.start(proxy), boom)
})

test('a taken port names it', async (t) => {
  const node = await startNode(t, { listen: '127.0.0.1:0' })
  const error = await Node.start({ listen: node.address }).then(assert.fail, (error) => error)
  assert.ok(error instanceof KamaCacheError)
  assert.ok(error.message.includes(node.address), error.message)
})

test('node.group', async (t) => {
  const node = await startNode(t)
  for (const name of NOT_STRINGS) throws(() => node.group(name, { maxBytes: 65536 }), 'INVALID_ARGUMENT', 'group name')
  for (const name of ['', 'a b', 'ä', 'x'.repeat(256), '\uD800']) {
    throws(() => node.group(name, { maxBytes: 65536 }), 'INVALID_ARGUMENT')
  }
  for (const options of [undefined, ...NOT_OBJECTS]) throws(() => node.group('g', options), 'INVALID_ARGUMENT', 'options of a group')
  throws(() => node.group('g', {}), 'INVALID_ARGUMENT', 'maxBytes')
  throws(() => node.group('g', { maxBytes: 0 }), 'INVALID_ARGUMENT', '65536')
  throws(() => node.group('g', { maxbytes: 65536 }), 'INVALID_ARGUMENT', 'maxbytes', 'maxBytes')
  for (const maxBytes of [null, -1, 1.5, NaN, Infinity, 'much', '', {}, 1n]) {
    throws(() => node.group('g', { maxBytes }), 'INVALID_ARGUMENT', 'maxBytes')
  }
  for (const getter of [null, 1, 'f', {}]) throws(() => node.group('g', { maxBytes: 65536, getter }), 'INVALID_ARGUMENT', 'getter')
  for (const ttl of NOT_DURATIONS) throws(() => node.group('g', { maxBytes: 65536, ttl }), 'INVALID_ARGUMENT', 'ttl')
  throws(() => node.group('g', { maxBytes: 65536, policy: 'random' }), 'INVALID_ARGUMENT', 'random', 's3fifo')
  throws(() => node.group('g', { maxBytes: 65536, strict: 'yes' }), 'INVALID_ARGUMENT', 'strict')
  // After all that the name is still free; then it is not.
  node.group('g', { maxBytes: 65536, ttl: Infinity, loadTimeout: '30s', policy: 'lru', strict: true, maxValueBytes: '1MiB' })
  throws(() => node.group('g', { maxBytes: 65536 }), 'ALREADY_EXISTS', 'g')
})

test('setPeers', async (t) => {
  const node = await startNode(t, { listen: '127.0.0.1:0' })
  for (const peers of [undefined, null, 'a:1', {}, [1], [node.address, null], ['\uD800']]) {
    await rejects(node.setPeers(peers), 'INVALID_ARGUMENT', 'peers')
  }
  await rejects(node.setPeers(['127.0.0.1:1']), 'INVALID_ARGUMENT', node.address)
  await rejects(node.setPeers([node.address, 'nonsense']), 'INVALID_ARGUMENT', 'nonsense')
  assert.deepEqual(node.members(), [node.address])
})

test('methods taken off their object reject or throw a TypeError and harm nothing', async (t) => {
  const { node, group } = await startGroup(t)
  for (const name of ['get', 'set', 'delete']) {
    const pending = group[name].call(undefined, 'k', name === 'set' ? 'v' : undefined)
    assert.ok(pending instanceof Promise)
    await assert.rejects(pending, TypeError)
  }
  for (const name of ['close', 'setPeers']) await assert.rejects(node[name].call({}), TypeError)
  assert.throws(() => group.peek.call({}, 'k'), TypeError)
  assert.throws(() => group.stats.call({}), TypeError)
  assert.throws(() => node.members.call({}), TypeError)
  assert.throws(() => node.group.call({}, 'x', { maxBytes: 65536 }), TypeError)
})
