// Three processes of the service over one database: started, joined to one ring, stopped.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const PROCESSES = 3
const server = fileURLToPath(new URL('server.mjs', import.meta.url))

/** Starts the fleet on free ports, with or without the cache. */
export async function startFleet(db, { cache }) {
  const flags = cache ? ['--listen', '127.0.0.1:0'] : ['--no-cache']
  const children = Array.from({ length: PROCESSES }, () => fork(server, ['--db', db, ...flags], { silent: true }))
  const stop = () => Promise.all(children.map(stopOne))
  try {
    const ready = await Promise.all(children.map(message))
    if (cache) await join(children, ready.map(({ address }) => address))
    return { urls: ready.map(({ url }) => url), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function join(children, peers) {
  const joined = children.map(message)
  for (const child of children) child.send({ peers })
  await Promise.all(joined)
}

/** The next message of a child; rejects with what it printed when it ends instead. */
function message(child) {
  return new Promise((resolve, reject) => {
    let output = ''
    child.stderr.on('data', (chunk) => (output += chunk))
    child.once('message', resolve)
    child.once('close', (code) => reject(new Error(`a server ended with ${code}: ${output}`)))
  })
}

async function stopOne(child) {
  if (child.exitCode !== null || child.signalCode !== null) return
  const closed = once(child, 'close')
  child.kill('SIGTERM')
  const late = setTimeout(() => child.kill('SIGKILL'), 10_000)
  await closed
  clearTimeout(late)
}
