'use strict'
// A node: this process in the cluster.
//
// Invariant: a node that is idle keeps no process alive unless `ref()` says so.

const { EventEmitter } = require('node:events')

const { hold, native, operate, setHandlers } = require('./bridge.js')
const { groupCodecOf } = require('./codec.js')
const { call, optionsOf } = require('./errors.js')
const { abortLoads, forgetGroup, groups } = require('./getter.js')
const { Group } = require('./group.js')
const { NearCopies } = require('./near.js')

/** Only `Node.start` knows it. */
const INSIDE = Symbol('inside')
/** Nodes whose changes of members are listened to, by their number. */
const watched = new Map()

setHandlers({ members: (slot, addresses) => watched.get(slot)?.emit('members', addresses) })

class Node extends EventEmitter {
  #slot
  #address
  #adminAddress
  #groups = []
  #closing
  #held = false

  constructor(inside, slot, address, adminAddress) {
    if (inside !== INSIDE) throw new TypeError('a Node is started with: await Node.start(options)')
    super()
    this.#slot = slot
    this.#address = address
    this.#adminAddress = adminAddress
  }

  /** Starts a node. Resolves when it serves. */
  static async start(options = {}) {
    const own = plain(options)
    const [slot, address, adminAddress] = await operate((id) => native.start(id, own))
    return new Node(INSIDE, slot, address, adminAddress)
  }

  /** What peers dial, with the real port; '' without network. */
  get address() {
    return this.#address
  }

  /** Where the admin HTTP listens, with the real port; undefined without one. */
  get adminAddress() {
    return this.#adminAddress
  }

  /** Opens a group. Its getter loads what is missing. */
  group(name, options) {
    const own = plain(options)
    const codec = takeCodec(own)
    const slot = call(native.group, this.#slot, name, own)
    const { getter, getterMany } = own
    const near = NearCopies.of(slot)
    const handle = new Group(name, slot, near, codec)
    groups.set(slot, { getter, getterMany, encode: codec?.encode, loads: new Set(), handle, near })
    this.#groups.push(slot)
    return handle
  }

  /** The addresses of all members, sorted. */
  members() {
    return call(native.members, this.#slot)
  }

  on(event, listener) {
    return this.#listen(super.on(event, listener), event)
  }

  addListener(event, listener) {
    return this.on(event, listener)
  }

  prependListener(event, listener) {
    return this.#listen(super.prependListener(event, listener), event)
  }

  /** From the first listener on, the native side reports changes of the members. */
  #listen(self, event) {
    if (event === 'members' && this.#closing === undefined && !watched.has(this.#slot)) {
      watched.set(this.#slot, this)
      call(native.watchMembers, this.#slot)
    }
    return self
  }

  /** The address of the member that owns `key`. */
  owner(key) {
    return call(native.owner, this.#slot, key)
  }

  /** Replaces the member list; this node must be in it. */
  async setPeers(peers) {
    call(native.setPeers, this.#slot, peers)
  }

  /** Leaves the cluster. Resolves with false when a getter still ran at the end of `drain`. */
  async close(options) {
    const { drain } = optionsOf(options, 'close', ['drain'])
    this.#closing ??= this.#close(drain)
    return this.#closing
  }

  #close(drain) {
    const ended = operate((id) => {
      native.close(this.#slot, id, drain, this.#groups)
      this.unref()
      for (const slot of this.#groups) {
        groups.get(slot).near?.stop()
        abortLoads(groups.get(slot))
      }
    })
    const forget = () => {
      watched.delete(this.#slot)
      this.#groups.forEach(forgetGroup)
    }
    const refused = () => (this.#closing = undefined)
    ended.then(forget, refused)
    return ended
  }

  /** Keeps the process alive until `unref` or `close`. */
  ref() {
    if (!this.#held && this.#closing === undefined) {
      this.#held = true
      hold(+1)
    }
    return this
  }

  /** Takes back `ref`; this is how a node starts. */
  unref() {
    if (this.#held) {
      this.#held = false
      hold(-1)
    }
    return this
  }
}

if (Symbol.asyncDispose !== undefined) {
  Object.defineProperty(Node.prototype, Symbol.asyncDispose, {
    value: async function () {
      await this.close()
    },
    configurable: true,
    writable: true,
  })
}

/** A plain copy, so that accessors and proxies of the user's run here, not inside native code. */
function plain(options) {
  return typeof options === 'object' && options !== null && !Array.isArray(options) ? { ...options } : options
}

/** Takes the codec out of a group's options: native code knows bytes only. */
function takeCodec(own) {
  if (typeof own !== 'object' || own?.codec === undefined) return undefined
  const codec = groupCodecOf(own.codec)
  delete own.codec
  return codec
}

module.exports = { Node }
