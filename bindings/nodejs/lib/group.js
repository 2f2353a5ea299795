'use strict'
// A group: the operations on its keys.
//
// Invariant: no asynchronous method throws; a hit touches nothing but the native call and the copy.

const { EventEmitter } = require('node:events')

const { onAbort } = require('./abort.js')
const { leave, native, nextId, operate, takeHit, wait } = require('./bridge.js')
const { KamaCacheError, call, fromFailure, invalid, kindOf, optionsOf } = require('./errors.js')
const { currentLoad, groups, runLoad, runLoads } = require('./getter.js')
const { wrap } = require('./wrap.js')

/** What native.get returns instead of a length: run the getter now; or just wait. */
const LEAD = -1
const NO_OPTIONS = {}

class Group extends EventEmitter {
  #name
  #slot
  #near
  #encode
  #decode

  /** Made by `node.group`; without a codec values are bytes. */
  constructor(name, slot, near, codec) {
    super()
    this.#name = name
    this.#slot = slot
    this.#near = near
    this.#encode = codec?.encode
    this.#decode = codec?.decode
  }

  get name() {
    return this.#name
  }

  /** The value of `key`: from memory, from its owner, or from the getter. */
  get(key, options) {
    try {
      const bytes = this.#get(key, options)
      return this.#decode === undefined ? bytes : bytes.then(this.#decode)
    } catch (failure) {
      return Promise.reject(fromFailure(failure))
    }
  }

  /** A promise of the bytes; throws what can be refused at once. */
  #get(key, options) {
    const { timeout, signal } = options === undefined ? NO_OPTIONS : getOptions(options)
    if (signal?.aborted) return Promise.reject(cancelled(key, signal))
    const hit = timeout === undefined ? this.#hit(key) : undefined
    if (hit !== undefined) return Promise.resolve(hit)
    const id = nextId()
    const found = native.get(this.#slot, key, id, timeout, currentLoad())
    if (typeof found !== 'number') return Promise.resolve(found)
    if (found >= 0) return Promise.resolve(takeHit(found))
    return this.#answer(id, key, found, signal)
  }

  /** What needs no more than a look; undefined says nothing about the key. */
  #hit(key) {
    const value = this.#near?.take(key, 1)
    if (value !== undefined) return value
    const length = native.hit(this.#slot, key)
    return length >= 0 ? takeHit(length) : undefined
  }

