'use strict'
// Gets that an AbortSignal may end.
//
// Invariant: however many gets share a signal, it carries one listener of ours, and none once they
// have ended. (Node.js warns of a leak from the eleventh listener on.)

/** By signal: what to call for each get that waits under it, and our listener. */
const watched = new WeakMap()

/** Calls `leave` when the signal aborts. Returns what takes that back. */
function onAbort(signal, leave) {
  const { leavers } = watched.get(signal) ?? watch(signal)
  leavers.add(leave)
  return () => {
    leavers.delete(leave)
    if (leavers.size === 0) unwatch(signal)
  }
}

function watch(signal) {
  const leavers = new Set()
  const listener = () => {
    watched.delete(signal)
    for (const leave of leavers) leave()
  }
  const entry = { leavers, listener }
  watched.set(signal, entry)
  signal.addEventListener('abort', listener, { once: true })
  return entry
}

function unwatch(signal) {
  const entry = watched.get(signal)
  if (entry === undefined) return
  watched.delete(signal)
  signal.removeEventListener('abort', entry.listener)
}

module.exports = { onAbort }
