// Plays users of the service: the same requests without and with kamacache, on three processes over one database.
// Prints how many queries the database was asked, and fails when there were more than 1.05 for each product asked for.
//
//   node load.mjs [--requests 20000] [--products 2000] [--users 64]

import { mkdtempSync, rmSync } from 'node:fs'
import { Agent, get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { startFleet } from './fleet.mjs'
import { createProducts } from './products.mjs'

/** Queries per product asked for: above 1 only for what was asked for while the ring came together. */
const MOST = 1.05

const text = { type: 'string' }
const { values: flags } = parseArgs({ options: { requests: text, products: text, users: text } })
const { requests, products, users } = Object.fromEntries(
  Object.entries({ requests: 20_000, products: 2000, users: 64, ...flags }).map(([name, value]) => [name, Number(value)]),
)

/** What each request asks for: some products far more often than others. The same in both runs. */
const wanted = Array.from({ length: requests }, (_, index) => 1 + Math.floor(products * noise(index) ** 3))
const distinct = new Set(wanted).size

/** Evenly between 0 and 1, the same for the same number. */
function noise(number) {
  const mixed = Math.imul(number ^ (number >>> 15) ^ 0x9e3779b9, 0x2c1b3c6d)
  const again = Math.imul(mixed ^ (mixed >>> 12), 0x297a2d39)
  return ((again ^ (again >>> 15)) >>> 0) / 2 ** 32
}

/** So many users at once, each with one request after the other, on the processes in turn. */
async function play(urls) {
  const agent = new Agent({ keepAlive: true, maxSockets: users })
  let next = 0
  const user = async () => {
    while (next < requests) {
      const index = next++
      const id = wanted[index]
      const product = await getJson(agent, `${urls[index % urls.length]}/products/${id}`)
      if (product.id !== id) throw new Error(`asked for product ${id}, got ${JSON.stringify(product)}`)
    }
  }
  const begun = performance.now()
  await Promise.all(Array.from({ length: users }, user))
  const seconds = (performance.now() - begun) / 1000
  const stats = await Promise.all(urls.map((url) => getJson(agent, `${url}/stats`)))
  agent.destroy()
  return { queries: stats.reduce((sum, { queries }) => sum + queries, 0), perSecond: Math.round(requests / seconds) }
}

function getJson(agent, url) {
  return new Promise((resolve, reject) => {
    const request = get(url, { agent }, async (response) => {
      let body = ''
      response.setEncoding('utf8')
      for await (const chunk of response) body += chunk
      if (response.statusCode === 200) resolve(JSON.parse(body))
      else reject(new Error(`${url}: ${response.statusCode} ${body}`))
    })
    request.on('error', reject)
  })
}

async function run(folder, cache) {
  const fleet = await startFleet(join(folder, 'products.db'), { cache })
  try {
    return await play(fleet.urls)
  } finally {
    await fleet.stop()
  }
}

const folder = mkdtempSync(join(tmpdir(), 'products-'))
try {
  createProducts(join(folder, 'products.db'), products)
  console.log(`${requests} requests for ${distinct} products, ${users} users, 3 processes`)
  for (const cache of [false, true]) {
    const { queries, perSecond } = await run(folder, cache)
    const label = cache ? 'with kamacache:   ' : 'without kamacache:'
    console.log(`${label} ${queries} queries, ${(queries / distinct).toFixed(2)} for each product; ${perSecond} requests/s`)
    if (!cache || queries <= MOST * distinct) continue
    console.error(`too many: ${queries} queries for ${distinct} products is more than ${MOST} each`)
    process.exitCode = 1
  }
} finally {
  rmSync(folder, { recursive: true })
}
