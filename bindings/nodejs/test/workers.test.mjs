// worker_threads: each has nodes of its own; a worker that ends or is terminated takes them along and
// harms nobody.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'

import { startNode, startGroup } from './helpers.mjs'

const program = new URL('programs/worker.mjs', import.meta.url)

async function message(worker) {
  const [value] = await once(worker, 'message')
  return value
}

test('workers and the main thread form one ring', async (t) => {
  const node = await startNode(t, { listen: '127.0.0.1:0' })
  const workers = [1, 2].map(() => new Worker(program))
  const addresses = [node.address, ...(await Promise.all(workers.map(message)))]
  await node.setPeers(addresses)
  await Promise.all(
    workers.map((worker) => {
      worker.postMessage({ peers: addresses })
      return message(worker)
    }),
  )
  const group = node.group('g', { maxBytes: '1MiB', getter: (key) => `${key} from ${node.address}` })
  for (const address of addresses) {
    let index = 0
    while (node.owner(`k${index}`) !== address) index += 1
    assert.equal((await group.get(`k${index}`)).toString(), `k${index} from ${address}`)
  }
  await Promise.all(workers.map((worker) => worker.terminate()))
})

test('s45: 20 workers that are terminated mid-load', async (t) => {
  const { group } = await startGroup(t, { getter: async (key) => key })
  for (let round = 0; round < 4; round++) {
    const workers = Array.from({ length: 5 }, () => new Worker(program, { argv: ['load'] }))
    await Promise.all(workers.map(message))
    await Promise.all(workers.map((worker) => worker.terminate()))
  }
  assert.equal((await group.get('k')).toString(), 'k')
})

test('a worker with an idle node ends by itself', async () => {
  const worker = new Worker(program, { argv: ['idle'] })
  const [code] = await once(worker, 'exit')
  assert.equal(code, 0)
})

test('a port is free when its worker has gone', async (t) => {
  const worker = new Worker(program)
  const listen = await message(worker)
  await worker.terminate()
  assert.equal((await startNode(t, { listen })).address, listen)
})
