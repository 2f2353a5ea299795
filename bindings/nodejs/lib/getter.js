'use strict'
// Runs getters: for a get that leads its load, in the caller's own context, and for loads that
// peers ask for. Whatever a getter does (throw, reject, return garbage, never settle) ends here.
//
// Invariant: each load is answered at most once, and nothing that a getter does throws out of here.

const { AsyncLocalStorage } = require('node:async_hooks')
const { inspect } = require('node:util')

const { native, setOnLoad } = require('./bridge.js')
const { KamaCacheError, fromFailure, forgetThrown, keepThrown } = require('./errors.js')

/** The id of the load that the current code belongs to, so that a get knows what it is inside of. */
const scope = new AsyncLocalStorage()
/** Open groups by their number: { name, getter, loads }. */
const groups = new Map()
/** Loads that are not answered yet; while there is none, no get needs to ask for its scope. */
let running = 0
/** setTimeout takes no more. */
const LONGEST_TIMER = 0x7fffffff

const currentLoad = () => (running === 0 ? undefined : scope.getStore())

/** One running getter. */
class Load {
  controller = undefined
  timer = undefined

  constructor(id, key) {
    this.id = id
    this.key = key
    this.ctx = new LoadContext(this)
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

/** What a getter is told about its load. */
class LoadContext {
  #load
  #deadline

  constructor(load) {
    this.#load = load
    this.key = load.key
    this.ttl = undefined
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
    }
    return load.controller.signal
  }
}

/** Runs the group's getter for one load. */
function runLoad(group, id, key) {
  const load = new Load(id, key)
  group.loads.add(load)
  running += 1
  let answer
  try {
    answer = scope.run(id, group.getter, key, load.ctx)
    if (!(answer instanceof Uint8Array) && typeof answer?.then === 'function') {
      Promise.resolve(answer).then(
        (value) => finish(group, load, value),
        (thrown) => fail(group, load, thrown),
      )
      return
    }
  } catch (thrown) {
    return fail(group, load, thrown)
  }
  finish(group, load, answer)
}

function finish(group, load, value) {
  try {
    if (value === null || value === undefined) native.notFound(load.id)
    else native.complete(load.id, value, load.ctx.ttl)
  } catch (failure) {
    return fail(group, load, fromFailure(failure))
  }
  end(group, load)
}

function fail(group, load, thrown) {
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

setOnLoad((id, slot, key) => {
  const group = groups.get(slot)
  if (group === undefined) native.abandon(id)
  else runLoad(group, id, key)
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

module.exports = { abortLoads, currentLoad, forgetGroup, groups, runLoad }
