'use strict'
// The one connection of this environment to the native side: the areas that values travel through,
// the promises that wait for an answer, and the loop that hands answers out.
//
// Invariant: a promise in `waiting` is settled once; no code of the user's runs while values are
// taken out of a batch; whatever waits keeps the process alive, and nothing else does.

const { markAsUntransferable } = require('node:worker_threads')

const { fromFailure, forgetThrown } = require('./errors.js')

/** A hit up to this size is copied through `hits`; a larger one comes as a Buffer. */
const HITS = 64 * 1024
const BATCH = 256 * 1024
/** Items that one turn of the event loop handles. */
const BATCH_ITEMS = 256

/** The kinds of items in a batch, as src/drain.rs writes them. */
const VALUE = 0
const LARGE_VALUE = 1
const DONE = 2
const FAILED = 3
const STARTED = 4
const LOAD = 5
const FORGET = 6
const LOAD_MANY = 7
const EVICTED = 8
const MEMBERS = 9
const UNWANTED = 10

const hits = Buffer.allocUnsafeSlow(HITS)
const batch = Buffer.allocUnsafeSlow(BATCH)
const meta = new Float64Array(2 + 3 * BATCH_ITEMS)
const native = require('./native.js').open(wake, hits, batch, meta)

/** Operations under way, by id: { resolve, reject, done? }. */
const waiting = new Map()
let lastId = 0
/** Nodes that were told to keep the process alive. */
let holds = 0
/**
 * What runs the user's code: load(group, ids, keys), evicted(group, key, reason) and unwanted(load), set by getter.js;
 * members(node, addresses), set by node.js.
 */
const handlers = {}
let drainIsDue = false
/** Items handed out since the event loop last had its turn for sure. */
let handedOut = 0

const nextId = () => ++lastId

/** What `Buffer.prototype.subarray` makes: a Buffer over a part of an ArrayBuffer, without the checks of `Buffer.from`. */
const Part = Buffer[Symbol.species]
/** Small values are parts of a pool, as those of `Buffer.allocUnsafe` are; a larger pool, since filling one costs less than making one. */
const POOL = 32 * 1024
/** Up to this length a value comes out of a pool, and there is a view of the first bytes of the hits area: making either costs more than the copy. */
const LONGEST_SMALL = 4096
const heads = new Array(LONGEST_SMALL + 1)
let pool = new Uint8Array(0)
let poolBuffer = pool.buffer
let used = 0

function renewPool() {
  pool = new Uint8Array(POOL)
  poolBuffer = pool.buffer
  markAsUntransferable(poolBuffer)
  used = 0
}

/** A value out of a shared area, as a Buffer of its own. */
function copyOut(area, offset, length) {
  const value = Buffer.allocUnsafe(length)
  area.copy(value, 0, offset, offset + length)
  return value
}

/** A Buffer of its own with the bytes of a small Uint8Array. */
function copyOf(bytes) {
  const length = bytes.length
  // A pool that somebody detached has no length.
  if (used + length > pool.length) renewPool()
  pool.set(bytes, used)
  const value = new Part(poolBuffer, used, length)
  used += (length + 7) & ~7
  return value
}

/** The value that native.hit, native.get, native.peek or native.near left in the hits area, as a Buffer of its own. */
function takeHit(length) {
  if (length > LONGEST_SMALL) return copyOut(hits, 0, length)
  return copyOf((heads[length] ??= new Uint8Array(hits.buffer, hits.byteOffset, length)))
}

/** Registers an operation that the native side will answer under `id`. */
function wait(id, operation) {
  waiting.set(id, operation)
  if (waiting.size === 1 && holds === 0) native.keepAlive(true)
}

/** Takes an operation out of the table; undefined when it has ended or left already. */
function leave(id) {
  const operation = waiting.get(id)
  if (operation === undefined) return undefined
  waiting.delete(id)
  if (waiting.size === 0 && holds === 0) native.keepAlive(false)
  operation.done?.()
  return operation
}

/** Runs one native operation. `begin` gets the id, and returns true when it is done at once. */
function operate(begin) {
  return new Promise((resolve, reject) => {
    const id = nextId()
    try {
      if (begin(id) === true) return resolve(true)
    } catch (failure) {
      return reject(fromFailure(failure))
    }
    wait(id, { resolve, reject })
  })
}

/** One more (+1) or one fewer (-1) node that keeps the process alive. */
function hold(change) {
  holds += change
  native.keepAlive(holds > 0 || waiting.size > 0)
}

/**
 * The native side has something to hand out. It may call many times within one turn of the event loop, while other
 * threads go on producing: what exceeds a batch waits for the next turn.
 */
function wake() {
  if (!drainIsDue) drain()
}

function drainMore() {
  drainIsDue = false
  handedOut = 0
  drain()
}

/** Hands out a batch of what has finished. */
function drain() {
  const extras = native.drain()
  const count = meta[0]
  handedOut += count
  if (meta[1] === 1 || handedOut >= BATCH_ITEMS) {
    drainIsDue = true
    setImmediate(drainMore)
  }
  let offset = 0
  let calls
  for (let index = 0; index < count; index++) {
    const kind = meta[2 + 3 * index]
    const id = meta[3 + 3 * index]
    const size = meta[4 + 3 * index]
    switch (kind) {
      case VALUE:
        leave(id)?.resolve(copyOut(batch, offset, size))
        offset += size
        break
      case LARGE_VALUE:
      case STARTED:
        leave(id)?.resolve(extras[index])
        break
      case DONE:
        leave(id)?.resolve(size === 1)
        break
      case FAILED:
        leave(id)?.reject(fromFailure(extras[index]))
        break
      case LOAD: {
        const [group, key] = extras[index]
        ;(calls ??= []).push(() => handlers.load(group, [id], [key]))
        break
      }
      case LOAD_MANY: {
        const [group, ids, keys] = extras[index]
        ;(calls ??= []).push(() => handlers.load(group, ids, keys))
        break
      }
      case EVICTED:
        ;(calls ??= []).push(() => handlers.evicted(id, ...extras[index]))
        break
      case MEMBERS:
        ;(calls ??= []).push(() => handlers.members(id, extras[index]))
        break
      case UNWANTED:
        ;(calls ??= []).push(() => handlers.unwanted(id))
        break
      case FORGET:
        forgetThrown(id)
        break
    }
  }
  calls?.forEach(isolated)
}

/** What one call throws (an event's listener may) is uncaught, and the others still run. */
function isolated(call) {
  try {
    call()
  } catch (thrown) {
    process.nextTick(() => {
      throw thrown
    })
  }
}

module.exports = { copyOf, hold, leave, meta, native, nextId, operate, setHandlers: (given) => Object.assign(handlers, given), takeHit, wait }
