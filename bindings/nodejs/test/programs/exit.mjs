// Gets a node into the state that argv names and then lets the process end in the way that argv names.
// An idle node must let it end by itself; whatever is pending must not crash or hang it.

import { Node } from '../../lib/index.mjs'

const [state, ending] = process.argv.slice(2)
const never = () => new Promise(() => {})
const group = (node, getter) => node.group('g', { maxBytes: '1MiB', getter })

const states = {
  async loaded() {},
  async starting() {
    Node.start({ listen: '127.0.0.1:0' })
  },
  async idle() {
    await Node.start({ listen: '127.0.0.1:0' })
  },
  async used() {
    const g = group(await Node.start(), (key) => key)
    await g.get('k')
    await g.set('a', 'b')
  },
  async unreferenced() {
    ;(await Node.start({ listen: '127.0.0.1:0' })).ref().unref()
  },
  async referenced() {
    ;(await Node.start({ listen: '127.0.0.1:0' })).ref()
  },
  async listening() {
    const node = await Node.start({ listen: '127.0.0.1:0' })
    node.on('members', () => {})
    group(node).on('evict', () => {})
  },
  async pending() {
    const g = group(await Node.start(), never)
    for (let index = 0; index < 100; index++) g.get(`k${index}`, { timeout: 300 }).catch(() => {})
  },
  async forever() {
    const g = group(await Node.start(), never)
    g.get('k', { timeout: Infinity }).catch(() => {})
  },
  async busy() {
    const g = group(await Node.start({ listen: '127.0.0.1:0' }), async (key) => key)
    for (let index = 0; index < 500; index++) g.get(`k${index}`)
    for (let index = 0; index < 500; index++) g.set(`s${index}`, 'v')
  },
  async peers() {
    const nodes = [await Node.start({ listen: '127.0.0.1:0' }), await Node.start({ listen: '127.0.0.1:0' })]
    const addresses = nodes.map((node) => node.address)
    await Promise.all(nodes.map((node) => node.setPeers(addresses)))
    const groups = nodes.map((node) => group(node, never))
    for (let index = 0; index < 100; index++) groups[index % 2].get(`k${index}`, { timeout: 300 }).catch(() => {})
  },
  async closing() {
    const node = await Node.start({ listen: '127.0.0.1:0' })
    group(node, never).get('k').catch(() => {})
    node.close({ drain: 300 })
  },
  async closed() {
    const node = await Node.start({ listen: '127.0.0.1:0' })
    await node.close()
  },
}

await states[state]()
console.log('ready')
if (ending === 'exit') process.exit(7)
if (ending === 'throw') setImmediate(() => { throw new Error('on purpose') })
if (ending === 'kill') process.kill(process.pid, 'SIGTERM')
