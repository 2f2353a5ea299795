// A worker with a node of its own. argv: 'load' = keep getters and sets busy until terminated;
// 'idle' = leave the node and end; nothing = serve, and take { peers } messages.

import { parentPort } from 'node:worker_threads'

import { Node } from '../../lib/index.mjs'

const [mode] = process.argv.slice(2)
const node = await Node.start({ listen: '127.0.0.1:0' })
const group = node.group('g', {
  maxBytes: '1MiB',
  getter: async (key) => (mode === 'load' && key.endsWith('7') ? new Promise(() => {}) : `${key} from ${node.address}`),
})

if (mode === 'load') {
  let index = 0
  const churn = () => {
    for (let round = 0; round < 100; round++, index++) {
      group.get(`k${index}`).catch(() => {})
      group.set(`s${index}`, 'v').catch(() => {})
    }
    setImmediate(churn)
  }
  churn()
}
if (mode !== 'idle') {
  parentPort.postMessage(node.address)
  parentPort.on('message', async ({ peers }) => {
    await node.setPeers(peers)
    parentPort.postMessage('done')
  })
}
