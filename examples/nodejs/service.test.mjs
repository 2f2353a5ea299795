// The service of three processes: one query for each product, prices that all processes see, and its errors.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { startFleet } from './service/fleet.mjs'
import { createProducts } from './service/products.mjs'

const load = fileURLToPath(new URL('service/load.mjs', import.meta.url))

async function start(t, options) {
  const folder = mkdtempSync(join(tmpdir(), 'products-'))
  t.after(() => rmSync(folder, { recursive: true }))
  createProducts(join(folder, 'products.db'), 100)
  const fleet = await startFleet(join(folder, 'products.db'), options)
  t.after(fleet.stop)
  return fleet.urls
}

const ask = async (url, options) => {
  const response = await fetch(url, options)
  return { status: response.status, body: response.status === 204 ? undefined : await response.json() }
}

const setPrice = (url, price) =>
  ask(`${url}/price`, { method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ price }) })

const queries = async (urls) => (await Promise.all(urls.map((url) => ask(`${url}/stats`)))).reduce((sum, { body }) => sum + body.queries, 0)

test('under load: a query for each request without kamacache, at most 1.05 for each product with it', (t) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [load, '--requests', '1500', '--products', '150', '--users', '32'], { encoding: 'utf8' })
  t.diagnostic(stdout.trim().replaceAll('\n', '; '))
  assert.equal(status, 0, stderr)
  const distinct = Number(stdout.match(/for (\d+) products/)[1])
  const [without, with_] = [...stdout.matchAll(/(\d+) queries/g)].map(([, count]) => Number(count))
  assert.equal(without, 1500)
  assert.ok(distinct > 100 && with_ >= distinct && with_ <= 1.05 * distinct, stdout)
})

test('a cold product that many ask for at once, on all processes, is one query', async (t) => {
  const urls = await start(t, { cache: true })
  const answers = await Promise.all(Array.from({ length: 90 }, (_, index) => ask(`${urls[index % 3]}/products/7`)))
  for (const { status, body } of answers) assert.deepEqual({ status, body }, { status: 200, body: { id: 7, name: 'Product 7', price: 107 } })
  assert.equal(await queries(urls), 1)
})

// The price that a process says, once it is this one; a copy of it may be older for two round trips, and no longer (S21).
async function soon(url, price) {
  const until = performance.now() + 5000
  for (;;) {
    const said = (await ask(url)).body.price
    if (said === price || performance.now() > until) return said
  }
}

test('a new price is what every process says, the one that was told of it at once', async (t) => {
  const urls = (await start(t, { cache: true })).map((url) => `${url}/products/9`)
  for (const [index, price] of [1, 2, 3, 4, 5, 6].entries()) {
    for (const url of urls) await ask(url)
    assert.equal((await setPrice(urls[index % 3], price)).status, 204)
    assert.equal((await ask(urls[index % 3])).body.price, price)
    for (const url of urls) assert.equal(await soon(url, price), price)
    for (const url of urls) assert.equal((await ask(url)).body.price, price, 'never the old one again')
  }
})

test('the same errors with and without the cache', async (t) => {
  for (const cache of [true, false]) {
    const [url] = await start(t, { cache })
    const missing = await ask(`${url}/products/999`)
    assert.equal(missing.status, 404)
    assert.equal(missing.body.code, 'NOT_FOUND')
    assert.equal((await ask(`${url}/products/none`)).status, 400)
    assert.equal((await setPrice(`${url}/products/999`, 5)).status, 404)
    assert.equal((await setPrice(`${url}/products/9`, 'much')).status, 400)
  }
})
