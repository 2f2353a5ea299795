'use strict'
// JSON with one text for each value, the same as Python writes with sorted keys and no blanks.
//
// Invariant: what is written comes back equal from JSON.parse, or writing it is refused. (A property
// that is undefined counts as absent.)

const { invalid, kindOf } = require('./errors.js')

/** Deeper than this it is a circle, or nothing that belongs into a key. */
const DEEPEST = 256

function canonical(value, depth = 0) {
  switch (typeof value) {
    case 'string':
      if (!value.isWellFormed()) throw invalid('arguments make no key: a string has a lone surrogate, and keys are UTF-8')
      return JSON.stringify(value)
    case 'number':
      return number(value)
    case 'boolean':
      return String(value)
    case 'object':
      if (value === null) return 'null'
      if (depth >= DEEPEST) throw invalid('arguments make no key: they are nested too deeply, or in a circle')
      if (Array.isArray(value)) return `[${Array.from(value, (item) => canonical(item, depth + 1)).join()}]`
      if (isPlain(value)) return object(value, depth)
  }
  throw invalid(
    `arguments make no key: only strings, finite numbers, booleans, null, arrays and plain objects come back as they were, got ${nameOf(value)}`,
  )
}

function object(value, depth) {
  const names = Object.keys(value).filter((name) => value[name] !== undefined)
  const pairs = names.sort(byCodePoint).map((name) => `${canonical(name)}:${canonical(value[name], depth + 1)}`)
  return `{${pairs.join()}}`
}

function isPlain(value) {
  const prototype = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype || Object.getPrototypeOf(prototype) === null
}

/** As Python writes an int, or a float that has a fraction. */
function number(value) {
  if (!Number.isFinite(value)) throw invalid(`arguments make no key: ${value} is not a finite number`)
  if (Number.isInteger(value)) return JSON.stringify(value)
  const [digits, power] = value.toExponential().split('e')
  if (power >= -4) return String(value)
  return `${digits}e-${power.slice(1).padStart(2, '0')}`
}

/** UTF-16 puts what is beyond U+FFFF before U+E000; code points do not. */
function byCodePoint(one, other) {
  return Buffer.compare(Buffer.from(one), Buffer.from(other))
}

const nameOf = (value) => (typeof value === 'object' ? `a ${value.constructor?.name ?? 'special object'}` : kindOf(value))

module.exports = { canonical }
