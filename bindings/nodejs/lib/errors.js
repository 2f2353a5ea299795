'use strict'
// The one error class, and how a native failure becomes one.
//
// Invariant: everything that kamacache throws or rejects with is a KamaCacheError.

/** Codes by status; a status never changes its code. */
const CODES = [
  'OK',
  'INVALID_ARGUMENT',
  'NOT_FOUND',
  'GETTER_FAILED',
  'DEADLINE_EXCEEDED',
  'CANCELLED',
  'CLOSED',
  'UNAVAILABLE',
  'OVERLOADED',
  'REENTRANT_LOAD',
  'ALREADY_EXISTS',
  'TOO_LARGE',
  'UNKNOWN_GROUP',
  'WOULD_DEADLOCK',
  'FORKED',
  'PANICKED',
  'UNAUTHENTICATED',
  'INTERNAL',
]

class KamaCacheError extends Error {
  constructor(code, message, { appCode, peer, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.status = CODES.indexOf(code)
    if (appCode !== undefined) this.appCode = appCode
    if (peer !== undefined) this.peer = peer
  }
}
Object.defineProperty(KamaCacheError.prototype, 'name', { value: 'KamaCacheError', configurable: true, writable: true })

const invalid = (message) => new KamaCacheError('INVALID_ARGUMENT', message)

/** What a value is, for messages. */
const kindOf = (value) => (value === null ? 'null' : Array.isArray(value) ? 'an array' : `a ${typeof value}`)

/** What getters threw, by number, for as long as the native side may still name the number. */
const thrown = new Map()
let lastThrown = 0

function keepThrown(value) {
  thrown.set(++lastThrown, value)
  return lastThrown
}

/** Options that the core's messages name as Rust, C and Python write them. */
const OPTIONS = new Map(
  ['maxBytes', 'maxValueBytes', 'maxConcurrentLoads', 'negativeTtl', 'hotTtl', 'fallbackTtl', 'staleWhileRevalidate', 'staleIfError', 'loadTimeout',
    'clusterToken', 'clusterTokenFile', 'adminHosts', 'ioThreads', 'getterThreads', 'defaultTimeout'].map((name) => [name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), name]),
)

/** A message of the core with the names of options as they are here. What is quoted (a key, a group) is the user's. */
function inCamelCase(code, message) {
  if (code === 'GETTER_FAILED' || !message.includes('_')) return message
  return message.replace(/"(?:[^"\\]|\\.)*"|\b[a-z]+(?:_[a-z]+)+\b/g, (part) => OPTIONS.get(part) ?? part)
}

/** The native failure `[status, message, appCode, peer, thrown]` as an error; others as they are. */
function fromFailure(failure) {
  if (!Array.isArray(failure)) return failure
  const [status, message, appCode, peer, number] = failure
  return new KamaCacheError(CODES[status], inCamelCase(CODES[status], message), { appCode, peer, cause: thrown.get(number) })
}

/** Calls a native function; what it throws comes out as a KamaCacheError. */
function call(native, ...args) {
  try {
    return native(...args)
  } catch (failure) {
    throw fromFailure(failure)
  }
}

/** The options object of a call, checked for its shape and its names; the values are checked natively. */
function optionsOf(options, what, known) {
  if (options === undefined) return {}
  if (options === null || typeof options !== 'object' || Array.isArray(options)) {
    throw invalid(`the options of ${what} must be an object, got ${kindOf(options)}`)
  }
  const unknown = Object.keys(options).find((name) => !known.includes(name))
  if (unknown !== undefined) throw invalid(`unknown option "${unknown}" of ${what}; known are ${known.join(', ')}`)
  return options
}

module.exports = { KamaCacheError, call, forgetThrown: (number) => thrown.delete(number), fromFailure, invalid, keepThrown, kindOf, optionsOf }
