// Gets a node into a state that must keep the process alive, and then shows that nothing else does:
// the only other handle is an unreferenced timer, so it fires only if the process is still there.

import { Node } from '../../lib/index.mjs'

const node = await Node.start()
if (process.argv[2] === 'referenced') node.ref()
else node.group('g', { maxBytes: '1MiB', getter: () => new Promise(() => {}) }).get('k', { timeout: Infinity }).catch(() => {})

setTimeout(() => {
  console.log('still here')
  process.kill(process.pid, 'SIGTERM')
}, 500).unref()
