// Getters: one call for many gets, whatever they throw, what their context says, and reentrancy.

import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { test } from 'node:test'

import { KamaCacheError } from '../lib/index.mjs'
import { deferred, rejects, startGroup } from './helpers.mjs'

test('s09: 10,000 concurrent gets of one cold key make one getter call', async (t) => {
  let loads = 0
  const gate = deferred()
  const { group } = await startGroup(t, {
    getter: async () => {
      loads += 1
      await gate.promise
      return '630'
    },
  })
  const gets = Array.from({ length: 10_000 }, () => group.get('Tom'))
  gate.resolve()
  const values = await Promise.all(gets)
  assert.equal(loads, 1)
  assert.deepEqual(new Set(values.map(String)), new Set(['630']))
  assert.equal(new Set(values).size, 10_000, 'each caller has a Buffer of its own')
  const { loaded, loadJoined, hits, gets: all, inProgress } = group.stats()
  assert.deepEqual({ loaded, loadJoined, hits, all, inProgress }, { loaded: 1, loadJoined: 9999, hits: 0, all: 10_000, inProgress: 0 })
})

test('s09: 10,000 distinct keys at once, each loaded once', async (t) => {
  const loads = new Map()
  const { group } = await startGroup(t, {
    maxBytes: '16MiB',
    getter: async (key) => {
      loads.set(key, (loads.get(key) ?? 0) + 1)
      return key
    },
  })
  const keys = Array.from({ length: 10_000 }, (_, index) => `k${index}`)
  const values = await Promise.all(keys.map((key) => group.get(key)))
  assert.deepEqual(values.map(String), keys)
  assert.ok([...loads.values()].every((count) => count === 1) && loads.size === 10_000)
})

test('s12: what a getter throws or rejects with is the cause, the same object for every waiter', async (t) => {
  const boom = Object.assign(new Error('disk on fire'), { appCode: 42 })
  for (const getter of [() => { throw boom }, () => Promise.reject(boom), async () => { throw boom }]) {
    let loads = 0
    const { group } = await startGroup(t, {
      getter: (key) => {
        loads += 1
        return getter(key)
      },
    })
    const errors = await Promise.all([1, 2, 3].map(() => rejects(group.get('k'), 'GETTER_FAILED', 'disk on fire')))
    for (const error of errors) {
      assert.equal(error.cause, boom)
      assert.equal(error.appCode, 42)
      assert.equal(error.status, 3)
    }
    const before = loads
    await rejects(group.get('k'), 'GETTER_FAILED')
    assert.equal(loads, before + 1, 'a failure is not kept')
  }
})

test('s12: anything can be thrown', async (t) => {
  const hostile = new Proxy({}, { get: () => { throw new Error('no') }, getPrototypeOf: () => { throw new Error('no') } })
  const throwables = [undefined, null, 0, '', 'text', 'lone \uD800', Symbol('s'), 1n, {}, Object.create(null), () => 1, new Error(''), { message: 7 }, hostile, new Error('x'.repeat(10_000))]
  const { group } = await startGroup(t, { getter: (key) => { throw throwables[Number(key)] } })
  for (let index = 0; index < throwables.length; index++) {
    const error = await rejects(group.get(String(index)), 'GETTER_FAILED')
    assert.equal(error.cause, throwables[index])
    assert.ok(error.message.length > 0 && Buffer.byteLength(error.message) <= 4096)
  }
})

test('s12: garbage answers fail with a message that says what a getter may return', async (t) => {
  const answers = [0, 1, 1n, true, {}, [], Symbol('s'), () => 1, new Uint16Array(1), new Map(), 'lone \uD800']
  const { group } = await startGroup(t, { getter: (key) => (key.startsWith('p') ? Promise.resolve(answers[key.slice(1)]) : answers[key]) })
  for (let index = 0; index < answers.length; index++) {
    for (const key of [`${index}`, `p${index}`]) {
      const error = await rejects(group.get(key), 'GETTER_FAILED', "the getter's value")
      assert.equal(error.cause.code, 'INVALID_ARGUMENT')
    }
  }
  assert.equal(group.stats().entries, 0)
})

test('thenables that misbehave are contained', async (t) => {
  const answers = {
    throwing: { then: () => { throw new Error('then threw') } },
    accessor: Object.defineProperty({}, 'then', { get: () => { throw new Error('accessor threw') } }),
    twice: { then: (resolve, reject) => { resolve('first'); resolve('second'); reject(new Error('third')) } },
  }
  const { group } = await startGroup(t, { getter: (key) => answers[key] })
  await rejects(group.get('throwing'), 'GETTER_FAILED', 'then threw')
  await rejects(group.get('accessor'), 'GETTER_FAILED', 'accessor threw')
  assert.equal((await group.get('twice')).toString(), 'first')
})

test('a bad ctx.ttl fails the load and keeps nothing', async (t) => {
  const { group } = await startGroup(t, { getter: (key, ctx) => { ctx.ttl = 'soon'; return 'v' } })
  await rejects(group.get('k'), 'GETTER_FAILED', 'ctx.ttl')
  assert.equal(group.peek('k'), undefined)
})

test('s14: a getter that never settles: its waiters leave at their deadline, nobody starts another', async (t) => {
  let loads = 0
  const { group } = await startGroup(t, { getter: () => { loads += 1; return new Promise(() => {}) } })
  const started = performance.now()
  await Promise.all([1, 2, 3].map(() => rejects(group.get('k', { timeout: 60 }), 'DEADLINE_EXCEEDED', 'k')))
  await rejects(group.get('k', { timeout: '40ms' }), 'DEADLINE_EXCEEDED')
  assert.ok(performance.now() - started < 2000)
  assert.equal(loads, 1)
  assert.equal((await group.set('other', 'v'), await group.get('other')).toString(), 'v')
})

