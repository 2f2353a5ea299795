// group.wrap: keys that agree with Python's, results that come back as they were, one call for many,
// the owner's function, and a peer without one.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { deferred, keyOwnedBy, rejects, startGroup, startPair, throws } from './helpers.mjs'

/** Wraps a function that counts its calls. */
function counted(group, fn, options) {
  const calls = []
  const wrapped = group.wrap(async (...args) => {
    calls.push(args)
    return fn(...args)
  }, options)
  return { wrapped, calls }
}

test('a wrapped function runs once for the same arguments, and its result is a value of its own', async (t) => {
  const { group } = await startGroup(t)
  const { wrapped: profile, calls } = counted(group, (id, lang) => ({ id, lang, tags: ['a'] }), { name: 'profile', codec: 'json' })
  const first = await profile(1, 'en')
  assert.deepEqual(first, { id: 1, lang: 'en', tags: ['a'] })
  first.tags.push('mine')
  assert.deepEqual(await profile(1, 'en'), { id: 1, lang: 'en', tags: ['a'] })
  assert.deepEqual(await profile(2, 'en'), { id: 2, lang: 'en', tags: ['a'] })
  assert.deepEqual(calls, [[1, 'en'], [2, 'en']])
  await group.delete(profile.key(1, 'en'))
  await profile(1, 'en')
  assert.equal(calls.length, 3)
  assert.equal(profile.name, 'profile')
})

test('s09: 10,000 concurrent calls make one', async (t) => {
  const { group } = await startGroup(t)
  const gate = deferred()
  const { wrapped, calls } = counted(group, () => gate.promise, { name: 'slow' })
  const all = Array.from({ length: 10_000 }, () => wrapped('k'))
  gate.resolve('v')
  assert.deepEqual(new Set(await Promise.all(all)), new Set(['v']))
  assert.equal(calls.length, 1)
})

test('keys: the name and canonical JSON, as Python writes it', async (t) => {
  const { group } = await startGroup(t)
  const list = group.wrap(() => 1, { name: 'f' })
  const named = group.wrap(() => 1, { name: 'mod.g', params: ['user_id', 'lang'] })
  const rows = [
    [list.key(), 'f:[]'],
    [list.key(1, 'en'), 'f:[1,"en"]'],
    [list.key(1, undefined), 'f:[1]'],
    [list.key(-0), 'f:[0]'],
    [list.key(true, null, [1, ['é\n"\\\u007f\u0001']]), 'f:[true,null,[1,["é\\n\\"\\\\\u007f\\u0001"]]]'],
    [list.key({ b: 1, a: { d: 2, c: undefined } }), 'f:[{"a":{"d":2},"b":1}]'],
    [list.key({ '\u{1F600}': 1, '\uFFFD': 2 }), 'f:[{"\uFFFD":2,"\u{1F600}":1}]'],
    [list.key(JSON.parse('{"__proto__":1}')), 'f:[{"__proto__":1}]'],
    // What Python's json.dumps makes of these floats.
    [list.key(0.1, 1.5, 0.0001, 0.00001, 1.5e-7, 5e-324, 123456.789), 'f:[0.1,1.5,0.0001,1e-05,1.5e-07,5e-324,123456.789]'],
    [named.key(1, 'en'), 'mod.g:{"lang":"en","user_id":1}'],
    [named.key(1), 'mod.g:{"user_id":1}'],
  ]
  for (const [key, expected] of rows) assert.equal(key, expected)
})

test('keys from a template: every parameter, percent-escaped', async (t) => {
  const { group } = await startGroup(t)
  const { wrapped, calls } = counted(group, (...args) => args, {
    key: 'user.{id}:{lang}/{on}',
    params: { id: Number, lang: String, on: Boolean },
  })
  assert.equal(wrapped.key(7, 'a b/é!\'()*{id}$&', true), 'user.7:a%20b%2F%C3%A9%21%27%28%29%2A%7Bid%7D%24%26/true')
  for (const args of [[7, 'a b/é!\'()*{id}$&', true], [-1.5, '', false], [0, '%', true]]) {
    assert.deepEqual(await wrapped(...args), args)
  }
  assert.equal(calls.length, 3)
  await rejects(wrapped('7', 'en', true), 'INVALID_ARGUMENT', 'parameter id', 'number')
  await rejects(wrapped(7), 'INVALID_ARGUMENT', 'parameter lang')
  await rejects(wrapped(7, 'lone \uD800', true), 'INVALID_ARGUMENT', 'surrogate')
  for (const key of ['user.07:en/true', 'user.7:en/yes', 'user.7:%41/true', 'user.7:%ff/true', 'user.7', 'user.7:en/true/']) {
    await rejects(group.get(key), 'UNKNOWN_GROUP', 'does not fit')
  }
})

test('arguments that make no key are refused by a rejection that names them', async (t) => {
  const { group } = await startGroup(t)
  const { wrapped, calls } = counted(group, () => 1, { name: 'f' })
  const circle = []
  circle.push(circle)
  const bad = [NaN, Infinity, 1n, Symbol('s'), () => 1, new Date(), new Map(), new (class Mine {})(), [undefined], 'lone \uD800', circle, Buffer.from('b')]
  for (const argument of bad) await rejects(wrapped(argument), 'INVALID_ARGUMENT', 'no key')
  await rejects(wrapped(undefined, 1), 'INVALID_ARGUMENT', 'undefined')
  await rejects(wrapped('x'.repeat(5000)), 'INVALID_ARGUMENT', '4096')
  const named = group.wrap((a) => a, { name: 'g', params: ['a'] })
  await rejects(named(1, 2), 'INVALID_ARGUMENT', '2 arguments')
  assert.equal(calls.length, 0)
})

