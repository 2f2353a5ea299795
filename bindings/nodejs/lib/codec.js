'use strict'
// Codecs: how the values of a group, or the results of wrapped functions, become bytes and come back. The names are those of
// the other languages, and so are the bytes.
//
// Invariant: a value that is undefined (or null, where the codec has no bytes for it) is no value.

const { invalid, kindOf } = require('./errors.js')

const NAMED = {
  bytes: { encode: (value) => value, decode: (bytes) => bytes },
  str: { encode: text, decode: (bytes) => bytes.toString() },
  json: { encode: json, decode: (bytes) => JSON.parse(bytes.toString()) },
}

function text(value) {
  if (typeof value === 'string' || value === null || value === undefined) return value
  throw new TypeError(`a value with codec 'str' must be a string, got ${kindOf(value)}`)
}

function json(value) {
  const encoded = JSON.stringify(value)
  if (encoded === undefined && value !== undefined) throw new TypeError(`JSON cannot express ${kindOf(value)}`)
  return encoded
}

/** The pair { encode, decode } of an option `codec`. */
function codecOf(codec) {
  if (typeof codec === 'string' && Object.hasOwn(NAMED, codec)) return NAMED[codec]
  if (typeof codec?.encode === 'function' && typeof codec.decode === 'function') return codec
  const names = Object.keys(NAMED).map((name) => `'${name}'`)
  const got = typeof codec === 'string' ? `'${codec}'` : kindOf(codec)
  throw invalid(`codec must be ${names.join(', ')} or an object with functions encode and decode, got ${got}`)
}

/** The same for a group; undefined where values are bytes, which costs nothing. */
function groupCodecOf(codec) {
  const pair = codecOf(codec)
  if (codec === 'bytes') return undefined
  return { encode: (value) => pair.encode(value), decode: (bytes) => pair.decode(bytes) }
}

module.exports = { codecOf, groupCodecOf }
