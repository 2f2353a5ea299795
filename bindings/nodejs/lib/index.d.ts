/// <reference types="node" />

/** A number of milliseconds, or a string such as `'250ms'`, `'1.5s'`, `'10m'`. `Infinity` means no limit. */
export type Duration = number | string
/** A number of bytes, or a string such as `'64MiB'`. */
export type Bytes = number | string
/** What a group stores. Copied on the way in and on the way out. */
export type Value = Uint8Array | string

/** Options of {@link Node.start}. `{}` is a single instance without network. */
export interface NodeOptions {
  /** Where peers reach this node: `'127.0.0.1:8001'`; port 0 or a range `'127.0.0.1:8001-8003'` take a free one. Default: no network. */
  listen?: string | undefined
  /** All members, this node among them. Default: a ring of one. */
  peers?: readonly string[] | undefined
  /** What peers dial. Default: the bound address. */
  advertise?: string | undefined
  /** Where the members are found, in place of `peers`: `'file:///PATH'`, `'dns://NAME:PORT'`, `'etcd://HOST:2379/SERVICE'`. */
  discovery?: string | undefined
  /** Where the admin HTTP listens, as `'127.0.0.1:9001'`: metrics, health, what the node knows. Default: nowhere. */
  admin?: string | undefined
  /** Names by which the admin HTTP may be asked, beside `localhost`, the name that the node advertises and IP addresses. */
  adminHosts?: readonly string[] | undefined
  /** Certificates for the connections between peers, as PEM files, read again when they change. Default: plaintext. */
  tls?: TlsOptions | undefined
  /**
   * A secret that all members share, at least 16 characters: requests without it are refused. Or several, separated by
   * blanks: all are admitted, the first is sent. Default: none.
   */
  clusterToken?: string | undefined
  /** A file of such secrets, one a line, in place of `clusterToken`; read again when it changes. */
  clusterTokenFile?: string | undefined
  /** Nodes of another cluster name are refused. Default: `'default'`. */
  cluster?: string | undefined
  /** Worker threads of the native runtime. Default: 1. */
  ioThreads?: number | undefined
  /** The timeout of an operation that names none. Default: 5 s. */
  defaultTimeout?: Duration | undefined
  /** How long `close` waits for running getters. Default: 5 s. */
  drain?: Duration | undefined
}

/** Both sides of each connection show a certificate of this authority. */
export interface TlsOptions {
  /** The authority that signs the certificates of all members. */
  ca: string
  /** This node's certificate, for the host that it advertises. */
  cert: string
  /** Its key. */
  key: string
  /** The name that all certificates carry, in place of their hosts. */
  name?: string | undefined
}

/** What a getter is told about its load. */
export interface LoadContext {
  readonly key: string
  /** Set it to keep this value for another time than the group's `ttl`; 0 keeps nothing, `Infinity` never expires. */
  ttl: Duration | undefined
  /** When nobody waits any more, in milliseconds since the epoch; undefined: never. */
  readonly deadline: number | undefined
  /**
   * Aborts at the deadline, when the node closes, and, for a single key, when a set, delete or clear has made this
   * load's value one that is not kept: a getter that rejects then is run again for those who still wait.
   */
  readonly signal: AbortSignal
}

/**
 * Loads a missing key from the real data source. `null` or `undefined` means that the key does not exist. What it
 * throws or rejects with reaches the callers of `get` as GETTER_FAILED with that as `cause`; an integer `appCode` on it
 * travels along, also from another node.
 */
export type Getter<V = Value> = (key: string, ctx: LoadContext) => V | null | undefined | PromiseLike<V | null | undefined>

/** What a batch getter is told; `ttl` goes for every value of the batch. */
export type LoadManyContext = Omit<LoadContext, 'key'>

/** Loads several keys with one query. A key that is not in the Map, or is null there, does not exist. */
export type GetterMany<V = Value> = (keys: string[], ctx: LoadManyContext) => Found<V> | PromiseLike<Found<V>>
type Found<V> = ReadonlyMap<string, V | null | undefined>

/** Options of {@link Node.group}, for a group of bytes: values go in as bytes or text and come out as Buffers. */
export interface GroupOptions extends GroupOptionsOf<Value> {
  codec?: 'bytes' | undefined
}

/** Options of a group whose values go through a codec: all that takes or gives a value takes or gives a `V`. */
export interface CodedGroupOptions<V, C> extends GroupOptionsOf<V> {
  /** The same on all nodes of the ring. What it throws comes to the caller as it is. */
  codec: C
}

