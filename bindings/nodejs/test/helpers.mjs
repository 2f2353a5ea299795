// What the tests share: nodes that are closed when their test ends, pairs of nodes, and expectations.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

import { KamaCacheError, Node } from '../lib/index.mjs'

/** Starts a node that closes when the test `t` ends. */
export async function startNode(t, options = {}) {
  const node = await Node.start(options)
  t.after(() => node.close({ drain: 0 }))
  return node
}

/** A single instance with one group. */
export async function startGroup(t, options = {}) {
  const node = await startNode(t)
  return { node, group: node.group('g', { maxBytes: '1MiB', ...options }) }
}

/** Two nodes of one ring in this process, each with a group `g` of these options (a function gets the node's index). */
export async function startPair(t, options = {}) {
  const nodes = [await startNode(t, { listen: '127.0.0.1:0' }), await startNode(t, { listen: '127.0.0.1:0' })]
  const addresses = nodes.map((node) => node.address)
  await Promise.all(nodes.map((node) => node.setPeers(addresses)))
  const of = typeof options === 'function' ? options : () => options
  const groups = nodes.map((node, index) => node.group('g', { maxBytes: '1MiB', ...of(index) }))
  return { nodes, groups }
}

/** The first key from `prefix0` on that this node owns. */
export function keyOwnedBy(node, prefix = 'key') {
  for (let index = 0; ; index++) {
    if (node.owner(`${prefix}${index}`) === node.address) return `${prefix}${index}`
  }
}

/** The first `count` keys that this node owns. */
export function keysOwnedBy(node, count, prefix = 'key') {
  const keys = []
  for (let index = 0; keys.length < count; index++) {
    const key = `${prefix}${index}`
    if (node.owner(key) === node.address) keys.push(key)
  }
  return keys
}

/** Expects a rejection (or a throw of a function) with this code, whose message contains each of `contains`. */
export async function rejects(attempt, code, ...contains) {
  let error
  try {
    await (typeof attempt === 'function' ? attempt() : attempt)
  } catch (thrown) {
    error = thrown
  }
  assert.ok(error instanceof KamaCacheError, `expected ${code}, got ${error}`)
  assert.equal(error.code, code, error.message)
  for (const part of contains) assert.ok(error.message.includes(part), `"${error.message}" lacks "${part}"`)
  return error
}

/** Expects a synchronous throw. */
export function throws(attempt, code, ...contains) {
  let error
  try {
    attempt()
  } catch (thrown) {
    error = thrown
  }
  assert.ok(error instanceof KamaCacheError, `expected ${code}, got ${error}`)
  assert.equal(error.code, code, error.message)
  for (const part of contains) assert.ok(error.message.includes(part), `"${error.message}" lacks "${part}"`)
  return error
}

/** A promise and what settles it. */
export function deferred() {
  let settle
  const promise = new Promise((resolve, reject) => (settle = { resolve, reject }))
  return { promise, ...settle }
}

/** Runs a program of this folder's `programs` in a process of its own: its exit code, signal, output and time. */
export function run(program, ...args) {
  const file = fileURLToPath(new URL(`programs/${program}`, import.meta.url))
  const started = performance.now()
  const child = spawn(process.execPath, [file, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr']) child[name].on('data', (chunk) => (output[name] += chunk))
  const kill = setTimeout(() => child.kill('SIGKILL'), 20_000)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(kill)
      resolve({ code, signal, ...output, ms: performance.now() - started })
    })
  })
}
