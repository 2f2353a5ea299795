'use strict'
// Near copies of one group: values in JavaScript's own memory, because a native call costs more than the lookup.
//
// Invariant: a copy is used only while the slot's generation and the view, read in place from native memory, are what
// they were when it was made, and before it expires; nobody outside gets hold of its bytes. Every copy goes back to the
// native side now and then, which sees by that what is in use, and counts the hits.

const { performance } = require('node:perf_hooks')

const { copyOf, meta, native, takeHit } = require('./bridge.js')

/** The real clock, also where a test has put another in its place. */
const now = performance.now.bind(performance)
/** Of this many hits that reached the native side, one makes a copy: what is hit often is copied soon, the rest seldom. */
const ONE_IN = 16
/** Hits of one copy until it is made anew. */
const TURNS = 32
/** Larger values are not copied: what a call costs does not matter there. */
const LONGEST = 4096
/** What a copy takes beside its key and value, about. */
const OVERHEAD = 250

class NearCopies {
  #slot
  #room
  #generations
  #view
  /** Copies by key; when the young ones take half of the room they become the old ones, and the old ones go. */
  #young = new Map()
  #old = new Map()
  #youngBytes = 0
  #untilNext = ONE_IN
  #uncounted = 0

  /** The near copies of the group in this slot; undefined where there can be none. */
  static of(slot) {
    const found = native.freshness(slot)
    return found && new NearCopies(slot, ...found)
  }

  constructor(slot, room, generations, view) {
    this.#slot = slot
    this.#room = room
    this.#generations = new Uint32Array(generations)
    this.#view = new Uint32Array(view)
  }

  /** The value of `key`, as a Buffer of its own, if there is a copy or one is due; `hits` is 1 for a get, 0 for a peek. */
  take(key, hits) {
    const copy = this.#young.get(key) ?? this.#aged(key)
    if (copy === undefined) return --this.#untilNext > 0 ? undefined : this.#make(key, hits)
    if (!this.#stands(copy)) return this.#drop(key)
    if (--copy.turns === 0) return this.#make(key, hits)
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
    this.#young.clear()
    this.#old.clear()
  }

  #stands({ slot, generation, view, until }) {
    return (
      Atomics.load(this.#generations, slot) === generation &&
      Atomics.load(this.#view, 0) === view &&
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

  #drop(key) {
    this.#youngBytes -= sizeOf(key, this.#young.get(key).value)
    this.#young.delete(key)
    return undefined
  }

  /** Asks the native side, and keeps what it has. */
  #make(key, hits) {
    this.#untilNext = ONE_IN
    if (this.#young.has(key)) this.#drop(key)
    // Read first: the copy must not outlive the value by as much as a call.
    const asked = now()
    const length = native.near(this.#slot, key, this.#uncounted + hits)
    if (length < 0) return undefined
    this.#uncounted = 0
    const value = takeHit(length)
    if (length <= LONGEST) this.#keep(key, copyFrom(value, asked))
    return value
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

/** What the native side has told of the value that it has just handed out. */
function copyFrom(value, asked) {
  const [slot, generation, view, left] = meta
  const until = left < 0 ? Infinity : asked + left
  return { value: Uint8Array.from(value), slot, generation, view, until, turns: TURNS }
}

const sizeOf = (key, value) => 2 * key.length + value.length + OVERHEAD

module.exports = { NearCopies }
