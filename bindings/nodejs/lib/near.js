'use strict'
// Near copies of one group: values in JavaScript's own memory, because a native call costs more than the lookup.
//
// Invariant: a copy is used only while the slot's generation, the view and the group's count of clears, read in place
// from native memory, are what they were when it was made, and before it expires; nobody outside gets hold of its bytes. Every copy goes back to the
// native side now and then, which sees by that what is in use, and counts the hits.

const { performance } = require('node:perf_hooks')

const { copyOf, meta, native, takeHit } = require('./bridge.js')

/** The real clock, also where a test has put another in its place. */
const now = performance.now.bind(performance)
/** One in so many hits without a copy is looked at, and the second look at a key makes a copy: of what is hit often. */
const ONE_IN = 16
/** Keys that were looked at once, at most. */
const CANDIDATES = 1024
/** Hits of one copy until it is made anew. */
const TURNS = 32
/** Larger values (and keys, which cannot be) are not copied: what a call costs does not matter there. */
const LONGEST = 4096
/** What a copy takes beside its key and value, about. */
const OVERHEAD = 250

class NearCopies {
  #slot
  #room
  #generations
  #view
  #clears
  /** Copies by key; when the young ones take half of the room they become the old ones, and the old ones go. */
  #young = new Map()
  #old = new Map()
  #youngBytes = 0
  #untilNext = ONE_IN
  #candidates = new Set()
  #uncounted = 0

  /** The near copies of the group in this slot; undefined where there can be none. */
  static of(slot) {
    const found = native.freshness(slot)
    return found && new NearCopies(slot, ...found)
  }

  constructor(slot, room, generations, view, clears) {
    this.#slot = slot
    this.#room = room
    this.#generations = new Uint32Array(generations)
    this.#view = new Uint32Array(view)
    this.#clears = new Uint32Array(clears)
  }

  /** The value of `key`, as a Buffer of its own, if there is a copy or one is due; `hits` is 1 for a get, 0 for a peek. */
  take(key, hits) {
    const copy = this.#young.get(key) ?? this.#aged(key)
    if (copy === undefined) return --this.#untilNext > 0 ? undefined : this.#consider(key, hits)
    if (!this.#stands(copy)) return this.#drop(key, copy)
    if (--copy.turns === 0) return this.#renew(key, copy, hits)
    this.#uncounted += hits
    return copyOf(copy.value)
  }

  /** Reports hits that the native side has not heard of. */
  report() {
    if (this.#uncounted > 0) native.addHits(this.#slot, this.#uncounted)
    this.#uncounted = 0
  }

  /** The group is closed. */
  stop() {
    this.report()
    this.#room = 0
    for (const keys of [this.#young, this.#old, this.#candidates]) keys.clear()
  }

  #stands({ slot, generation, view, clears, until }) {
    return (
      Atomics.load(this.#generations, slot) === generation &&
      Atomics.load(this.#view, 0) === view &&
      Atomics.load(this.#clears, 0) === clears &&
      (until === Infinity || now() < until)
    )
  }

  /** A copy from among the old ones, which is young from now on. */
  #aged(key) {
    const copy = this.#old.get(key)
    if (copy !== undefined) {
      this.#old.delete(key)
      this.#keep(key, copy)
    }
    return copy
  }

  #drop(key, copy) {
    this.#youngBytes -= sizeOf(key, copy.value)
    this.#young.delete(key)
    return undefined
  }

  #consider(key, hits) {
    this.#untilNext = ONE_IN
    // Who asks with nonsense is told so elsewhere.
    if (typeof key !== 'string' || key.length > LONGEST) return undefined
    if (this.#candidates.delete(key)) return this.#make(key, hits)
    if (this.#candidates.size === CANDIDATES) this.#candidates.clear()
    this.#candidates.add(key)
    return undefined
  }

  /** A value that the native side has, and a new copy of it. */
  #make(key, hits) {
    const [value, asked] = this.#ask(key, hits)
    if (value === undefined || value.length > LONGEST) return value
    const copy = { value: new Uint8Array(value), slot: 0, generation: 0, view: 0, clears: 0, until: 0, turns: 0 }
    this.#keep(key, dated(copy, asked))
    return value
  }

  /** The same for a value of which there is a copy: mostly nothing has changed. */
  #renew(key, copy, hits) {
    const [value, asked] = this.#ask(key, hits)
    if (value?.length !== copy.value.length) return this.#drop(key, copy) ?? value
    copy.value.set(value)
    dated(copy, asked)
    return value
  }

  /** The value, if this node owns it, and when it was asked for: a copy must not outlive it by as much as a call. */
  #ask(key, hits) {
    const asked = now()
    const length = native.near(this.#slot, key, this.#uncounted + hits)
    if (length < 0) return []
    this.#uncounted = 0
    return [takeHit(length), asked]
  }

  #keep(key, copy) {
    const size = sizeOf(key, copy.value)
    if (size > this.#room / 2) return
    if (this.#youngBytes + size > this.#room / 2) {
      this.#old = this.#young
      this.#young = new Map()
      this.#youngBytes = 0
    }
    this.#young.set(key, copy)
    this.#youngBytes += size
  }
}

/** With what the native side has told of the value that it has just handed out. */
function dated(copy, asked) {
  copy.slot = meta[0]
  copy.generation = meta[1]
  copy.view = meta[2]
  copy.clears = meta[4]
  copy.until = meta[3] < 0 ? Infinity : asked + meta[3]
  copy.turns = TURNS
  return copy
}

const sizeOf = (key, value) => 2 * key.length + value.length + OVERHEAD

module.exports = { NearCopies }
