// Uses every name of the types once. It is only checked by the compiler (see types.test.mjs), as a
// module and as a CommonJS file, and never run.

import { Group, KamaCacheError, Node } from 'kamacache'
import type { EvictReason, Getter, GetterMany, GroupOptions, KamaCacheErrorCode, NodeOptions, Stats } from 'kamacache'

const nodeOptions: NodeOptions = {
  listen: '127.0.0.1:8002',
  peers: ['127.0.0.1:8001', '127.0.0.1:8002'] as const,
  advertise: undefined,
  cluster: 'default',
  ioThreads: 1,
  defaultTimeout: '5s',
  drain: 5000,
}

const load: Getter = async (key, ctx) => {
  ctx.ttl = 30_000
  ctx.ttl = '10m'
  const { deadline, signal } = ctx
  const left: number | undefined = deadline === undefined ? undefined : deadline - Date.now()
  if (signal.aborted || key !== ctx.key || left === 0) return null
  return key === 'text' ? 'text' : Buffer.from(key)
}

const loadMany: GetterMany = async (keys, ctx) => {
  ctx.ttl = 5
  return new Map(keys.map((key) => [key, ctx.signal.aborted ? null : key]))
}

async function main(): Promise<number> {
  await using node: Node = await Node.start(nodeOptions)
  const options: GroupOptions = { maxBytes: '64MiB', ttl: 600_000, getter: load, policy: 'lru', strict: true, getterMany: loadMany, negativeTtl: '1s' }
  const scores: Group = node.group('scores', options)
  node.group('sync', { maxBytes: 65_536, getter: (key) => (key === '' ? undefined : new Uint8Array(1)) })

  const value: Buffer = await scores.get('Tom')
  await scores.get('Tom', { timeout: 500, signal: AbortSignal.timeout(100) })
  const peeked: Buffer | undefined = scores.peek('Tom')
  const nothing: void = await scores.set('Tom', '630', { ttl: Infinity, timeout: '1s' })
  await scores.delete('Tom', { timeout: 1000 })
  const stats: Stats = scores.stats()
  const found: Map<string, Buffer> = await scores.getMany(['Tom', 'Jack'])
  const mixed: Map<string, Buffer | KamaCacheError> = await scores.getMany(found.keys(), { returnErrors: true, timeout: 5 })
  await scores.setMany(new Map([['Tom', '630']]), { ttl: '1m' })
  await scores.setMany(found)
  await scores.clear({ timeout: '1s' })
  scores.once('evict', () => {}).on('evict', (key: string, reason: EvictReason) => reason === 'capacity' && mixed.delete(key))
  const slow: number = scores.latency().load.p99Ns

  interface User { id: number; name: string }
  const users = node.group<User>('users', { maxBytes: '1MiB', codec: 'json', getter: async (key) => ({ id: 1, name: key }) })
  const user: User = await users.get('1')
  await users.set('2', { ...user, id: 2 })
  const texts = node.group('texts', { maxBytes: '1MiB', codec: 'str', getter: (key) => key })
  const length: number = (await texts.get('k')).length + (texts.peek('k')?.length ?? 0)
  const days = node.group('days', { maxBytes: '1MiB', codec: { encode: (day: Date) => day.toISOString(), decode: (bytes) => new Date(bytes.toString()) } })
  await days.set('today', new Date(length))
  // @ts-expect-error a group of text takes no numbers
  await texts.set('k', 1)

  const functions: Group = node.group('functions', { maxBytes: '1MiB' })
  const profile = functions.wrap(async (id: number, lang: string) => ({ id, lang }), { name: 'profile', codec: 'json', ttl: '1m' })
  const { lang }: { id: number; lang: string } = await profile(1, 'en')
  await functions.delete(profile.key(1, lang))
  const square: Promise<number> = functions.wrap((x: number) => x * x, { name: 'square', params: ['x'] })(2)
  const bytes: Promise<Buffer | undefined> = functions.wrap(async (id: number) => (id > 0 ? 'text' : null), { name: 'bytes', codec: 'bytes' })(1)
  const date = functions.wrap(() => new Date(), { name: 'date', codec: { encode: (d) => d.toISOString(), decode: (b) => new Date(b.toString()) } })
  functions.wrap((id: number, on: boolean) => on, { key: 'f:{id}:{on}', params: { id: Number, on: Boolean } })
  if ((await square) === 4 && (await date()).getTime() > 0 && (await bytes)?.length) mixed.clear()
  node.on('members', (members: string[]) => members.length)

  const addresses: string[] = [node.address, ...node.members(), node.owner('Tom'), scores.name]
  await node.setPeers(addresses)
  const ended: boolean = await node.ref().unref().close({ drain: '5s' })
  return value.length + (peeked?.length ?? 0) + stats.hits + Number(ended) + Number(nothing) + slow
}

main().catch((error: unknown) => {
  if (!(error instanceof KamaCacheError)) throw error
  const code: KamaCacheErrorCode = error.code
  const { status, appCode, peer, cause }: { status: number; appCode?: number; peer?: string; cause?: unknown } = error
  if (code === 'NOT_FOUND' || status === 2) console.error(appCode, peer, cause)
  return new KamaCacheError('INTERNAL', 'text', { appCode: 1, peer: 'host:1', cause: error }).status
})

// @ts-expect-error a node is started, not made
new Node()
// @ts-expect-error a group comes from a node
new Group()
// @ts-expect-error an unknown option
Node.start({ lisen: 'x' })
// @ts-expect-error maxBytes is required
const incomplete: GroupOptions = { ttl: 1 }
// @ts-expect-error a getter answers with bytes or text
const wrong: Getter = () => 42
declare const group: Group
// @ts-expect-error the arguments are those of the function
group.wrap((id: number) => id, { name: 'f' })('1')
// @ts-expect-error no such code
const code: KamaCacheErrorCode = 'NOPE'
