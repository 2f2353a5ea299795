// A million operations of every kind against a full group. Prints the RSS after each tenth of them, in bytes.
// argv: how many operations.

import { Node } from '../../lib/index.mjs'

const operations = Number(process.argv[2])
const node = await Node.start()
const group = node.group('g', {
  maxBytes: '4MiB',
  getter: async (key) => {
    if (key.endsWith('13')) throw new Error(`no luck with ${key}`)
    return key.endsWith('7') ? null : key.padEnd(200)
  },
})
const double = node.group('functions', { maxBytes: '1MiB' }).wrap(async (x) => 2 * x, { name: 'double' })
group.on('evict', () => {})
const { signal } = new AbortController()

/** One round of ten operations, each promise settled one way or the other. */
function round(index) {
  const key = `k${index % 50_000}`
  return Promise.allSettled([
    group.get(key),
    group.get(key),
    group.get(`k${index % 100}`, { timeout: 1000, signal }),
    group.set(`s${index % 20_000}`, 'v'.repeat(index % 300)),
    group.delete(`s${(index + 7) % 20_000}`),
    group.getMany([key, 'k1', 'k2']),
    double(index % 5000),
    group.get(''),
    Promise.resolve(group.peek('k1')),
    Promise.resolve(group.stats()),
  ])
}

const rounds = operations / 10
for (let index = 1; index <= rounds; index++) {
  await round(index)
  if (index % (rounds / 10) === 0) {
    globalThis.gc()
    console.log(process.memoryUsage.rss())
  }
}
await node.close()
