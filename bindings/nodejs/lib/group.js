'use strict'
// A group: the operations on its keys.
//
// Invariant: no asynchronous method throws; a hit touches nothing but the native call and the copy.

const { onAbort } = require('./abort.js')
const { leave, native, nextId, operate, takeHit, wait } = require('./bridge.js')
const { KamaCacheError, call, fromFailure, invalid, optionsOf } = require('./errors.js')
const { currentLoad, groups, runLoad } = require('./getter.js')

/** What native.get returns instead of a length: run the getter now; or just wait. */
const LEAD = -1

class Group {
  #name
  #slot

  /** Made by `node.group`. */
  constructor(name, slot) {
    this.#name = name
    this.#slot = slot
  }

  get name() {
    return this.#name
  }

  /** The value of `key`: from memory, from its owner, or from the getter. */
  get(key, options) {
    try {
      const { timeout, signal } = options === undefined ? {} : getOptions(options)
      if (signal?.aborted) return Promise.reject(cancelled(key, signal))
      const id = nextId()
      const found = native.get(this.#slot, key, id, timeout, currentLoad())
      if (typeof found !== 'number') return Promise.resolve(found)
      if (found >= 0) return Promise.resolve(takeHit(found))
      return this.#answer(id, key, found, signal)
    } catch (failure) {
      return Promise.reject(fromFailure(failure))
    }
  }

  #answer(id, key, found, signal) {
    return new Promise((resolve, reject) => {
      const operation = { resolve, reject, done: undefined }
      if (signal !== undefined) leaveOnAbort(operation, id, key, signal)
      wait(id, operation)
      if (found === LEAD) runLoad(groups.get(this.#slot), id, key)
    })
  }

  /** The value of `key` if it is in this node's memory. Never waits, loads or fails. */
  peek(key) {
    const found = call(native.peek, this.#slot, key)
    return typeof found === 'number' ? takeHit(found) : found
  }

  /** Stores a value at the key's owner. */
  set(key, value, options) {
    return operateQuietly(() => {
      const { ttl, timeout } = optionsOf(options, 'set', ['ttl', 'timeout'])
      return (id) => native.set(this.#slot, key, id, value, ttl, timeout)
    })
  }

  /** Drops a key at its owner. */
  delete(key, options) {
    return operateQuietly(() => {
      const { timeout } = optionsOf(options, 'delete', ['timeout'])
      return (id) => native.delete(this.#slot, key, id, timeout)
    })
  }

  /** A snapshot of this group's counters on this node. */
  stats() {
    return call(native.stats, this.#slot)
  }
}

/** An operation that resolves with nothing. */
async function operateQuietly(prepare) {
  await operate(prepare())
}

function getOptions(options) {
  const { timeout, signal } = optionsOf(options, 'get', ['timeout', 'signal'])
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw invalid(`signal must be an AbortSignal, got ${signal === null ? 'null' : `a ${typeof signal}`}`)
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
