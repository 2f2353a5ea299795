'use strict'
// group.wrap: functions whose results the ring keeps.
//
// A group without a getter gets one here once a function is wrapped: it finds the function by the
// beginning of a key and calls it with the arguments that the key holds. The owner of a key runs *its*
// function of that name; a peer's key for a function that is not here is refused, so that the peer
// runs its own.
// Invariant: no beginning of one function's keys is the beginning of another's.

const { native } = require('./bridge.js')
const { codecOf } = require('./codec.js')
const { KamaCacheError, call, invalid, kindOf, optionsOf } = require('./errors.js')
const { LoadContext, Refusal, groups } = require('./getter.js')
const { keysOf } = require('./keys.js')

const OPTIONS = ['name', 'params', 'key', 'codec', 'ttl']

/** `group` gives bytes; `codecOfGroup` is what its user sees it through, if anything. */
function wrap(group, slot, codecOfGroup, fn, options) {
  if (typeof fn !== 'function') throw invalid(`wrap takes a function, got ${kindOf(fn)}`)
  const { name = fn.name, params, key, codec = codecOfGroup ?? 'json', ttl } = optionsOf(options, 'wrap', OPTIONS)
  const keys = keysOf({ name, params, key })
  const { encode, decode } = codecOf(codec)
  const load = async (key, ctx) => {
    ctx.ttl = ttl
    return encode(await fn(...keys.read(key)))
  }
  const functions = functionsOf(group, slot)
  claim(functions, group, keys.prefix)
  serve(group, slot, functions, ttl)
  functions.set(keys.prefix, load)

  async function wrapped(...args) {
    const value = await group.get(keys.write(args)).catch(absent)
    return value === undefined ? undefined : decode(value)
  }
  Object.defineProperty(wrapped, 'name', { value: name, configurable: true })
  wrapped.key = (...args) => keys.write(args)
  return wrapped
}

/** "Not found" is no failure of a function: it has returned nothing. */
function absent(error) {
  if (error.code !== 'NOT_FOUND') throw error
}

/** The wrapped functions of a group, by the beginning of their keys. */
function functionsOf(group, slot) {
  const entry = groups.get(slot)
  if (entry === undefined) throw new KamaCacheError('CLOSED', 'the node is closed')
  if (entry.functions === undefined && (entry.getter ?? entry.getterMany) !== undefined) {
    throw invalid(`group "${group.name}" has a getter; wrap is for a group that was opened without one`)
  }
  return entry.functions ?? new Map()
}

function claim(functions, group, prefix) {
  for (const known of functions.keys()) {
    if (!known.startsWith(prefix) && !prefix.startsWith(known)) continue
    const message = `group "${group.name}" has a wrapped function whose keys begin with "${known}" already, so "${prefix}" would be ambiguous; pass another name or key`
    throw new KamaCacheError('ALREADY_EXISTS', message)
  }
}

/** From now on the group's misses come to its functions. */
function serve(group, slot, functions, ttl) {
  call(native.serveFunctions, slot, ttl)
  const entry = groups.get(slot)
  entry.functions = functions
  // They encode what they return.
  entry.encode = undefined
  entry.getter = (key, ctx) => {
    for (const [prefix, load] of functions) if (key.startsWith(prefix)) return load(key, ctx)
    if (LoadContext.isForPeer(ctx)) throw new Refusal(`group "${group.name}" has no wrapped function for key ${JSON.stringify(key.slice(0, 64))} on this node`)
    return undefined
  }
}

module.exports = { wrap }
