// One process of a web service that reads products from a database, with kamacache between the two:
// the processes form one ring, so that a product is read from the database once, not once in each.
//
//   node server.mjs --db products.db --port 3001 --listen 127.0.0.1:8001 --peers 127.0.0.1:8001,127.0.0.1:8002
//   node server.mjs --db products.db --port 3001 --no-cache       the same service without kamacache

import { parseArgs } from 'node:util'

import Fastify from 'fastify'
import { Node } from 'kamacache'

import { openProducts } from './products.mjs'

/** The cache, and what to read products through. */
async function openCache(products, { listen, peers }) {
  const node = await Node.start({ listen, peers: peers?.split(',') })
  const cached = node.group('products', {
    maxBytes: '64MiB',
    ttl: '10m',
    // Runs on the one process that owns the key, once for all who ask at the same time.
    getter: (id) => {
      const product = products.find(Number(id))
      return product === undefined ? undefined : JSON.stringify(product)
    },
  })
  return {
    node,
    read: (id) => cached.get(id),
    // After the database has the new price: this process serves it from here on, a copy in another follows within two round trips.
    changed: (id) => cached.delete(id),
    stats: () => cached.stats(),
  }
}

/** The same without a cache: each read is a query. */
function openDirect(products) {
  const read = async (id) => {
    const product = products.find(Number(id))
    if (product === undefined) throw Object.assign(new Error(`no product ${id}`), { code: 'NOT_FOUND' })
    return JSON.stringify(product)
  }
  return { read, changed: async () => {}, stats: () => ({}) }
}

/** What the service answers when a read or a write fails. */
const STATUS = { NOT_FOUND: 404, INVALID_ARGUMENT: 400, DEADLINE_EXCEEDED: 504, OVERLOADED: 503, UNAVAILABLE: 503 }

function createService(products, source) {
  const service = Fastify()
  service.setErrorHandler((error, request, reply) => {
    reply.code(error.statusCode ?? STATUS[error.code] ?? 500).send({ code: error.code, message: error.message })
  })
  const id = { type: 'integer', minimum: 1 }
  const params = { type: 'object', properties: { id }, required: ['id'] }
  const body = { type: 'object', properties: { price: { type: 'integer', minimum: 0 } }, required: ['price'] }

  service.get('/products/:id', { schema: { params } }, async (request, reply) => {
    const product = await source.read(String(request.params.id))
    return reply.type('application/json').send(product)
  })
  service.put('/products/:id/price', { schema: { params, body } }, async (request, reply) => {
    const { id } = request.params
    if (!products.setPrice(id, request.body.price)) return reply.code(404).send({ code: 'NOT_FOUND', message: `no product ${id}` })
    await source.changed(String(id))
    return reply.code(204).send()
  })
  service.get('/stats', async () => ({ queries: products.queries(), cache: source.stats() }))
  return service
}

const text = { type: 'string' }
const { values: flags } = parseArgs({
  options: { db: text, port: text, listen: text, peers: text, 'no-cache': { type: 'boolean' } },
})
const products = openProducts(flags.db)
const source = flags['no-cache'] ? openDirect(products) : await openCache(products, flags)
const service = createService(products, source)

async function stop() {
  await service.close() // answers what is under way
  await source.node?.close() // hands what is hot to the others
  products.close()
  process.disconnect?.()
}
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, stop)

// A parent that starts the processes (load.mjs) learns the addresses here and tells each the whole list.
// Elsewhere --peers does that.
process.on('message', async ({ peers }) => {
  await source.node?.setPeers(peers)
  process.send({ joined: true })
})
const url = await service.listen({ port: Number(flags.port ?? 0), host: '127.0.0.1' })
console.log(`products: ${url}${source.node ? `, in the ring as ${source.node.address}` : ''}`)
process.send?.({ url, address: source.node?.address })
