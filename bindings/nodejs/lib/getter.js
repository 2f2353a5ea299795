'use strict'
// Runs getters: for a get that leads its load, in the caller's own context, and for loads that
// peers ask for. Whatever a getter does (throw, reject, return garbage, never settle) ends here.
//
// Invariant: each load is answered at most once, and nothing that a getter does throws out of here.

const { AsyncLocalStorage } = require('node:async_hooks')
const {
  inspect,
  types: { isMap },
} = require('node:util')

const { native, setHandlers } = require('./bridge.js')
const { KamaCacheError, fromFailure, forgetThrown, invalid, keepThrown } = require('./errors.js')

/** The id of the load that the current code belongs to, so that a get knows what it is inside of. */
const scope = new AsyncLocalStorage()
/** Open groups by their number: { getter, getterMany, encode, loads, handle, near }. */
const groups = new Map()
/** Loads that are not answered yet; while there is none, no get needs to ask for its scope. */
let running = 0
/** Running loads, by id, whose getters want to know when their value will not be kept. */
const watched = new Map()
/** setTimeout takes no more. */
const LONGEST_TIMER = 0x7fffffff

const currentLoad = () => (running === 0 ? undefined : scope.getStore())

/** What a getter of ours throws for a key that no function of this node loads. */
class Refusal extends Error {
  #ours

  /** Whether it is one, without asking the thing itself: whatever was thrown may be a proxy that throws. */
  static is(thrown) {
    return typeof thrown === 'object' && thrown !== null && #ours in thrown
  }
}

/** One running getter. */
class Load {
  controller = undefined
  timer = undefined
  /** Its key was written meanwhile: the value will not be kept, and a getter that gives up has not failed. */
  unwanted = false

  constructor(id, key) {
    this.id = id
    this.key = key
  }

  /** Tells the getter that nobody waits for it any more. */
  abort(reason) {
    clearTimeout(this.timer)
    this.controller?.abort(reason)
  }

  /** Aborts when the load is out of time. Keeps no process alive. */
  abortAt(deadline) {
    const late = () => this.abort(new KamaCacheError('DEADLINE_EXCEEDED', `the load of key "${this.key}" is out of time`))
    this.timer = setTimeout(late, Math.min(Math.max(0, deadline - Date.now()), LONGEST_TIMER))
    this.timer.unref()
  }
}

/** What a getter is told about its load; for a batch, about the first of its loads. */
class LoadContext {
  #load
  #deadline

  constructor(load, key) {
    this.#load = load
    if (key !== undefined) this.key = key
    this.ttl = undefined
  }

  /** A peer asked for this load, or a waiter inherited it: no get of this node's code led to it. */
  static isForPeer(ctx) {
    return ctx.#load.id < 0
  }