interface GroupOptionsOf<V> {
  /** Loads what is missing. Without one, a key that was not set is NOT_FOUND. */
  getter?: Getter<V> | undefined
  /** Loads what `getMany` misses in one call. Alone, it loads single keys too. */
  getterMany?: GetterMany<V> | undefined
  /**
   * The memory budget on this node, 64 KiB or more. Of it, up to an eighth and at most 1 MiB is spent once more in
   * JavaScript's memory, on copies of what is hit most; none with `strict`.
   */
  maxBytes: Bytes
  /** How long values are kept. Default: no limit. */
  ttl?: Duration | undefined
  /** How long "not found" is remembered. Default: not at all. */
  negativeTtl?: Duration | undefined
  /** How long a copy of another member's value is kept, at most. Default: 10 s. */
  hotTtl?: Duration | undefined
  /** How long an expired value is served while one load refreshes it. Default: not at all. */
  staleWhileRevalidate?: Duration | undefined
  /** How long an expired value is served when its refresh fails. Default: not at all. */
  staleIfError?: Duration | undefined
  /** Getters that run at the same time on this node; more wait. Default: no limit. */
  maxConcurrentLoads?: number | undefined
  /** How long a value that was loaded in place of an unreachable owner is kept. Default: 2 s. */
  fallbackTtl?: Duration | undefined
  /** When another load of the same key may start although one hangs. Default: 30 s. */
  loadTimeout?: Duration | undefined
  /** The largest value. Default: 16 MiB. */
  maxValueBytes?: Bytes | undefined
  /** Which entries go first. Default: `'default'`. */
  policy?: 'default' | 'lru' | 's3fifo' | undefined
  /** Exact LRU order over the whole group, at the price of speed. Default: false. */
  strict?: boolean | undefined
}

export interface GetOptions {
  /** How long to wait. Default: the node's `defaultTimeout`. */
  timeout?: Duration | undefined
  /** Leaves the wait, not the load: rejects with CANCELLED and the signal's reason as `cause`. */
  signal?: AbortSignal | undefined
}

export interface SetOptions {
  /** Default: the group's. `Infinity` never expires. */
  ttl?: Duration | undefined
  timeout?: Duration | undefined
}

export interface DeleteOptions {
  timeout?: Duration | undefined
}

export interface GetManyOptions {
  timeout?: Duration | undefined
}

export interface ClearOptions {
  timeout?: Duration | undefined
}

/** Why an entry left: no room, its time was over, a newer value, a delete, a clear, or a new owner. */
export type EvictReason = 'capacity' | 'expired' | 'replaced' | 'deleted' | 'cleared' | 'moved'

/** How long one kind of operation took since the group was opened, in nanoseconds. */
export interface Latency {
  count: number
  sumNs: number
  p50Ns: number
  p90Ns: number
  p99Ns: number
  p999Ns: number
  maxNs: number
}

export interface CloseOptions {
  /** How long to wait for running getters. Default: the node's `drain`. */
  drain?: Duration | undefined
}

/** Counters of one group on one node. `gets` is the sum of `hits` to `failed` and of `inProgress`. */
export interface Stats {
  gets: number
  hits: number
  hotHits: number
  staleHits: number
  negativeHits: number
  loaded: number
  loadJoined: number
  fetched: number
  fetchJoined: number
  fallbacks: number
  notFound: number
  failed: number
  inProgress: number
  peerGets: number
  peerHits: number
  peerStaleHits: number
  peerNegativeHits: number
  peerLoaded: number
  peerLoadJoined: number
  peerNotFound: number
  peerFailed: number
  loads: number
  loadErrors: number
  stuckLoads: number
  fetches: number
  fetchErrors: number
  refreshes: number
  sets: number
  deletes: number
  clears: number
  invalidations: number
  evictions: number
  expirations: number
  entries: number
  hotEntries: number
  bytes: number
  hotBytes: number
  maxBytes: number
}

/** How the values of a group, or the results of a wrapped function, become bytes and come back. */
export interface Codec<R> {
  encode(result: R): Value | null | undefined
  decode(bytes: Buffer): R
}

/** Options of {@link Group.wrap}. */
export interface WrapOptions<R> {
  /** The same on all nodes, and unique in the group. Default: the function's name. */
  name?: string | undefined
  /**
   * The parameters' names, in order: keys are then written with them, as Python's `cached` does. With `key`: an object
   * of the parameters' types, in order, as `{ id: Number, lang: String }`.
   */
  params?: readonly string[] | Readonly<Record<string, StringConstructor | NumberConstructor | BooleanConstructor>> | undefined
  /** A template for keys that names every parameter, as `'user:{id}:{lang}'`. Default: the name and the arguments as JSON. */
  key?: string | undefined
  /** Default: the group's, and `'json'` where that is `'bytes'`. */
  codec?: 'json' | 'str' | Codec<R> | undefined
  /** How long results are kept. Default: the group's `ttl`. */
  ttl?: Duration | undefined
}

/** A function whose results the ring keeps. */
export interface Wrapped<A extends unknown[], R> {
  (...args: A): Promise<R>
  /** The key of a call's result, for `set`, `delete` and `peek` of the group. */
  key(...args: A): string
}

/**
 * A namespace with one getter and one memory budget. Made by {@link Node.group}. `V` is what comes out of it, `I` what
 * goes in: Buffers, and bytes or text, unless the group has a codec.
 */
