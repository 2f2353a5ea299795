// A server that remote.mjs asks: `node`, which owns keys and has them in memory after the first get, or `grpc`, which
// answers a unary call with a value. Tells its parent where it listens, and ends with it.

import grpc from '@grpc/grpc-js'
import { Node } from 'kamacache'

const value = Buffer.alloc(128, 'v')
const HOST = '127.0.0.1'

async function node() {
  const node = await Node.start({ listen: `${HOST}:0` })
  node.group('g', { maxBytes: '256MiB', getter: () => value })
  process.on('message', (peers) => node.setPeers(peers))
  return node.address
}

async function unary() {
  const server = new grpc.Server()
  const bytes = (buffer) => buffer
  const get = { path: '/bench.Echo/Get', requestStream: false, responseStream: false }
  const method = { ...get, requestSerialize: bytes, requestDeserialize: bytes, responseSerialize: bytes, responseDeserialize: bytes }
  server.addService({ Get: method }, { Get: (call, answer) => answer(null, value) })
  const port = await new Promise((resolve, reject) => {
    server.bindAsync(`${HOST}:0`, grpc.ServerCredentials.createInsecure(), (error, port) => (error ? reject(error) : resolve(port)))
  })
  return `${HOST}:${port}`
}

const address = await { node, grpc: unary }[process.argv[2]]()
process.on('disconnect', () => process.exit(0))
process.send(address)
