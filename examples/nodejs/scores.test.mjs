// Plays with a scores node and checks its replies.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import Database from 'libsql'

const program = fileURLToPath(new URL('scores.mjs', import.meta.url))

function workFolder(t) {
  const folder = mkdtempSync(join(tmpdir(), 'scores-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const db = new Database(join(folder, 'scores.db'))
  db.exec("CREATE TABLE scores (name TEXT PRIMARY KEY, score INTEGER); INSERT INTO scores VALUES ('Tom', 630), ('Jack', 589)")
  db.close()
  return { db: join(folder, 'scores.db'), log: join(folder, 'log') }
}

function start(...flags) {
  const child = spawn(process.execPath, [program, ...flags])
  const output = { err: '' }
  child.stderr.on('data', (chunk) => (output.err += chunk))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const ended = new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal, ...output })))
  const next = async () => JSON.parse((await lines.next()).value)
  const ask = (command) => {
    child.stdin.write(`${command}\n`)
    return next()
  }
  return { child, ended, next, ask }
}

test('the console', async (t) => {
  const { db, log } = workFolder(t)
  const { ask, ended, next } = start('--listen', '127.0.0.1:0', '--db', db, '--log', log)
  const { ready, address } = await next()
  assert.equal(ready, true)
  const unknown = 'unknown command: get set delete peek burst owner members peers stats quit'
  const expected = [
    ['get Tom', { ok: true, value: '630' }],
    ['get Tom', { ok: true, value: '630' }],
    ['get nobody', { ok: false, code: 'NOT_FOUND', message: 'key "nobody" not found' }],
    ['set Sam 5 6 7', { ok: true }],
    ['get Sam', { ok: true, value: '5 6 7' }],
    ['delete Sam', { ok: true }],
    ['peek Sam', { ok: true, value: null }],
    ['peek Tom', { ok: true, value: '630' }],
    ['burst 50 Jack', { ok: true, n: 50, values: ['589'] }],
    ['owner Tom', { ok: true, owner: address }],
    ['members', { ok: true, members: [address] }],
    [`peers ${address}`, { ok: true }],
    ['dance', { ok: false, code: 'INVALID_ARGUMENT', message: unknown }],
  ]
  for (const [command, reply] of expected) assert.deepEqual(await ask(command), reply, command)
  const { stats } = await ask('stats')
  assert.deepEqual([stats.loads, stats.max_bytes], [3, 64 << 20])
  assert.deepEqual(await ask('quit'), { ok: true })
  assert.equal((await ended).code, 0)
  const entries = readFileSync(log, 'utf8').trim().split('\n').map((line) => JSON.parse(line))
  assert.deepEqual(entries.map(({ key }) => key), ['Tom', 'nobody', 'Jack'])
  for (const { node, address: where, time_ms } of entries) assert.ok(node === 'nodejs' && where === address && time_ms > 0)
})

test('it serves on after the end of its input, and a signal closes it', async (t) => {
  const { db } = workFolder(t)
  for (const signal of ['SIGTERM', 'SIGINT']) {
    const { child, ended, next } = start('--listen', '127.0.0.1:0', '--db', db)
    await next()
    child.stdin.end()
    const other = start('--db', db)
    await other.next()
    await other.ask('get Tom')
    assert.equal(child.exitCode, null)
    child.kill(signal)
    const { code, err } = await ended
    assert.equal(code, 0, err)
    other.child.stdin.write('quit\n')
    await other.ended
  }
})

test('start failures exit with 1, usage errors with 2', async (t) => {
  const { db } = workFolder(t)
  const cases = [
    [1, 'none.db', '--db', `${db}/none.db`],
    [1, 'nonsense', '--db', db, '--listen', 'nonsense'],
    [2, 'usage', '--db', db, '--frobnicate'],
    [2, 'usage', '--listen', '127.0.0.1:0'],
  ]
  for (const [expected, text, ...flags] of cases) {
    const { code, err } = await start(...flags).ended
    assert.equal(code, expected, err)
    assert.ok(err.includes(text), err)
  }
})
