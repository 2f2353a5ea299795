// Gets of keys that another process owns, beside a unary call of grpc-js with a key and a value of the same size:
// operations a second with 1, 64 and 1,000 in flight. The servers (server.mjs) are processes of their own.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

import grpc from '@grpc/grpc-js'
import { Node } from 'kamacache'

import { keysOf, row } from './measure.mjs'

const KEYS = 200_000 // so many that no copy of one is kept here
const VALUE_BYTES = 128
/** Operations in a block, by how many are in flight. */
const BLOCKS = { 1: 500, 64: 8000, 1000: 16_000 }
const PAIRS = 20

export async function* rows() {
  const servers = await Promise.all(['node', 'grpc'].map(startServer))
  const [ours, theirs] = servers.map(({ address }) => address)
  const node = await Node.start({ listen: '127.0.0.1:0' })
  await node.setPeers([node.address, ours])
  const group = node.group('g', { maxBytes: '64MiB' })
  const client = new grpc.Client(theirs, grpc.credentials.createInsecure())
  const far = cycle(keysOf(KEYS).filter((key) => node.owner(key) === ours))
  const get = () => group.get(far())
  const call = () => unary(client, far())
  for (const [flying, operations] of Object.entries(BLOCKS)) {
    const metric = `remote get, ${flying} in flight, ops/s`
    yield row(metric, 'grpc-js unary', block(get, Number(flying), operations), block(call, Number(flying), operations), { pairs: PAIRS })
  }
  if (group.stats().hotHits > 0) throw new Error('copies were measured')
  client.close()
  await node.close()
  for (const { child } of servers) child.kill()
}

async function startServer(kind) {
  const child = fork(fileURLToPath(new URL('server.mjs', import.meta.url)), [kind])
  const [address] = await once(child, 'message')
  return { child, address }
}

function cycle(keys) {
  let next = 0
  return () => keys[next++ % keys.length]
}

const unary = (client, key) =>
  new Promise((resolve, reject) => {
    const done = (error, value) => (error ? reject(error) : resolve(value))
    client.makeUnaryRequest('/bench.Echo/Get', (text) => Buffer.from(text), (bytes) => bytes, key, done)
  })

/** Operations a second, so many of them at any time. */
const block = (operation, flying, operations) => async () => {
  let left = operations
  const worker = async () => {
    while (left-- > 0) if ((await operation()).length !== VALUE_BYTES) throw new Error('not the value')
  }
  const begun = process.hrtime.bigint()
  await Promise.all(Array.from({ length: flying }, worker))
  return (operations * 1e9) / Number(process.hrtime.bigint() - begun)
}
