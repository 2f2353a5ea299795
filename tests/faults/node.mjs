// A node of the fault suite in Node.js; what it does is told in node.py, how it is driven in README.md.
//
// Invariant: an operation is on record, as one JSON line written at once, before its outcome is used.

import { appendFileSync, fstatSync, openSync, readSync, writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'

import { Node } from '../../bindings/nodejs/lib/index.mjs'

const AT_ONCE = 32 // keys that a sweep gets at the same time
const TIMEOUT = { get: '2.5s', write: '3s' }

const text = { type: 'string' }
const { values: flags } = parseArgs({
  options: { listen: text, advertise: text, peers: text, discovery: text, source: text, ops: text, log: text, pad: text, 'max-bytes': text },
})

const microseconds = () => Number(process.hrtime.bigint() / 1000n)
const keyOf = (number) => `k${number}`
const padding = 'x'.repeat(Number(flags.pad ?? 0))
const valueOf = (version, key) => `${version} ${key} ${padding}`

const ops = openSync(flags.ops, 'a')
function record(op, key, at, outcome, version) {
  writeSync(ops, `${JSON.stringify({ op, key, at, took: microseconds() - at, outcome, version })}\n`)
}

// ---- the data source: the version of each key ----

const source = openSync(flags.source, 'r+')
const keys = fstatSync(source).size / 8

function versionOf(number) {
  const bytes = Buffer.alloc(8)
  readSync(source, bytes, 0, 8, number * 8)
  return Number(bytes.readBigInt64LE())
}

function raiseVersion(number) {
  const bytes = Buffer.alloc(8)
  const version = versionOf(number) + 1
  bytes.writeBigInt64LE(BigInt(version))
  writeSync(source, bytes, 0, 8, number * 8)
  return version
}

// ---- the node ----

const options = { listen: flags.listen, peers: flags.peers?.split(','), admin: '127.0.0.1:0' }
if (flags.advertise !== undefined) options.advertise = flags.advertise
if (flags.discovery !== undefined) options.discovery = flags.discovery

const node = await Node.start(options).catch(({ code, message }) => {
  console.error(`node.mjs: ${code}: ${message}`)
  process.exit(1)
})
node.ref()
node.on('members', (members) => log(`members ${members}`))

function log(line) {
  try {
    appendFileSync(flags.log, `${line}\n`)
  } catch {
    // A full disk: a program may do without its log.
  }
}

const group = node.group('faults', {
  maxBytes: flags['max-bytes'] ?? '16MiB',
  hotTtl: '2s',
  getter: (key) => {
    const [number, at] = [Number(key.slice(1)), microseconds()]
    const version = versionOf(number)
    record('load', number, at, 'OK', version)
    log(`load ${key}`)
    return valueOf(version, key)
  },
})

// ---- operations ----

async function get(number) {
  const [at, key] = [microseconds(), keyOf(number)]
  let [version, outcome] = [-1, 'OK']
  try {
    const [text, whose] = String(await group.get(key, { timeout: TIMEOUT.get })).split(' ')
    version = Number(text)
    if (whose !== key) outcome = 'WRONG_VALUE'
  } catch (error) {
    outcome = error.code ?? 'THROWN'
  }
  record('get', number, at, outcome, version)
  return outcome
}

async function write(number, deletes) {
  const [version, key] = [raiseVersion(number), keyOf(number)]
  const at = microseconds()
  let outcome = 'OK'
  try {
    const timeout = TIMEOUT.write
    await (deletes ? group.delete(key, { timeout }) : group.set(key, valueOf(version, key), { timeout }))
  } catch (error) {
    outcome = error.code ?? 'THROWN'
  }
  record(deletes ? 'delete' : 'set', number, at, outcome, version)
  return outcome
}

// ---- load ----

let going = false
let loops = []

/** Numbers below 1, the same for the same seed. */
function randomFrom(seed) {
  let state = [...seed].reduce((sum, letter) => Math.imul(sum ^ letter.codePointAt(0), 0x01000193), 0x811c9dc5)
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

async function readOn(random, weights, between) {
  while (going) {
    const wanted = random() * weights.at(-1)
    const number = weights.findIndex((weight) => weight >= wanted)
    if ((await get(number)) === 'CLOSED') return
    await pause(between)
  }
}

async function writeOn(random, own, perSecond) {
  while (going) {
    const number = own[Math.floor(random() * own.length)]
    if ((await write(number, random() < 0.5)) === 'CLOSED') return
    await pause(1000 / perSecond)
  }
}

const partOf = (part, parts) => Array.from({ length: keys }, (_, number) => number).filter((number) => number % parts === Number(part))

const commands = {
  load(seed, readers, between, writes, part, parts) {
    going = true
    let sum = 0
    const weights = Array.from({ length: keys }, (_, rank) => (sum += (rank + 1) ** -0.99))
    for (let reader = 0; reader < readers; reader++) loops.push(readOn(randomFrom(`${seed} ${reader}`), weights, Number(between)))
    if (writes > 0) loops.push(writeOn(randomFrom(seed), partOf(part, parts), Number(writes)))
  },
  async rest() {
    going = false
    await Promise.all(loops)
    loops = []
  },
  async sweep() {
    const all = partOf(0, 1)
    for (let start = 0; start < keys; start += AT_ONCE) await Promise.all(all.slice(start, start + AT_ONCE).map(get))
  },
  async touch(part, parts) {
    for (const number of partOf(part, parts)) await write(number, false)
  },
  async clear(part, parts) {
    const raised = partOf(part, parts).map((number) => [number, raiseVersion(number)])
    const at = microseconds()
    const outcome = await group.clear({ timeout: TIMEOUT.write }).then(() => 'OK', (error) => error.code ?? 'THROWN')
    for (const [number, version] of raised) record('delete', number, at, outcome, version)
  },
  peers: (addresses) => node.setPeers(addresses.split(',')),
  members: () => ({ members: node.members() }),
  owners: () => ({ owners: Array.from({ length: keys }, (_, number) => node.owner(keyOf(number))) }),
  // In the names that the programs of all languages print.
  stats: () => ({ stats: Object.fromEntries(Object.entries(group.stats()).map(([name, count]) => [snake(name), count])) }),
}

const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
const say = (reply) => console.log(JSON.stringify(reply))

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, async () => {
    await node.close()
    process.exit(0)
  })
}

say({ ready: true, address: node.address, admin: node.adminAddress })
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...rest] = line.split(' ')
  try {
    say({ ok: true, ...(await commands[name](...rest)) })
  } catch ({ code, message }) {
    say({ ok: false, code, message })
  }
}