  #answer(id, key, found, signal) {
    return new Promise((resolve, reject) => {
      const operation = { resolve, reject, done: undefined }
      if (signal !== undefined) leaveOnAbort(operation, id, key, signal)
      wait(id, operation)
      if (found === LEAD) runLoad(groups.get(this.#slot), id, key)
    })
  }

  /** The value of `key` if it is in this node's memory. Never waits or loads, and fails only where a codec does. */
  peek(key) {
    const bytes = this.#peek(key)
    return this.#decode === undefined || bytes === undefined ? bytes : this.#decode(bytes)
  }

  #peek(key) {
    const near = this.#near?.take(key, 0)
    if (near !== undefined) return near
    let found
    try {
      found = native.peek(this.#slot, key)
    } catch (failure) {
      throw fromFailure(failure)
    }
    return typeof found === 'number' ? takeHit(found) : found
  }

  /** The values of those of `keys` that exist, as a Map. */
  async getMany(keys, options) {
    const { returnErrors = false, timeout } = optionsOf(options, 'getMany', ['returnErrors', 'timeout'])
    if (typeof returnErrors !== 'boolean') throw invalid(`returnErrors must be a boolean, got ${kindOf(returnErrors)}`)
    const found = await collect(this.#beginMany(listOf(keys, 'the keys of getMany'), timeout), this.#decode)
    const values = new Map()
    for (const [key, value, error] of found) {
      if (error === undefined) values.set(key, value)
      else if (error.code === 'NOT_FOUND') continue
      else if (returnErrors) values.set(key, error)
      else throw error
    }
    return values
  }

  /** Begins a get of each key; what this node has to load is loaded together. */
  #beginMany(keys, timeout) {
    const leads = { ids: [], keys: [] }
    const begun = [...new Set(keys)].map((key) => [key, this.#begin(key, timeout, leads)])
    if (leads.ids.length > 0) runLoads(groups.get(this.#slot), leads.ids, leads.keys)
    return begun
  }

  #begin(key, timeout, leads) {
    const id = nextId()
    try {
      const found = native.get(this.#slot, key, id, timeout, currentLoad())
      if (typeof found !== 'number') return found
      if (found >= 0) return takeHit(found)
      if (found === LEAD) {
        leads.ids.push(id)
        leads.keys.push(key)
      }
      return new Promise((resolve, reject) => wait(id, { resolve, reject, done: undefined }))
    } catch (failure) {
      return Promise.reject(fromFailure(failure))
    }
  }

  /** Stores several values at their owners. Rejects with the first failure when all are done. */
  async setMany(entries, options) {
    const { ttl, timeout } = optionsOf(options, 'setMany', ['ttl', 'timeout'])
    const pairs = listOf(entries, 'the entries of setMany').map(pairOf)
    const sets = pairs.map(([key, value]) => [key, this.set(key, value, { ttl, timeout })])
    for (const [, , error] of await collect(sets)) if (error !== undefined) throw error
  }

  /** Drops every entry on every member. */
  clear(options) {
    return operateQuietly(() => {
      const { timeout } = optionsOf(options, 'clear', ['timeout'])
      return (id) => native.clear(this.#slot, timeout, id)
    })
  }

  /** Stores a value at the key's owner. */
  set(key, value, options) {
    return operateQuietly(() => {
      const { ttl, timeout } = optionsOf(options, 'set', ['ttl', 'timeout'])
      const bytes = this.#encode === undefined ? value : this.#encode(value)
      return (id) => native.set(this.#slot, key, id, bytes, ttl, timeout)
    })
  }

  /** Drops a key at its owner. */
  delete(key, options) {
    return operateQuietly(() => {
      const { timeout } = optionsOf(options, 'delete', ['timeout'])
      return (id) => native.delete(this.#slot, key, id, timeout)
    })
  }

  /** A function whose results the ring keeps. */
  wrap(fn, options) {
    const codec = this.#decode && { encode: this.#encode, decode: this.#decode }
    const bytes = codec === undefined ? this : new Group(this.#name, this.#slot, this.#near)
    return wrap(bytes, this.#slot, codec, fn, options)
  }

  /** A snapshot of this group's counters on this node. */
  stats() {
    this.#near?.report()
    return call(native.stats, this.#slot)
  }

  /** How long hits, loads and fetches took on this node. */
  latency() {
    return call(native.latency, this.#slot)
  }

  on(event, listener) {
    return this.#listen(super.on(event, listener), event)
  }

  addListener(event, listener) {
    return this.on(event, listener)
  }

  prependListener(event, listener) {
    return this.#listen(super.prependListener(event, listener), event)
  }

  /** From the first listener on, the native side reports evictions. */
  #listen(self, event) {
    if (event === 'evict') call(native.listen, this.#slot, true)
    return self
  }
}

/** Settles what was begun: [key, value] or [key, undefined, error] each, in order. */
function collect(begun, decode = (value) => value) {
  const settle = async ([key, value]) => {
    try {
      return [key, decode(await value)]
    } catch (error) {
      return [key, undefined, error]
    }
  }
  return Promise.all(begun.map(settle))
}

function listOf(items, what) {
  if (typeof items === 'string' || typeof items?.[Symbol.iterator] !== 'function') {
    throw invalid(`${what} must be iterable, got ${kindOf(items)}`)
  }
  return [...items]
}

function pairOf(entry) {
  if (Array.isArray(entry) && entry.length === 2) return entry
  throw invalid(`the entries of setMany must be [key, value] pairs, got ${kindOf(entry)}`)
}

/** An operation that resolves with nothing. */
async function operateQuietly(prepare) {
  await operate(prepare())
}

function getOptions(options) {
  const { timeout, signal } = optionsOf(options, 'get', ['timeout', 'signal'])
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw invalid(`signal must be an AbortSignal, got ${kindOf(signal)}`)
  }
  return { timeout, signal }
}

function leaveOnAbort(operation, id, key, signal) {
  operation.done = onAbort(signal, () => {
    leave(id)?.reject(cancelled(key, signal))
    native.cancel(id)
  })
}

const cancelled = (key, signal) =>
  new KamaCacheError('CANCELLED', `the get of key ${JSON.stringify(key)} was aborted by its signal`, { cause: signal.reason })

module.exports = { Group }