  get deadline() {
    if (this.#deadline === undefined) {
      const left = native.timeLeft(this.#load.id)
      if (left !== undefined) this.#deadline = Date.now() + left
    }
    return this.#deadline
  }

  get signal() {
    const load = this.#load
    if (load.controller === undefined) {
      load.controller = new AbortController()
      if (this.deadline !== undefined) load.abortAt(this.deadline)
      // A batch goes on for its other keys.
      if (this.key !== undefined) {
        watched.set(load.id, load)
        native.watchLoad(load.id)
      }
    }
    return load.controller.signal
  }
}

/** Runs the group's getter for one load. */
function runLoad(group, id, key) {
  if (group.getter === undefined) return runBatch(group, [id], [key])
  const load = begin(group, id, key)
  const ctx = new LoadContext(load, key)
  answerWith(
    () => scope.run(id, group.getter, key, ctx),
    (value) => finish(group, load, value, ctx.ttl),
    (thrown) => fail(group, load, thrown),
  )
}

/** Runs the group's getters for several loads: one call when it has a getter for that. */
function runLoads(group, ids, keys) {
  const batch = group.getterMany !== undefined && (keys.length > 1 || group.getter === undefined)
  if (batch) runBatch(group, ids, keys)
  else keys.forEach((key, index) => runLoad(group, ids[index], key))
}

function runBatch(group, ids, keys) {
  const loads = keys.map((key, index) => begin(group, ids[index], key))
  const ctx = new LoadContext(loads[0])
  const failAll = (thrown) => loads.forEach((load) => fail(group, load, thrown))
  answerWith(
    () => scope.run(ids[0], group.getterMany, keys, ctx),
    (found) => {
      if (!isMap(found)) return failAll(invalid(`the value of getterMany must be a Map of the keys that exist, got ${inspect(found, { depth: 0 })}`))
      for (const load of loads) finish(group, load, Map.prototype.get.call(found, load.key), ctx.ttl)
    },
    failAll,
  )
}

/** Calls a getter and hands its answer on, at once or when its promise settles. */
function answerWith(getter, finish, fail) {
  let answer
  try {
    answer = getter()
    if (!(answer instanceof Uint8Array) && typeof answer?.then === 'function') {
      Promise.resolve(answer).then(finish, fail)
      return
    }
  } catch (thrown) {
    return fail(thrown)
  }
  finish(answer)
}

function begin(group, id, key) {
  const load = new Load(id, key)
  group.loads.add(load)
  running += 1
  return load
}

function finish(group, load, value, ttl) {
  try {
    const bytes = value === null || value === undefined || group.encode === undefined ? value : group.encode(value)
    if (bytes === null || bytes === undefined) native.notFound(load.id)
    else native.complete(load.id, bytes, ttl)
  } catch (failure) {
    return fail(group, load, fromFailure(failure))
  }
  end(group, load)
}

function fail(group, load, thrown) {
  if (Refusal.is(thrown)) {
    native.refuse(load.id, thrown.message)
    return end(group, load)
  }
  // The getter runs anew for those who still wait.
  if (load.unwanted) {
    native.release(load.id)
    return end(group, load)
  }
  const number = keepThrown(thrown)
  try {
    native.fail(load.id, number, describe(thrown), appCode(thrown))
  } catch {
    forgetThrown(number)
    native.abandon(load.id)
  }
  end(group, load)
}

function end(group, load) {
  if (!group.loads.delete(load)) return
  running -= 1
  clearTimeout(load.timer)
  watched.delete(load.id)
}

/** The message of whatever was thrown: it travels to other nodes, where the thing itself cannot. */
function describe(thrown) {
  try {
    const message = typeof thrown === 'string' ? thrown : thrown?.message
    if (typeof message === 'string' && message !== '') return message.toWellFormed()
    return inspect(thrown, { depth: 1 }).toWellFormed()
  } catch {
    return 'the getter threw something that cannot be shown'
  }
}

/** An integer `appCode` on a thrown error travels with it. */
function appCode(thrown) {
  try {
    return Number.isSafeInteger(thrown?.appCode) ? thrown.appCode : undefined
  } catch {
    return undefined
  }
}

setHandlers({
  unwanted(id) {
    const load = watched.get(id)
    if (load === undefined) return
    load.unwanted = true
    load.abort(new KamaCacheError('CANCELLED', `key "${load.key}" was set, deleted or cleared during this load: its value will not be kept`))
  },
  load(slot, ids, keys) {
    const group = groups.get(slot)
    if (group === undefined) ids.forEach((id) => native.abandon(id))
    else runLoads(group, ids, keys)
  },
  evicted(slot, key, reason) {
    const handle = groups.get(slot)?.handle
    // Nobody listens any more: evictions need not be reported.
    if (handle !== undefined && !handle.emit('evict', key, reason)) native.listen(slot, false)
  },
})

/** Tells running getters that nobody waits for them any more. */
function abortLoads(group) {
  const reason = new KamaCacheError('CLOSED', 'the node was closed')
  for (const load of group.loads) load.abort(reason)
}

/** Forgets a closed group and the getters that never ended. */
function forgetGroup(slot) {
  const group = groups.get(slot)
  groups.delete(slot)
  for (const load of group.loads) {
    native.abandon(load.id)
    end(group, load)
  }
}

module.exports = { LoadContext, Refusal, abortLoads, currentLoad, forgetGroup, groups, runLoad, runLoads }
