// The JavaScript driver of tests/conformance/*.json: the behaviour rows that every language runs.
// It fails on a field or an operation that it does not know.

import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { test } from 'node:test'

import { KamaCacheError } from '../lib/index.mjs'
import { startNode } from './helpers.mjs'

const FOLDER = new URL('../../../tests/conformance/', import.meta.url)
const ROW = ['name', 'says', 'node', 'start_error', 'group', 'group_error', 'getter', 'data', 'failing', 'steps']
const STEP = ['op', 'key', 'key_repeat', 'put', 'put_repeat', 'ttl_ms', 'value', 'absent', 'code', 'contains', 'count', 'field']

const files = readdirSync(FOLDER).filter((name) => name.endsWith('.json'))
const rows = files.flatMap((name) => JSON.parse(readFileSync(new URL(name, FOLDER), 'utf8')))
test('there are rows', () => assert.ok(rows.length >= 27, `only ${rows.length} rows were found`))
for (const row of rows) test(`${row.says}: ${row.name}`, (t) => runRow(t, row))

async function runRow(t, row) {
  known(row, ROW)
  const started = await attempt(() => startNode(t, optionsOf(row.node)))
  if (row.start_error) return checkError(started, row.start_error)
  const node = valueOf(started)
  const { name = 'g', ...options } = { max_bytes: 1 << 20, ...row.group }
  const here = { node, name, options: optionsOf(options), loads: 0 }
  if (row.getter !== false) here.options.getter = getterOf(row, here)
  const opened = await attempt(() => node.group(name, here.options))
  if (row.group_error) return checkError(opened, row.group_error)
  here.group = valueOf(opened)
  for (const step of row.steps) {
    known(step, STEP)
    t.diagnostic(JSON.stringify(step).slice(0, 200))
    await perform(here, step)
  }
}

async function perform(here, step) {
  const { node, group } = here
  const key = text(step, 'key')
  switch (step.op) {
    case 'get':
      return checkValue(await attempt(async () => String(await group.get(key))), step)
    case 'peek':
      assert.ok('value' in step || step.absent === true)
      return assert.equal(group.peek(key)?.toString(), step.value)
    case 'set':
      return checkDone(await attempt(() => group.set(key, text(step, 'put'), { ttl: step.ttl_ms })), step)
    case 'delete':
      return checkDone(await attempt(() => group.delete(key)), step)
    case 'loads':
      return assert.equal(here.loads, step.count)
    case 'stats': {
      const field = camel(step.field)
      const stats = group.stats()
      assert.ok(field in stats, `unknown stat ${step.field}`)
      return assert.equal(stats[field], step.count, step.field)
    }
    case 'owner':
      return checkValue(await attempt(() => node.owner(key)), step)
    case 'open_again':
      return checkDone(await attempt(() => node.group(here.name, here.options)), step)
    case 'close':
      return assert.equal(await node.close(), true)
    default:
      assert.fail(`unknown op ${step.op}`)
  }
}

function getterOf({ data = {}, failing = {} }, here) {
  return async (key) => {
    here.loads += 1
    if (Object.hasOwn(failing, key)) throw new Error(failing[key])
    return Object.hasOwn(data, key) ? data[key] : null
  }
}

/** snake_case options, durations in `_ms`, under their names here. */
const optionsOf = (fields = {}) => Object.fromEntries(Object.entries(fields).map(([name, value]) => [camel(name.replace(/_ms$/, '')), value]))
const camel = (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase())

const text = (step, field) => {
  const repeat = step[`${field}_repeat`]
  return repeat ? repeat[0].repeat(repeat[1]) : step[field]
}

async function attempt(action) {
  try {
    return { value: await action() }
  } catch (error) {
    assert.ok(error instanceof KamaCacheError, error)
    assert.ok(!error.message.startsWith('unknown option'), error.message)
    return { error }
  }
}

function valueOf({ value, error }) {
  assert.equal(error, undefined)
  return value
}

function checkValue(result, step) {
  if (step.code) checkError(result, step)
  else assert.equal(valueOf(result), step.value)
}

function checkDone(result, step) {
  if (step.code) checkError(result, step)
  else valueOf(result)
}

/** A row names options as Rust, C and Python do. */
const said = (part) => (/^[a-z]+(_[a-z]+)+$/.test(part) ? camel(part) : part)

function checkError({ error }, { code, contains = [] }) {
  assert.ok(error, `expected ${code}, but it succeeded`)
  assert.equal(error.code, code, error.message)
  for (const part of contains.map(said)) assert.ok(error.message.includes(part), `"${error.message}" lacks "${part}"`)
}

function known(fields, names) {
  for (const name of Object.keys(fields)) assert.ok(names.includes(name), `unknown field ${name}`)
}
