// Hits of peek and of get beside the caches that a Node.js program would use instead: 20-byte keys, 128-byte values,
// requests by Zipf's law made before the clock starts.
//
// Each block has a loop of its own, so that the compiler knows its one cache, as in a program that uses one.

import { Node } from 'kamacache'
import Keyv from 'keyv'
import { LRUCache } from 'lru-cache'
import { LRUMap } from 'mnemonist'
import QuickLRU from 'quick-lru'

import { keysOf, row, zipf } from './measure.mjs'

const SIZES = { '1k': 1000, '100k': 100_000 }
const REQUESTS = 50_000
const VALUE_BYTES = 128
/** What is asked of these ratios. */
const PEEK = { bar: { AtMost: 3 } }
const GET = { bar: { AtMost: 1.5 } }

export async function* rows() {
  for (const [name, size] of Object.entries(SIZES)) {
    const keys = keysOf(size)
    const requests = zipf(keys, REQUESTS)
    const node = await Node.start()
    const [group, same] = await Promise.all(['ours', 'same'].map((name) => filledGroup(node, name, keys)))
    const peek = peekBlock(group, requests)
    const [metric, awaited] = [`peek hit, ${name} keys, ns`, `await get hit, ${name} keys, ns`]
    yield row(metric, 'itself (noise floor)', peek, peekBlock(same, requests))
    yield row(metric, 'lru-cache get', peek, lruGetBlock(keys, requests), PEEK)
    yield row(metric, 'quick-lru get', peek, quickBlock(keys, requests))
    yield row(metric, 'mnemonist LRUMap get', peek, mnemonistBlock(keys, requests))
    yield row(awaited, 'lru-cache fetch', getBlock(group, requests), lruFetchBlock(keys, requests), GET)
    yield row(awaited, 'keyv get', getBlock(group, requests), await keyvBlock(keys, requests))
    await node.close()
  }
}

const value = () => Buffer.alloc(VALUE_BYTES, 'v')

async function filledGroup(node, name, keys) {
  const group = node.group(name, { maxBytes: '256MiB' })
  await Promise.all(keys.map((key) => group.set(key, value())))
  if (!keys.every((key) => group.peek(key)?.length === VALUE_BYTES)) throw new Error('some keys are not in memory')
  return group
}

const sinceNs = (begun) => Number(process.hrtime.bigint() - begun) / REQUESTS

/** Every answer is looked at, so that none can be left out. */
function whole(bytes) {
  if (bytes !== REQUESTS * VALUE_BYTES) throw new Error(`got ${bytes} bytes of ${REQUESTS * VALUE_BYTES}`)
}

const peekBlock = (group, requests) => () => {
  const begun = process.hrtime.bigint()
  let bytes = 0
  for (const key of requests) bytes += group.peek(key).length
  whole(bytes)
  return sinceNs(begun)
}

function lruGetBlock(keys, requests) {
  const cache = new LRUCache({ max: keys.length })
  for (const key of keys) cache.set(key, value())
  return () => {
    const begun = process.hrtime.bigint()
    let bytes = 0
    for (const key of requests) bytes += cache.get(key).length
    whole(bytes)
    return sinceNs(begun)
  }
}

function quickBlock(keys, requests) {
  const cache = new QuickLRU({ maxSize: keys.length })
  for (const key of keys) cache.set(key, value())
  return () => {
    const begun = process.hrtime.bigint()
    let bytes = 0
    for (const key of requests) bytes += cache.get(key).length
    whole(bytes)
    return sinceNs(begun)
  }
}

function mnemonistBlock(keys, requests) {
  const cache = new LRUMap(keys.length)
  for (const key of keys) cache.set(key, value())
  return () => {
    const begun = process.hrtime.bigint()
    let bytes = 0
    for (const key of requests) bytes += cache.get(key).length
    whole(bytes)
    return sinceNs(begun)
  }
}

const getBlock = (group, requests) => async () => {
  const begun = process.hrtime.bigint()
  let bytes = 0
  for (const key of requests) bytes += (await group.get(key)).length
  whole(bytes)
  return sinceNs(begun)
}

function lruFetchBlock(keys, requests) {
  const cache = new LRUCache({ max: keys.length, fetchMethod: () => value() })
  for (const key of keys) cache.set(key, value())
  return async () => {
    const begun = process.hrtime.bigint()
    let bytes = 0
    for (const key of requests) bytes += (await cache.fetch(key)).length
    whole(bytes)
    return sinceNs(begun)
  }
}

async function keyvBlock(keys, requests) {
  const cache = new Keyv() // a Map, with Keyv's own serialization
  for (const key of keys) await cache.set(key, value())
  return async () => {
    const begun = process.hrtime.bigint()
    let bytes = 0
    for (const key of requests) bytes += (await cache.get(key)).length
    whole(bytes)
    return sinceNs(begun)
  }
}
