// A node whose group keeps the results of one function, `profile`. Prints its address; then each line of its input is a
// JSON command, answered by a line: {"peers": [...]}, {"key": [arguments]} or {"call": [arguments]}.

import { createInterface } from 'node:readline'

import { Node } from '../../bindings/nodejs/lib/index.mjs'

const node = await Node.start({ listen: '127.0.0.1:0' })
node.ref()
const profile = node
  .group('functions', { maxBytes: '1MiB' })
  .wrap(async (user_id, lang) => ({ by: 'nodejs', user_id, lang }), { name: 'profile', params: ['user_id', 'lang'] })

const commands = {
  peers: (peers) => node.setPeers(peers),
  key: (args) => profile.key(...args),
  call: (args) => profile(...args),
}
const reply = (answer) => console.log(JSON.stringify(answer ?? null))

reply(node.address)
for await (const line of createInterface({ input: process.stdin })) {
  const [[command, argument]] = Object.entries(JSON.parse(line))
  reply(await commands[command](argument))
}
await node.close()