test('s10: a get that leaves does not end the load', async (t) => {
  const gate = deferred()
  const { group } = await startGroup(t, { getter: () => gate.promise })
  await rejects(group.get('k', { timeout: 20 }), 'DEADLINE_EXCEEDED')
  const second = group.get('k')
  gate.resolve('late')
  assert.equal((await second).toString(), 'late')
  assert.equal(group.stats().loads, 1)
})

test('s16: a getter that asks for its own key gets REENTRANT_LOAD, another key it gets', async (t) => {
  let inner
  const { group } = await startGroup(t, {
    getter: async (key) => {
      if (key === 'other') return 'fine'
      await new Promise((resolve) => setImmediate(resolve))
      inner = await group.get(key).then(assert.fail, (error) => error)
      return group.get('other')
    },
  })
  assert.equal((await group.get('self')).toString(), 'fine')
  assert.ok(inner instanceof KamaCacheError)
  assert.equal(inner.code, 'REENTRANT_LOAD')
  // Outside of the getter the key is just a key.
  assert.equal((await group.get('self')).toString(), 'fine')
})

test('s16: through another key and another group, at once or later', async (t) => {
  const { node, group: first } = await startGroup(t, { getter: () => second.get('b') })
  const second = node.group('second', { maxBytes: '1MiB', getter: (key) => first.get('a') })
  const error = await rejects(first.get('a'), 'GETTER_FAILED')
  let root = error
  while (root.cause instanceof KamaCacheError) root = root.cause
  assert.equal(root.code, 'REENTRANT_LOAD')
})

test('a get inside a getter inherits its deadline', async (t) => {
  const { group } = await startGroup(t, { getter: (key) => (key === 'outer' ? group.get('inner') : new Promise(() => {})) })
  const started = performance.now()
  await assert.rejects(group.get('outer', { timeout: 100 }))
  assert.ok(performance.now() - started < 2000)
})

test('the getter of a leading get runs in its caller’s async context', async (t) => {
  const store = new AsyncLocalStorage()
  const { group } = await startGroup(t, { getter: async () => { await null; return String(store.getStore()) } })
  assert.equal((await store.run('mine', () => group.get('k'))).toString(), 'mine')
})

test('ctx: key, deadline, signal', async (t) => {
  let seen
  const { group } = await startGroup(t, {
    getter: async (key, ctx) => {
      seen = { keys: Object.keys(ctx), key: ctx.key, deadline: ctx.deadline, signal: ctx.signal, again: ctx.signal }
      return new Promise((resolve, reject) => ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason)))
    },
  })
  const before = Date.now()
  await assert.rejects(group.get('k', { timeout: 80 }))
  assert.equal(seen.key, 'k')
  assert.deepEqual(seen.keys, ['key', 'ttl'])
  assert.ok(seen.deadline === undefined || seen.deadline >= before, `${seen.deadline}`)
  assert.ok(seen.signal instanceof AbortSignal && seen.signal === seen.again)
})

test('s20: ctx.signal says when a write has made the load unwanted, and giving up then is no failure', async (t) => {
  // Who inherits the load finds what was set, and else loads anew.
  const writes = [
    { name: 'set', write: (group) => group.set('k', 'written'), answer: 'written', calls: 1 },
    { name: 'delete', write: (group) => group.delete('k'), answer: 'fresh', calls: 2 },
    { name: 'clear', write: (group) => group.clear(), answer: 'fresh', calls: 2 },
  ]
  for (const { name, write, answer, calls } of writes) {
    const entered = deferred()
    const reasons = []
    let loads = 0
    const { group } = await startGroup(t, {
      getter: async (key, ctx) => {
        loads += 1
        if (loads > 1) return ctx.signal.aborted ? 'aborted from the start' : 'fresh'
        entered.resolve()
        return new Promise((resolve, reject) => {
          ctx.signal.addEventListener('abort', () => {
            reasons.push(ctx.signal.reason)
            reject(ctx.signal.reason)
          })
        })
      },
    })
    const gets = [group.get('k'), group.get('k')]
    await entered.promise
    await write(group)
    assert.deepEqual((await Promise.all(gets)).map(String), [answer, answer], name)
    assert.equal(loads, calls, name)
    assert.deepEqual(reasons.map(({ code }) => code), ['CANCELLED'], name)
    assert.ok(reasons[0].message.includes('"k"'), reasons[0].message)
  }
})

test('s20: a getter that takes no notice of its signal answers those who wait, and is not kept', async (t) => {
  const gate = deferred()
  const entered = deferred()
  const { group } = await startGroup(t, { getter: async (key, ctx) => { entered.resolve(ctx.signal); return gate.promise } })
  const get = group.get('k')
  const signal = await entered.promise
  const aborted = new Promise((resolve) => signal.addEventListener('abort', resolve))
  await group.delete('k')
  await aborted
  gate.resolve('stale')
  assert.equal(String(await get), 'stale')
  assert.equal(group.peek('k'), undefined)
})

test('s14: ctx.signal says when the load has taken longer than loadTimeout', async (t) => {
  const reason = deferred()
  const { group } = await startGroup(t, {
    loadTimeout: 100,
    getter: (key, ctx) => new Promise(() => ctx.signal.addEventListener('abort', () => reason.resolve(ctx.signal.reason))),
  })
  await rejects(group.get('k'), 'DEADLINE_EXCEEDED')
  assert.equal((await reason.promise).code, 'DEADLINE_EXCEEDED')
})

test('no getter: a miss is NOT_FOUND', async (t) => {
  const { group } = await startGroup(t)
  await rejects(group.get('k'), 'NOT_FOUND', 'k')
})
