// The console of a scores node: one command a line on stdin, one JSON reply a line on stdout, in order.
// Nothing here is needed to use kamacache.

import { createInterface } from 'node:readline'

/** Answers commands until the end of the input, or until `quit`, which closes and ends the process. */
export async function serveConsole(opened) {
  const lines = createInterface({ input: process.stdin })
  for await (const line of lines) {
    if (line.trim() === '') continue
    const [, command, rest] = line.match(/^\s*(\S+)\s?(.*)$/)
    if (command === 'quit') return quit(opened)
    reply(await answer(opened, command, rest))
  }
}

async function quit({ close }) {
  await close()
  process.stdout.write('{"ok":true}\n', () => process.exit(0))
}

const reply = (answer) => console.log(JSON.stringify(answer))

async function answer(opened, command, rest) {
  const run = Object.hasOwn(commands, command) ? commands[command] : undefined
  if (run === undefined) {
    const message = `unknown command: ${Object.keys(commands).join(' ')} quit`
    return { ok: false, code: 'INVALID_ARGUMENT', message }
  }
  try {
    return { ok: true, ...(await run(opened, rest)) }
  } catch ({ code, message }) {
    return { ok: false, code, message }
  }
}

const commands = {
  get: async ({ scores }, key) => ({ value: String(await scores.get(key)) }),
  set: async ({ scores }, rest) => {
    const [, key, value] = rest.match(/^(\S*)\s?(.*)$/)
    await scores.set(key, value)
  },
  delete: ({ scores }, key) => scores.delete(key),
  peek: ({ scores }, key) => ({ value: scores.peek(key)?.toString() ?? null }),
  burst: async ({ scores }, rest) => {
    const [count, key] = rest.split(' ')
    const values = await Promise.all(Array.from({ length: Number(count) }, () => scores.get(key)))
    return { n: values.length, values: [...new Set(values.map(String))] }
  },
  owner: ({ node }, key) => ({ owner: node.owner(key) }),
  members: ({ node }) => ({ members: node.members() }),
  peers: ({ node }, list) => node.setPeers(list.split(',')),
  // In the names that the consoles of all languages print.
  stats: ({ scores }) => ({ stats: Object.fromEntries(Object.entries(scores.stats()).map(([name, count]) => [snake(name), count])) }),
}

const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
