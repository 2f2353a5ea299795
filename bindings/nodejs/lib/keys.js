'use strict'
// Keys of wrapped functions: a call's arguments become a key, and the owner of the key reads the
// arguments back. The same arguments make the same key as in Python's `cached`, where both know the
// parameters' names.
//
// Invariant: arguments that differ make different keys, and reading a key back gives equal ones; a
// key that was not written here for these parameters is refused, never misread.

const { Refusal } = require('./getter.js')
const { invalid, kindOf } = require('./errors.js')
const { canonical } = require('./canonical.js')

/** `name:[1,"en"]`, or with names for the parameters `name:{"lang":"en","user_id":1}`. */
class JsonKeys {
  constructor(name, params) {
    this.prefix = `${name}:`
    this.params = params
  }

  write(args) {
    const given = args.slice(0, 1 + args.findLastIndex((value) => value !== undefined))
    return this.prefix + canonical(this.params === undefined ? given : byName(this.params, given))
  }

  read(key) {
    const read = parse(key.slice(this.prefix.length))
    if (this.params === undefined && Array.isArray(read)) return read
    const named = this.params !== undefined && typeof read === 'object' && read !== null && !Array.isArray(read)
    if (!named || Object.keys(read).some((name) => !this.params.includes(name))) throw unreadable(key)
    return this.params.map((name) => (Object.hasOwn(read, name) ? read[name] : undefined))
  }
}

function parse(text) {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function byName(names, args) {
  if (args.length > names.length) {
    throw invalid(`the function was wrapped with ${names.length} params, ${names.join(', ')}, and called with ${args.length} arguments`)
  }
  return Object.fromEntries(args.map((value, index) => [names[index], value]))
}

/** Types of a template's parameters: what they are called in messages, and how their text is read. */
const KINDS = new Map([
  [String, { name: 'string', read: (text) => text }],
  [Number, { name: 'number', read: Number }],
  [Boolean, { name: 'boolean', read: (text) => (text === 'true' ? true : text === 'false' ? false : undefined) }],
])

/** `user:{user_id}:{lang}`, each value percent-escaped. */
class TemplateKeys {
  #template
  #literals
  #fields
  #names
  #kinds
  #pattern

  constructor(template, params) {
    const pieces = template.split(/\{(\w+)\}/)
    this.#template = template
    this.#literals = pieces.filter((_, index) => index % 2 === 0)
    this.#names = Object.keys(params)
    this.#kinds = Object.values(params).map((type) => KINDS.get(type))
    this.#fields = pieces.filter((_, index) => index % 2 === 1)
    this.#check()
    this.prefix = this.#literals[0]
    const literals = this.#literals.map((literal) => literal.replace(/\W/gu, (letter) => `\\u{${letter.codePointAt(0).toString(16)}}`))
    this.#pattern = new RegExp(`^${literals.join('([\\w.~%\\-]*)')}$`, 'u')
  }

  #check() {
    const say = (what) => invalid(`key template ${JSON.stringify(this.#template)}: ${what}`)
    if (this.#fields.toSorted().join() !== this.#names.toSorted().join()) {
      throw say(`it names each of params once: it has ${this.#fields.join(', ')}, params ${this.#names.join(', ')}`)
    }
    if (this.#literals.some((literal) => /[{}]/.test(literal))) throw say('a field is written {name}')
    if (this.#literals[0] === '') throw say("it begins with text that tells the function, as 'user:'")
    if (this.#literals.slice(1, -1).some((literal) => !/[^\w.~%-]/.test(literal))) {
      throw say("put ':' or another such character between its fields")
    }
    const wrong = this.#kinds.indexOf(undefined)
    if (wrong >= 0) throw say(`the type of ${this.#names[wrong]} must be String, Number or Boolean`)
  }

  write(args) {
    if (args.length > this.#names.length) byName(this.#names, args)
    const texts = Object.fromEntries(this.#names.map((name, index) => [name, this.#text(index, args[index])]))
    return this.#template.replace(/\{(\w+)\}/g, (_, name) => texts[name])
  }

  #text(index, value) {
    const { name } = this.#kinds[index]
    if (typeof value !== name || (name === 'number' && !Number.isFinite(value))) {
      throw invalid(`parameter ${this.#names[index]} of key template ${JSON.stringify(this.#template)} is a ${name}, got ${kindOf(value)}`)
    }
    return quote(name === 'string' ? value : canonical(value))
  }

  read(key) {
    const texts = this.#pattern.exec(key)?.slice(1)
    if (texts === undefined) throw unreadable(key)
    const args = this.#names.map((name, index) => this.#kinds[index].read(unquote(texts[this.#fields.indexOf(name)], key)))
    // What was not written by `write`, as 1e3 for 1000 or %41 for A, would be kept under two keys.
    if (args.includes(undefined) || args.some(Number.isNaN) || this.write(args) !== key) throw unreadable(key)
    return args
  }
}

/** As Python's quote(text, safe=''): all but letters, digits and _.-~ escaped. */
function quote(text) {
  if (!text.isWellFormed()) throw invalid('a key is UTF-8: the string has a lone surrogate')
  return encodeURIComponent(text).replace(/[!'()*]/g, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`)
}

function unquote(text, key) {
  try {
    return decodeURIComponent(text)
  } catch {
    throw unreadable(key)
  }
}

const unreadable = (key) => new Refusal(`key ${JSON.stringify(key.slice(0, 64))} does not fit the parameters of the wrapped function of this node`)

/** How the option `key`, or else `name` and `params`, makes keys. */
function keysOf({ name, params, key }) {
  if (key === undefined) return new JsonKeys(checkedName(name), params === undefined ? undefined : checkedNames(params))
  if (typeof key !== 'string') throw invalid(`key must be a template such as 'user:{id}', got ${kindOf(key)}`)
  if (params === null || typeof params !== 'object' || Array.isArray(params)) {
    throw invalid(`with a key template, params must be an object of its parameters' types, as { id: Number }, got ${kindOf(params)}`)
  }
  return new TemplateKeys(key, params)
}

function checkedName(name) {
  if (typeof name === 'string' && name !== '') return name
  throw invalid(`a wrapped function needs a name, the same on all nodes: pass { name: 'profile' }; got ${kindOf(name)}`)
}

function checkedNames(params) {
  const fine = Array.isArray(params) && params.every((name) => typeof name === 'string') && new Set(params).size === params.length
  if (!fine) throw invalid(`params must be an array of the parameters' names, as ['id', 'lang']; got ${kindOf(params)}`)
  return [...params]
}

module.exports = { keysOf }
