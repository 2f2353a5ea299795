// A node of a cluster that caches the scores of a SQLite table. The whole use of kamacache is in this
// file: a getter, and opening and closing a node and a group. console.mjs reads the commands.
//
//   node scores.mjs --db scores.db --listen 127.0.0.1:8001 --peers 127.0.0.1:8001,127.0.0.1:8002

import { appendFileSync, existsSync } from 'node:fs'
import { parseArgs } from 'node:util'

import { Node } from 'kamacache'
import Database from 'libsql'

import { serveConsole } from './console.mjs'

async function openScores({ listen, peers, admin, db: file, log }) {
  if (!existsSync(file)) throw new Error(`cannot open ${file}: no such file`)
  const db = new Database(file)
  db.pragma('query_only = 1') // a getter only reads
  const query = db.prepare('SELECT CAST(score AS TEXT) AS score FROM scores WHERE name = ?')

  const node = await Node.start({ listen, peers: peers?.split(','), admin })
  const scores = node.group('scores', {
    maxBytes: '64MiB',
    // Called when a key of this node is in no cache. undefined means that there is no such key.
    getter: (name) => {
      logLoad(name)
      return query.get(name)?.score
    },
  })

  // One line for each getter call, in one write, so that the lines of several nodes do not mix.
  function logLoad(key) {
    if (log === undefined) return
    const entry = { node: 'nodejs', address: node.address, key, time_ms: Date.now() }
    appendFileSync(log, `${JSON.stringify(entry)}\n`)
  }

  node.ref() // serve peers even when nothing else keeps this process alive
  const close = async () => {
    await node.close()
    db.close() // no getter runs any more
  }
  return { node, scores, close }
}

const usage = 'usage: node scores.mjs --db FILE [--listen ADDR] [--peers A,B,C] [--admin ADDR] [--log FILE]'

function readFlags() {
  const text = { type: 'string' }
  try {
    const { values } = parseArgs({ options: { listen: text, peers: text, admin: text, db: text, log: text } })
    if (values.db === undefined) throw new Error('--db is missing')
    return values
  } catch (error) {
    console.error(`scores: ${error.message}\n${usage}`)
    process.exit(2)
  }
}

const flags = readFlags()
const opened = await openScores(flags).catch((error) => {
  console.error(`scores: ${error.code ? `${error.code}: ` : ''}${error.message}`)
  process.exit(1)
})

async function quit() {
  await opened.close()
  process.exit(0)
}
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, quit)

console.log(JSON.stringify({ ready: true, address: opened.node.address }))
await serveConsole(opened)
