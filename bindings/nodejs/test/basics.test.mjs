// The main job of a single instance: load once, hit, set, delete, peek, stats.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Group, KamaCacheError, Node } from '../lib/index.mjs'
import { rejects, startGroup, startNode } from './helpers.mjs'

const scores = { Tom: '630', Jack: '589' }

test('a getter is called once and its value is a Buffer', async (t) => {
  let loads = 0
  const { group } = await startGroup(t, {
    getter: async (key) => {
      loads += 1
      return scores[key]
    },
  })
  const value = await group.get('Tom')
  assert.ok(Buffer.isBuffer(value))
  assert.equal(value.toString(), '630')
  assert.equal((await group.get('Tom')).toString(), '630')
  assert.equal(loads, 1)
})

test('s02: null and undefined are not found, and not kept', async (t) => {
  for (const nothing of [null, undefined]) {
    let loads = 0
    const { group } = await startGroup(t, {
      getter: () => {
        loads += 1
        return nothing
      },
    })
    const error = await rejects(group.get('nobody'), 'NOT_FOUND', 'nobody')
    assert.equal(error.status, 2)
    assert.ok(error instanceof Error && error.name === 'KamaCacheError')
    await rejects(group.get('nobody'), 'NOT_FOUND')
    assert.equal(loads, 2)
  }
})

test('values: string, Buffer, Uint8Array, empty, at once or promised, small to large', async (t) => {
  const large = Buffer.alloc(700_000, 'x')
  const medium = Buffer.alloc(100_000, 'y')
  const answers = {
    text: 'grün',
    buffer: Buffer.from('b'),
    view: new Uint8Array([1, 2, 3, 4]).subarray(1, 3),
    empty: '',
    promised: Promise.resolve('p'),
    thenable: { then: (resolve) => resolve('t') },
    medium,
    large,
  }
  const { group } = await startGroup(t, { maxBytes: '16MiB', getter: (key) => answers[key] })
  const expected = {
    text: Buffer.from('grün'),
    buffer: Buffer.from('b'),
    view: Buffer.from([2, 3]),
    empty: Buffer.alloc(0),
    promised: Buffer.from('p'),
    thenable: Buffer.from('t'),
    medium,
    large,
  }
  for (const [key, value] of Object.entries(expected)) {
    assert.deepEqual(await group.get(key), value, `${key}, loaded`)
    assert.deepEqual(await group.get(key), value, `${key}, hit`)
    assert.deepEqual(group.peek(key), value, `${key}, peeked`)
  }
})

test('set, delete and peek', async (t) => {
  const { group } = await startGroup(t)
  assert.equal(group.peek('a'), undefined)
  assert.equal(await group.set('a', 'one'), undefined)
  assert.equal(group.peek('a').toString(), 'one')
  await group.set('a', Buffer.from('two'), { ttl: 60_000 })
  assert.equal((await group.get('a')).toString(), 'two')
  assert.equal(await group.delete('a'), undefined)
  assert.equal(group.peek('a'), undefined)
  await rejects(group.get('a'), 'NOT_FOUND', 'a')
  await group.delete('was never there')
})

test('a ttl of 0 keeps nothing, and ctx.ttl speaks for one value', async (t) => {
  let loads = 0
  const { group } = await startGroup(t, {
    getter: (key, ctx) => {
      loads += 1
      if (key === 'fleeting') ctx.ttl = 0
      if (key === 'forever') ctx.ttl = Infinity
      if (key === 'while') ctx.ttl = '10m'
      return 'v'
    },
  })
  for (const key of ['fleeting', 'forever', 'while']) await group.get(key)
  assert.equal(group.peek('fleeting'), undefined)
  assert.equal(group.peek('forever').toString(), 'v')
  assert.equal(group.peek('while').toString(), 'v')
  await group.get('fleeting')
  assert.equal(loads, 4)
})

test('a returned Buffer is the caller’s own: writing to it never reaches the cache', async (t) => {
  const mine = Buffer.from('source')
  const { group } = await startGroup(t, { getter: () => mine })
  const loaded = await group.get('k')
  loaded.fill('!')
  mine.fill('?')
  const hit = await group.get('k')
  assert.equal(hit.toString(), 'source')
  hit.fill('!')
  group.peek('k').fill('!')
  const put = Buffer.from('put')
  const done = group.set('p', put)
  put.fill('!')
  await done
  assert.equal(group.peek('p').toString(), 'put')
  assert.equal((await group.get('k')).toString(), 'source')
})

test('keys are any well-formed string, compared as bytes', async (t) => {
  const { group } = await startGroup(t, { getter: (key) => `got ${key}` })
  for (const key of ['ß', 'ß', '日本', '😀', '\0', ' ', '\uFFFD', 'x'.repeat(4096), 'é'.repeat(2048)]) {
    assert.equal((await group.get(key)).toString(), `got ${key}`)
    assert.equal(group.peek(key).toString(), `got ${key}`)
  }
})

test('stats count what happened', async (t) => {
  const { group } = await startGroup(t, { getter: (key) => scores[key] })
  await group.get('Tom')
  await group.get('Tom')
  await rejects(group.get('nobody'), 'NOT_FOUND')
  await group.set('a', 'b')
  await group.delete('a')
  const stats = group.stats()
  const { gets, hits, loaded, notFound, loads, sets, deletes, entries, maxBytes } = stats
  assert.deepEqual(
    { gets, hits, loaded, notFound, loads, sets, deletes, entries, maxBytes },
    { gets: 3, hits: 1, loaded: 1, notFound: 1, loads: 2, sets: 1, deletes: 1, entries: 1, maxBytes: 1 << 20 },
  )
  assert.ok(Object.values(stats).every((count) => Number.isSafeInteger(count) && count >= 0))
})

test('a single instance has no address and owns every key', async (t) => {
  const node = await startNode(t)
  assert.equal(node.address, '')
  assert.equal(node.owner('k'), '')
  assert.ok(Array.isArray(node.members()))
  assert.ok(node.group('g', { maxBytes: 65536 }) instanceof Group)
})

test('classes: Node and Group come from their makers, KamaCacheError from anywhere', () => {
  assert.throws(() => new Node(), /Node\.start/)
  const error = new KamaCacheError('OVERLOADED', 'busy', { appCode: 7, peer: 'h:1', cause: 'c' })
  assert.deepEqual([error.code, error.status, error.appCode, error.peer, error.cause], ['OVERLOADED', 8, 7, 'h:1', 'c'])
  assert.ok(!('appCode' in new KamaCacheError('INTERNAL', 'x')))
})
