// Certificates, the token, and discovery by URL, as a program sets them.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { Node } from '../lib/index.mjs'
import { keyOwnedBy, rejects, startNode } from './helpers.mjs'

const SECRET = 'the-secret-of-this-very-cluster'
const listen = '127.0.0.1:0'

const folder = mkdtempSync(join(tmpdir(), 'kamacache-'))
after(() => rmSync(folder, { recursive: true }))
execFileSync('sh', [fileURLToPath(new URL('../../../tests/certificates.sh', import.meta.url)), folder])
const tls = { ca: join(folder, 'ca.pem'), cert: join(folder, 'node.pem'), key: join(folder, 'node.key') }

const define = (node) => node.group('g', { maxBytes: '1MiB', getter: (key) => `${key} from ${node.address}` })

test('s40: members with certificates and token serve each other', async (t) => {
  const options = { listen, tls, clusterToken: SECRET }
  const nodes = [await startNode(t, options), await startNode(t, options)]
  const [here, there] = nodes.map(define)
  const addresses = nodes.map((node) => node.address)
  for (const node of nodes) await node.setPeers(addresses)
  const key = keyOwnedBy(nodes[1])
  assert.equal(String(await here.get(key)), `${key} from ${nodes[1].address}`)
  const large = Buffer.alloc(100_000, 'x')
  await here.set(key, large)
  assert.deepEqual(there.peek(key), large)
  assert.deepEqual(await here.get(key), large)
})

test('s40: without the token there is no data', async (t) => {
  const member = await startNode(t, { listen, clusterToken: SECRET })
  const theirs = define(member)
  for (const options of [{}, { clusterToken: 'another-secret-altogether' }]) {
    const stranger = await startNode(t, { listen, ...options })
    const group = define(stranger)
    await stranger.setPeers([member.address, stranger.address])
    // In the stranger's view: the member lists nobody but itself.
    let key = 'key0'
    for (let index = 1; stranger.owner(key) !== member.address; index++) key = `key${index}`
    assert.equal(String(await group.get(key)), `${key} from ${stranger.address}`, 'loaded by itself')
    const refused = await rejects(group.set(key, 'mine'), 'UNAVAILABLE', 'same clusterToken')
    assert.ok(!refused.message.includes(SECRET))
    assert.equal(theirs.peek(key), undefined)
  }
})

test('s40: a file of tokens is read again', async (t) => {
  const [file, renewed] = ['tokens', 'tokens.new'].map((name) => join(folder, name))
  const following = 'the-token-that-comes-after-it'
  writeFileSync(file, SECRET)
  const member = await startNode(t, { listen, clusterTokenFile: file })
  const other = await startNode(t, { listen, clusterToken: `${following} ${SECRET}` })
  define(member)
  const group = define(other)
  for (const node of [member, other]) await node.setPeers([member.address, other.address])
  const key = keyOwnedBy(member)
  // The first token is sent, and the member knows the second only.
  assert.equal(String(await group.get(key)), `${key} from ${other.address}`, 'loaded by itself')
  writeFileSync(renewed, `${SECRET}\n${following}\n`)
  renameSync(renewed, file)
  const deadline = Date.now() + 30_000
  for (;;) {
    try {
      await group.set(key, 'let in')
      break
    } catch (error) {
      assert.ok(error.code === 'UNAVAILABLE' && Date.now() < deadline, error)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
  assert.equal(String(await group.get(key)), 'let in')
})

test('s40: wrong files are named at the start', async () => {
  await rejects(Node.start({ listen, tls: { ...tls, key: tls.cert } }), 'INVALID_ARGUMENT', 'tls key')
})

test('s40: tls with missing, unknown or wrong parts is refused', async () => {
  const rows = [
    [{}, 'tls ca'],
    [{ ca: tls.ca }, 'tls cert'],
    [{ ca: tls.ca, cert: tls.cert }, 'tls key'],
    [{ ...tls, keys: 'node.key' }, 'unknown option "keys" in tls'],
    [{ ...tls, ca: '' }, 'tls ca'],
    [{ ...tls, ca: 'no/such/file.pem' }, 'tls ca'],
    [{ ...tls, ca: 5 }, 'tls.ca'],
    [{ ...tls, name: null }, 'tls.name'],
    [5, 'tls must be an object'],
    [null, 'tls must be an object'],
    [['ca'], 'tls must be an object'],
    ['ca.pem', 'tls must be an object'],
  ]
  for (const [given, named] of rows) await rejects(Node.start({ listen, tls: given }), 'INVALID_ARGUMENT', named)
})

test('a discovery URL chooses the kind; one of no kind lists those there are', async (t) => {
  await rejects(Node.start({ listen, discovery: 'gopher://x' }), 'INVALID_ARGUMENT', 'dns://NAME:PORT', 'etcd://')
  // Nobody answers there: the node is alone, and at work.
  const node = await startNode(t, { listen, discovery: 'etcd://127.0.0.1:1/scores' })
  assert.deepEqual(node.members(), [node.address])
  assert.equal(String(await define(node).get('k')), `k from ${node.address}`)
})
