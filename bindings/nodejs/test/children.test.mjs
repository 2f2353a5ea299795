// s44: what a process starts inherits neither its port nor its connections. Node.js starts processes by exec
// alone, so this holds if each descriptor of the library is closed on exec.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync, readdirSync, readlinkSync } from 'node:fs'
import { test } from 'node:test'

import { keyOwnedBy, startPair } from './helpers.mjs'

/** The inodes of this machine's TCP sockets that have the port on this side. */
function sockets(port) {
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  const lines = readFileSync('/proc/net/tcp', 'utf8').trim().split('\n').slice(1)
  const fields = lines.map((line) => line.trim().split(/\s+/))
  return fields.filter((field) => field[1].endsWith(`:${hex}`)).map((field) => `socket:[${field[9]}]`)
}

/** What the descriptors of this process lead to. */
function descriptors() {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)]
    } catch {
      return [] // the one that reads the folder
    }
  })
}

test('s44: a child process inherits neither the port nor the connections of a node', { skip: process.platform !== 'linux' }, async (t) => {
  const { nodes, groups } = await startPair(t, { getter: async (key) => key })
  // This key is the other node's: there is a connection.
  await groups[0].get(keyOwnedBy(nodes[1]))
  const ours = nodes.flatMap((node) => sockets(Number(node.address.split(':').at(-1))))
  const open = descriptors()
  const inherited = ours.filter((socket) => open.includes(socket))
  assert.ok(inherited.length >= 3, `two ports and a connection, but ${inherited}`)

  const child = spawnSync('ls', ['-l', '/proc/self/fd'], { encoding: 'utf8' })
  assert.equal(child.status, 0, child.stderr)
  for (const socket of inherited) assert.ok(!child.stdout.includes(socket), `${socket} in\n${child.stdout}`)
})