export class Group<V = Buffer, I = Value> {
  private constructor()
  readonly name: string
  /** The value of `key`: from memory, from the member that owns it, or from the getter. The Buffer is the caller's own. */
  get(key: string, options?: GetOptions): Promise<V>
  /** The value of `key` if it is in this process's memory. Never waits or loads, and fails only where a codec does. */
  peek(key: string): V | undefined
  /** Stores a value at the key's owner. Resolves when it is applied. */
  set(key: string, value: I, options?: SetOptions): Promise<void>
  /** Drops a key at its owner. A key that is not there is no error. */
  delete(key: string, options?: DeleteOptions): Promise<void>
  /**
   * The values of those of `keys` that exist. A failure rejects; with `returnErrors` it stands in the Map in place of
   * the value.
   */
  getMany(keys: Iterable<string>, options?: GetManyOptions & { returnErrors?: false | undefined }): Promise<Map<string, V>>
  getMany(keys: Iterable<string>, options: GetManyOptions & { returnErrors: boolean }): Promise<Map<string, V | KamaCacheError>>
  /** Stores several values. Rejects with the first failure when all are done. */
  setMany(entries: Iterable<readonly [string, I]>, options?: SetOptions): Promise<void>
  /** Drops every entry of the group, on every member. */
  clear(options?: ClearOptions): Promise<void>
  /**
   * A function whose results the ring keeps; for a group without a getter. The owner of a result's key runs its own
   * function of that name. Arguments are strings, numbers, booleans, null, arrays and plain objects. What returns
   * undefined is not kept.
   */
  wrap<A extends unknown[], R>(fn: (...args: A) => R, options?: WrapOptions<Awaited<R>>): Wrapped<A, Awaited<R>>
  wrap<A extends unknown[], R extends Value | null | undefined>(
    fn: (...args: A) => R | PromiseLike<R>,
    options: Omit<WrapOptions<R>, 'codec'> & { codec: 'bytes' },
  ): Wrapped<A, Buffer | undefined>
  /** A snapshot of the counters. `/metrics` may lack some of the latest hits. */
  stats(): Stats
  /** How long hits (one in 1,024 is measured), getter calls and gets sent to other members took. */
  latency(): { hit: Latency; load: Latency; fetch: Latency }
  /** An entry has left this node's memory. */
  on(event: 'evict', listener: (key: string, reason: EvictReason) => void): this
  once(event: 'evict', listener: (key: string, reason: EvictReason) => void): this
  off(event: 'evict', listener: (key: string, reason: EvictReason) => void): this
}

/** This process in the cluster. An idle node keeps no process alive; a pending operation does. */
export class Node {
  private constructor()
  /** Starts a node. Resolves when it serves. */
  static start(options?: NodeOptions): Promise<Node>
  /** What peers dial, with the real port; `''` without network. */
  readonly address: string
  /** Where the admin HTTP listens, with the real port; `undefined` without one. */
  readonly adminAddress: string | undefined
  /** Opens a group. */
  group(name: string, options: GroupOptions): Group
  group(name: string, options: CodedGroupOptions<string, 'str'>): Group<string, string>
  group<V = any>(name: string, options: CodedGroupOptions<V, 'json'>): Group<V, V>
  group<V>(name: string, options: CodedGroupOptions<V, Codec<V>>): Group<V, V>
  /** The addresses of all members, sorted. */
  members(): string[]
  /** The address of the member that owns `key`. */
  owner(key: string): string
  /** The members have changed, whoever caused it; changes that follow at once come as one. */
  on(event: 'members', listener: (members: string[]) => void): this
  once(event: 'members', listener: (members: string[]) => void): this
  off(event: 'members', listener: (members: string[]) => void): this
  /** Replaces the member list; this node must be in it. */
  setPeers(peers: readonly string[]): Promise<void>
  /** Leaves the cluster. Resolves with false when a getter still ran at the end of `drain`. May be called again. */
  close(options?: CloseOptions): Promise<boolean>
  /** Keeps the process alive until {@link unref} or {@link close}. */
  ref(): this
  /** Takes back {@link ref}; this is how a node starts. */
  unref(): this
  [Symbol.asyncDispose](): Promise<void>
}

/** The codes of a {@link KamaCacheError}, the same in every language. */
export type KamaCacheErrorCode =
  | 'INVALID_ARGUMENT'
  | 'NOT_FOUND'
  | 'GETTER_FAILED'
  | 'DEADLINE_EXCEEDED'
  | 'CANCELLED'
  | 'CLOSED'
  | 'UNAVAILABLE'
  | 'OVERLOADED'
  | 'REENTRANT_LOAD'
  | 'ALREADY_EXISTS'
  | 'TOO_LARGE'
  | 'UNKNOWN_GROUP'
  | 'WOULD_DEADLOCK'
  | 'FORKED'
  | 'PANICKED'
  | 'UNAUTHENTICATED'
  | 'INTERNAL'

/** Whatever goes wrong. */
export class KamaCacheError extends Error {
  constructor(code: KamaCacheErrorCode, message: string, details?: { appCode?: number; peer?: string; cause?: unknown })
  readonly name: 'KamaCacheError'
  /** What went wrong, by name. */
  code: KamaCacheErrorCode
  /** The same as a number. */
  status: number
  /** The getter's own integer code, from whichever node it ran on. */
  appCode?: number
  /** The node where it happened, when that was another one. */
  peer?: string
}