test('results: nothing is not kept, JSON null is, and what a codec cannot say fails', async (t) => {
  const { group } = await startGroup(t)
  const results = { nothing: undefined, null: null, text: 'grün', function: () => 1, big: 1n }
  const { wrapped: json, calls } = counted(group, (which) => results[which], { name: 'json' })
  for (const _ of [1, 2]) assert.equal(await json('nothing'), undefined)
  for (const _ of [1, 2]) assert.equal(await json('null'), null)
  assert.equal(await json('text'), 'grün')
  assert.deepEqual(calls.flat(), ['nothing', 'nothing', 'null', 'text'])
  await rejects(json('function'), 'GETTER_FAILED', 'function')
  await rejects(json('big'), 'GETTER_FAILED', 'BigInt')
  const str = group.wrap((which) => results[which], { name: 'str', codec: 'str' })
  assert.equal(await str('text'), 'grün')
  assert.equal(await str('null'), undefined)
  await rejects(str('big'), 'GETTER_FAILED', 'string')
  const bytes = group.wrap((which) => results[which], { name: 'bytes', codec: 'bytes' })
  assert.deepEqual(await bytes('text'), Buffer.from('grün'))
  const dates = group.wrap((ms) => new Date(ms), {
    name: 'dates',
    codec: { encode: (date) => String(date.getTime()), decode: (value) => new Date(Number(value)) },
  })
  assert.deepEqual(await dates(5), new Date(5))
})

test('what a function throws is the cause, and ttl is its results’', async (t) => {
  const { group } = await startGroup(t)
  const boom = new Error('disk on fire')
  const failing = group.wrap(() => { throw boom }, { name: 'failing' })
  assert.equal((await rejects(failing(), 'GETTER_FAILED', 'disk on fire')).cause, boom)
  const { wrapped: fleeting, calls } = counted(group, () => 1, { name: 'fleeting', ttl: 0 })
  await fleeting()
  await fleeting()
  assert.equal(calls.length, 2)
})

test('wrap refuses what cannot work, at once', async (t) => {
  const { node, group } = await startGroup(t)
  const fn = (id) => id
  throws(() => group.wrap('f'), 'INVALID_ARGUMENT', 'a function')
  throws(() => group.wrap(() => 1), 'INVALID_ARGUMENT', 'name')
  throws(() => group.wrap(fn, { nam: 'x' }), 'INVALID_ARGUMENT', '"nam"', 'codec')
  throws(() => group.wrap(fn, { codec: 'yaml' }), 'INVALID_ARGUMENT', 'yaml', "'json'")
  throws(() => group.wrap(fn, { codec: 7 }), 'INVALID_ARGUMENT', 'codec')
  throws(() => group.wrap(fn, { ttl: 'soon' }), 'INVALID_ARGUMENT', 'ttl')
  throws(() => group.wrap(fn, { params: ['id', 'id'] }), 'INVALID_ARGUMENT', 'params')
  for (const key of ['{id}', 'user:', 'user:{id}:{id}', 'user:{other}', 'user:{id', 7]) {
    throws(() => group.wrap(fn, { key, params: { id: Number } }), 'INVALID_ARGUMENT')
  }
  throws(() => group.wrap(fn, { key: 'u:{a}{b}', params: { a: String, b: String } }), 'INVALID_ARGUMENT', "':'")
  throws(() => group.wrap(fn, { key: 'u:{a}', params: { a: Date } }), 'INVALID_ARGUMENT', 'String, Number or Boolean')
  throws(() => group.wrap(fn, { key: 'u:{a}' }), 'INVALID_ARGUMENT', 'params')
  assert.equal(group.wrap(fn).name, 'fn')
  throws(() => group.wrap(fn), 'ALREADY_EXISTS', 'fn:')
  throws(() => group.wrap(fn, { name: 'fn:x' }), 'ALREADY_EXISTS', 'ambiguous')
  throws(() => node.group('own', { maxBytes: '1MiB', getter: fn }).wrap(fn), 'INVALID_ARGUMENT', 'own', 'getter')
  await node.close()
  throws(() => group.wrap(fn, { name: 'late' }), 'CLOSED')
})

test('a key that no function has is not found, and set stores beside them', async (t) => {
  const { group } = await startGroup(t)
  group.wrap((id) => id, { name: 'f' })
  await rejects(group.get('other'), 'NOT_FOUND', 'other')
  await group.set('other', 'v')
  assert.equal(String(await group.get('other')), 'v')
})

test('s08b: the owner runs its function of that name; a peer without one lets the caller run its own', async (t) => {
  const { nodes, groups } = await startPair(t)
  const mine = groups[0].wrap((id) => `first ${id}`, { name: 'f' })
  const theirs = groups[1].wrap((id) => `second ${id}`, { name: 'f' })
  const id = await ownedBy(nodes[1], mine)
  assert.equal(await mine(id), `second ${id}`)
  assert.equal(await theirs(id), `second ${id}`)
  const alone = groups[0].wrap((id) => `alone ${id}`, { name: 'alone' })
  const other = await ownedBy(nodes[1], alone)
  assert.equal(await alone(other), `alone ${other}`)
  assert.equal(groups[0].stats().fallbacks, 1)
})

/** An argument whose key this node owns. */
async function ownedBy(node, wrapped) {
  const prefix = wrapped.key('').slice(0, -2)
  const key = keyOwnedBy({ address: node.address, owner: (name) => node.owner(`${prefix}${name}"]`) }, 'id')
  return key
}
