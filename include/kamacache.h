/*
 * kamacache.h: an in-process distributed read-through cache, for C and C++.
 *
 * Open a node, open groups on it, each with a memory budget and a getter that
 * loads a missing key from the real data source, and get values. Nodes with the
 * same member list form one ring, whatever language they are written in: each key
 * has one owner, and its owner alone runs the getter.
 *
 * Generated from ffi/ by cbindgen: change it there.
 *
 * RULES FOR ALL FUNCTIONS
 *
 * Results. A function that can fail returns a status, KAMACACHE_OK being 0. *out
 * and *err are NULL first on every path; err may be NULL, and what it receives is
 * the caller's to free. NULL for anything that is not said to allow it is
 * KAMACACHE_INVALID_ARGUMENT, never a crash. Every _free and _release accepts NULL.
 *
 * Structs. They go by pointer and start with struct_size. The library reads the
 * smaller of that and the size it knows, takes the rest for zero, and refuses a
 * larger struct whose unknown part is not zero. Of a struct that it writes it zeroes
 * the part that it does not know, and struct_size becomes the size that it has
 * written. So either side may be the newer one. kamacache_slice and kamacache_result
 * never change.
 *
 * Keys. UTF-8 of 1..4096 bytes, by pointer and length, without need of a NUL; NULs
 * inside a key are part of it.
 *
 * Times. They are milliseconds. A timeout of 0 is KAMACACHE_DEFAULT_TIMEOUT, the
 * node's default, and not "do not wait": give a time that is over as
 * KAMACACHE_NO_WAIT.
 *
 * Values. They lie at a multiple of 16, on a hit and on a miss.
 *
 * Getter. It may be called from several threads at once. The first of complete,
 * fail, not_found and time-out wins; a later or second answer returns
 * KAMACACHE_CANCELLED and does nothing, also after the node is gone. A getter may
 * return first and answer later, from any thread. Blocking calls on other keys are
 * allowed inside a getter; on its own key they are KAMACACHE_REENTRANT_LOAD.
 * A blocking kamacache_group_get that finds itself the loader of a key that this
 * node owns runs the getter on the calling thread and returns when it returns.
 * All other loads run on the library's getter threads. A load that its getter has
 * returned from without an answer runs nothing: it is given up at load_timeout_ms,
 * its token then answers KAMACACHE_CANCELLED, and it does not hold up a close. A
 * getter that waits for a load that is still queued runs that load itself, so
 * getters that wait for each other cannot starve the threads.
 *
 * Completions. An asynchronous call that returned KAMACACHE_OK gives one callback;
 * one that returned anything else gives none. A callback never runs inside the
 * call that began it and never under a lock: it runs on one callback thread of the
 * library, never a network or getter thread, or, when a queue was given, where the
 * queue is dispatched. *op is written before the callback can run. One thread
 * dispatches a queue at a time; everything else may be called from any thread. A
 * handle may be used by many threads at a time; its _free or _release needs that no
 * other call uses that handle.
 *
 * Callbacks. They must not let a C++ exception or a longjmp out. kamacache_node_close
 * inside any callback is KAMACACHE_WOULD_DEADLOCK, and so is every blocking call
 * inside a callback other than a getter, and inside a getter of a getter_queue.
 *
 * Free order. Close the node, then free values, groups and node in any order; a
 * call after close returns KAMACACHE_CLOSED, except kamacache_group_stats and
 * kamacache_group_latency, which then give the last counts. A close that returned
 * KAMACACHE_OK has run every free_user_data; after KAMACACHE_DEADLINE_EXCEEDED it runs after the last
 * callback. kamacache_node_free without close is close with drain 0. Freeing the
 * last reference inside a callback is safe.
 *
 * Processes. Panics never cross: KAMACACHE_PANICKED, and the logger is told. Fork:
 * open nodes after forking; a child that inherited one gets KAMACACHE_FORKED from
 * every call, also for loads, operations and queues, runs none of its callbacks, and
 * keeps neither its port nor its connections open. Threads that end: in atexit
 * handlers, in destructors of static and thread-local objects and of thread keys
 * every call works; where thread-local storage is gone it runs on another thread, and
 * is KAMACACHE_INTERNAL when none is to be had. Signals: no handler is installed, no
 * signal is taken by the library's threads, and a call that waits does so with the
 * signal mask of its thread. Unload: the library stays loaded; process exit without
 * close is safe.
 */

#ifndef KAMACACHE_H
#define KAMACACHE_H

#include <stddef.h>
#include <stdint.h>

/** The version of this header; the library's own is kamacache_version(). */
#define KAMACACHE_VERSION_MAJOR 0
/** Its second number. */
#define KAMACACHE_VERSION_MINOR 1
/** Its third number. */
#define KAMACACHE_VERSION_PATCH 0
/** The three as one number that grows: major * 1,000,000 + minor * 1,000 + patch. */
#define KAMACACHE_VERSION_NUMBER (KAMACACHE_VERSION_MAJOR * 1000000 + KAMACACHE_VERSION_MINOR * 1000 + KAMACACHE_VERSION_PATCH)

/** Sets up a kamacache_node_options: all defaults. */
#define kamacache_node_options_init(o) kamacache_node_options_init_sized((o), sizeof *(o))
/** Sets up a kamacache_group_options: all defaults; then set max_bytes, which has none. */
#define kamacache_group_options_init(o) kamacache_group_options_init_sized((o), sizeof *(o))


/**
 * As a timeout: the node's default, default_timeout_ms. A time that is left until a
 * deadline is to be given as KAMACACHE_NO_WAIT when nothing is left, not as 0.
 */
#define KAMACACHE_DEFAULT_TIMEOUT 0

/**
 * As a timeout: do not wait. A get answers what this node has in memory, else
 * KAMACACHE_DEADLINE_EXCEEDED, and the load that it began goes on.
 */
#define KAMACACHE_NO_WAIT (UINT64_MAX - 1)

/** As a timeout: none. As a ttl: never expires. */
#define KAMACACHE_FOREVER UINT64_MAX

/** As a ttl: answer the waiters, keep nothing. */
#define KAMACACHE_TTL_NO_STORE (UINT64_MAX - 1)

/** The default eviction policy. */
#define KAMACACHE_POLICY_DEFAULT 0

/** Least recently used first. */
#define KAMACACHE_POLICY_LRU 1

/** S3-FIFO: resists scans. */
#define KAMACACHE_POLICY_S3FIFO 2

/** Group flag: exact LRU order, at the price of one lock for the whole group. */
#define KAMACACHE_GROUP_STRICT_LRU 1

/** Group flag: keep no copies of values that other nodes own. */
#define KAMACACHE_GROUP_NO_HOT 2

/** Group flag: do not shorten ttls at random. */
#define KAMACACHE_GROUP_NO_JITTER 4

/** The statuses. */
enum {
  /** Done. */
  KAMACACHE_OK = 0,
  /** An argument or option breaks a rule; the message names it and the rule. */
  KAMACACHE_INVALID_ARGUMENT = 1,
  /** There is no such value; not a failure. */
  KAMACACHE_NOT_FOUND = 2,
  /** The getter failed; see kamacache_error_message and kamacache_error_app_code. */
  KAMACACHE_GETTER_FAILED = 3,
  /** The call's time is over. A load it waited for goes on and fills the cache. */
  KAMACACHE_DEADLINE_EXCEEDED = 4,
  /** The call was cancelled, or a load's token was answered before or given up. */
  KAMACACHE_CANCELLED = 5,
  /** The node is closed. */
  KAMACACHE_CLOSED = 6,
  /** The key's owner cannot be reached, or the members disagree about it. */
  KAMACACHE_UNAVAILABLE = 7,
  /** Too many loads wait already. */
  KAMACACHE_OVERLOADED = 8,
  /** A getter asked for the very key it is loading. */
  KAMACACHE_REENTRANT_LOAD = 9,
  /** The node has a group of this name already. */
  KAMACACHE_ALREADY_EXISTS = 10,
  /** A value is over its limit, or a buffer is too small. */
  KAMACACHE_TOO_LARGE = 11,
  /** No group of this name, here or at the key's owner. */
  KAMACACHE_UNKNOWN_GROUP = 12,
  /** A blocking call from a callback that must not block. */
  KAMACACHE_WOULD_DEADLOCK = 13,
  /** This process inherited the node by fork; open one of its own. */
  KAMACACHE_FORKED = 14,
  /** A getter or the library panicked. */
  KAMACACHE_PANICKED = 15,
  /** A peer asks for credentials that this node does not have. */
  KAMACACHE_UNAUTHENTICATED = 16,
  /** A fault of the library; please report it. */
  KAMACACHE_INTERNAL = 17,
};

/** Why an entry left. */
enum {
  /** The budget was full. */
  KAMACACHE_EVICT_CAPACITY = 1,
  /** Its ttl was over. */
  KAMACACHE_EVICT_EXPIRED = 2,
  /** A newer value took its place. */
  KAMACACHE_EVICT_REPLACED = 3,
  /** It was deleted. */
  KAMACACHE_EVICT_DELETED = 4,
  /** The group was cleared. */
  KAMACACHE_EVICT_CLEARED = 5,
  /** Another member owns the key now. */
  KAMACACHE_EVICT_MOVED = 6,
};

/** How important a message is. */
enum {
  /** Something is broken. */
  KAMACACHE_LOG_ERROR = 1,
  /** Something is wrong and handled. */
  KAMACACHE_LOG_WARN = 2,
  /** Something rare and worth knowing. */
  KAMACACHE_LOG_INFO = 3,
  /** For finding faults. */
  KAMACACHE_LOG_DEBUG = 4,
  /** For finding faults of the library. */
  KAMACACHE_LOG_TRACE = 5,
};

/** The detail of a failed call, owned by the caller. Read it from any thread. */
typedef struct kamacache_error kamacache_error;

/**
 * A group: a namespace of keys with a memory budget and a getter. Any thread
 * may use it.
 */
typedef struct kamacache_group kamacache_group;

/** A load that waits for its answer: a token, not a pointer; never dereferenced. */
typedef struct kamacache_load kamacache_load;

/** A node: this process as a member of the cluster. Any thread may use it. */
typedef struct kamacache_node kamacache_node;

/** Completions that wait for a thread of the user's to run them. */
typedef struct kamacache_queue kamacache_queue;

/**
 * An immutable, refcounted view of a cached value. Any thread may use it; it
 * outlives the group and the node it came from.
 */
typedef struct kamacache_value kamacache_value;

/**
 * The outcome of a call: KAMACACHE_OK or one of the codes. Codes are only ever
 * added, so a program must expect ones it does not know.
 */
typedef int32_t kamacache_status;

/**
 * Frees what user_data points to. Called exactly once.
 *
 * @param user_data what was handed over with this function; NULL when that was NULL
 * @par Threads
 * Any thread; it must not block on this library.
 */
typedef void (*kamacache_free_fn)(void *user_data);

/**
 * How to open a node. Set it up with kamacache_node_options_init, then set
 * what should differ; zero and NULL mean the default. Everything is copied.
 */
typedef struct kamacache_node_options {
  /** Size of this struct in bytes, set by kamacache_node_options_init. */
  uint32_t struct_size;
  /** Flags of the node: none are defined. Default 0. */
  uint32_t flags;
  /**
   * Address where this node listens for its peers: "127.0.0.1:8001", port 0 for any free port, or a
   * range "127.0.0.1:8001-8003" for its first free port. Default NULL: a single instance without a
   * network.
   */
  const char *listen;
  /** Address that peers dial to reach this node. Default NULL: the bound address. */
  const char *advertise;
  /**
   * Addresses of the members, this node included; ranges are accepted. Default NULL: a ring of one
   * until kamacache_node_set_peers.
   */
  const char *const *peers;
  /** Number of texts that peers points to. Default 0. */
  size_t peers_len;
  /**
   * URL of where members are found: "static:", "file:///etc/kamacache/peers", "dns://svc.ns:8001",
   * "etcd://h:2379/service"; set it instead of peers. Default NULL: members are those of peers.
   */
  const char *discovery;
  /**
   * Address where the admin HTTP listens: "127.0.0.1:9001", ":9001" or port 0, which
   * kamacache_node_admin_address then names. Default NULL: there is no admin HTTP.
   */
  const char *admin_listen;
  /**
   * File of the CA that certificates of peers are checked against, PEM. Set tls_ca, tls_cert and
   * tls_key, or none of them. Default NULL: plaintext.
   */
  const char *tls_ca;
  /** File of the certificate of this node, PEM. Default NULL, as tls_ca. */
  const char *tls_cert;
  /** File of the private key of this node, PEM. Default NULL, as tls_ca. */
  const char *tls_key;
  /**
   * Secret that all members share, or several separated by blanks: all are admitted, the first is
   * sent; without TLS they can be read on the way. Default NULL: no secret is asked for.
   */
  const char *cluster_token;
  /** Number of network threads. Default 0: one. */
  uint32_t io_threads;
  /**
   * Maximum number of getter threads that work at the same time. They run the loads that peers ask
   * for, and those of asynchronous calls and of all keys but one of kamacache_group_get_many in this
   * process; further loads wait for a thread. Each group may use its share of them, so that several
   * groups together have up to twice as many. A thread that waits inside a getter for another key
   * does not count, up to 512 of them. A blocking kamacache_group_get that leads a load runs it on
   * its own thread and needs none. Each thread has a stack of 2 MiB. Default 0: 16.
   */
  uint32_t getter_threads;
  /** Name of the cluster; members of different clusters refuse each other. Default NULL: "default". */
  const char *cluster;
  /** Name that the certificate of every peer must carry. Default NULL: the host that is dialled. */
  const char *tls_name;
  /**
   * Timeout of calls whose timeout_ms is KAMACACHE_DEFAULT_TIMEOUT (0), in milliseconds. Default 0:
   * 5,000.
   */
  uint64_t default_timeout_ms;
  /** Maximum time to connect to a peer, in milliseconds. Default 0: 1,000. */
  uint64_t connect_timeout_ms;
  /** Time between two pings of a link, in milliseconds. Default 0: 500. */
  uint64_t heartbeat_ms;
  /**
   * Time of silence after which a peer is suspect and its keys are loaded here, in milliseconds.
   * Default 0: 1,000.
   */
  uint64_t suspect_after_ms;
  /** Time between two probes of a suspect peer, in milliseconds. Default 0: 1,000. */
  uint64_t probe_interval_ms;
  /**
   * Time for which a member may be missing from discovery before it is removed, in milliseconds.
   * Default 0: 10,000.
   */
  uint64_t remove_grace_ms;
  /**
   * Time after a change of members during which values are taken over from previous owners, in
   * milliseconds. Default 0: 30,000.
   */
  uint64_t warm_window_ms;
  /**
   * File of secrets, one on each line, in place of cluster_token: all are admitted, the first is
   * sent, and it is read again when it changes. Default NULL: no file.
   */
  const char *cluster_token_file;
  /**
   * Names by which the admin HTTP may be asked, separated by commas, beside localhost, the name
   * that is advertised and IP addresses. Default NULL: no others.
   */
  const char *admin_hosts;
} kamacache_node_options;

/** What a getter is told about the load; borrowed for the call. */
typedef struct kamacache_load_info {
  /** Size of this struct in the library. */
  uint32_t struct_size;
  /** None defined: 0. */
  uint32_t flags;
  /** The group's name, NUL-terminated. */
  const char *group;
  /**
   * The key: UTF-8 of key_len bytes. A NUL stands behind it, but a key may also hold
   * NULs: compare key_len bytes, never with strcmp alone.
   */
  const char *key;
  /** The key's length in bytes, without the NUL. */
  size_t key_len;
  /** Time left for the load in milliseconds, or KAMACACHE_FOREVER. */
  uint64_t timeout_ms;
} kamacache_load_info;

/**
 * Loads one missing key. It answers exactly once, by one of the kamacache_load_ functions,
 * inside the call or later from any thread. No exception and no longjmp may leave it.
 *
 * @param user_data the group's
 * @param info what to load; borrowed for the call; never NULL
 * @param load the token to answer with; never NULL
 * @par Threads
 * Called on a thread that waits in kamacache_group_get, or on a getter thread, which has a
 * stack of 2 MiB; on several at once. It may block, and may make blocking calls on other
 * keys. With getter_queue: on the thread that dispatches the queue, where it must not block
 * on this library.
 */
typedef void (*kamacache_getter)(void *user_data,
                                 const struct kamacache_load_info *info,
                                 struct kamacache_load *load);

/**
 * Loads n missing keys at once, n at least 1. It answers each load exactly once, as a
 * kamacache_getter does.
 *
 * @param user_data the group's
 * @param infos infos[i] says what loads[i] asks for; borrowed for the call; never NULL
 * @param loads the tokens to answer with; never NULL
 * @param n how many
 * @par Threads
 * As a kamacache_getter; blocking calls are allowed on keys that are not in the batch.
 */
typedef void (*kamacache_batch_getter)(void *user_data,
                                       const struct kamacache_load_info *const *infos,
                                       struct kamacache_load *const *loads,
                                       size_t n);

/**
 * Told of an entry that has left this node's memory, in the order of the evictions. While
 * it is so slow that entries of twice the group's max_bytes wait for it, further ones are
 * not told; a warning to the logger says how many.
 *
 * @param user_data the group's
 * @param key the key, also NUL-terminated; borrowed for the call; never NULL
 * @param key_len its length without the NUL
 * @param value what it held; borrowed for the call, so retain it to keep it; never NULL
 * @param reason KAMACACHE_EVICT_*; more may come
 * @par Threads
 * The callback thread; it must not block on this library.
 */
typedef void (*kamacache_evict_fn)(void *user_data,
                                   const char *key,
                                   size_t key_len,
                                   struct kamacache_value *value,
                                   int32_t reason);

/**
 * How to open a group. Set it up with kamacache_group_options_init, then set
 * max_bytes and what should differ; zero and NULL mean the default.
 */
typedef struct kamacache_group_options {
  /** Size of this struct in bytes, set by kamacache_group_options_init. */
  uint32_t struct_size;
  /** Sum of the flags KAMACACHE_GROUP_STRICT_LRU, _NO_HOT and _NO_JITTER. Default 0: none of them. */
  uint32_t flags;
  /**
   * Memory budget of the group on this node in bytes, all overheads included. There is no default:
   * at least 65,536.
   */
  uint64_t max_bytes;
  /** Lifetime of a value in milliseconds. Default 0: KAMACACHE_FOREVER. */
  uint64_t ttl_ms;
  /** Time for which a "not found" of the getter is kept, in milliseconds. Default 0: it is not kept. */
  uint64_t negative_ttl_ms;
  /**
   * Maximum lifetime of a copy of a value that another node owns, in milliseconds. Default 0:
   * 10,000.
   */
  uint64_t hot_ttl_ms;
  /**
   * Time after the end of its ttl for which a value is still served while one load refreshes it, in
   * milliseconds. Default 0: off.
   */
  uint64_t stale_while_revalidate_ms;
  /**
   * Time after which a load is given up: its token answers KAMACACHE_CANCELLED and the next getter
   * for its key may start, in milliseconds. Default 0: 30,000.
   */
  uint64_t load_timeout_ms;
  /** Maximum number of getters of this group that run at a time on this node. Default 0: no limit. */
  uint32_t max_concurrent_loads;
  /**
   * Policy by which values are evicted: KAMACACHE_POLICY_DEFAULT, _LRU or _S3FIFO. Default 0:
   * KAMACACHE_POLICY_DEFAULT.
   */
  uint32_t policy;
  /** Function that loads a missing key. Default NULL: a miss is KAMACACHE_NOT_FOUND. */
  kamacache_getter getter;
  /**
   * Pointer that is handed to every callback of the group; the library does not look at it. Default
   * NULL.
   */
  void *user_data;
  /**
   * Function that frees user_data: called exactly once, after the last callback, also when opening
   * fails, and when struct_size is 0 because init was forgotten (with any other wrong struct_size
   * the struct cannot be read, and nothing is freed). Default NULL: there is nothing to free.
   */
  kamacache_free_fn free_user_data;
  /** Size of the largest value in bytes, at most 1 GiB. Default 0: 16 MiB. */
  uint64_t max_value_bytes;
  /**
   * Lifetime of a value that was loaded here because its owner was unreachable, in milliseconds.
   * Default 0: 2,000.
   */
  uint64_t fallback_ttl_ms;
  /**
   * Time after the end of its ttl for which a value is still served when its refresh fails, in
   * milliseconds. Default 0: off.
   */
  uint64_t stale_if_error_ms;
  /**
   * Function that loads several missing keys at once; where a single key is missing and getter is
   * set, getter is called. Default NULL: getter is called for each key.
   */
  kamacache_batch_getter batch_getter;
  /**
   * Function that is called for every entry that leaves the memory of this node. Default NULL: no
   * function.
   */
  kamacache_evict_fn on_evict;
  /**
   * Queue whose kamacache_queue_dispatch or kamacache_queue_wait calls getter and batch_getter, on
   * the thread that calls it and on no other: for runtimes that must not be called from foreign
   * threads. Such a getter must not make blocking calls (KAMACACHE_WOULD_DEADLOCK), and the thread
   * that dispatches must make none on this group, since it would wait for itself. The queue stays
   * the caller's: free it after the node is closed. Default NULL: getters run on the caller of
   * kamacache_group_get and on the getter threads.
   */
  struct kamacache_queue *getter_queue;
} kamacache_group_options;

/**
 * The counters of a group on this node since it was opened. Set struct_size to
 * sizeof(kamacache_stats) before the call. Counters only grow, save
 * in_progress, stuck_loads and what is held now.
 */
typedef struct kamacache_stats {
  /** Set by the caller. */
  uint32_t struct_size;
  /** 0. */
  uint32_t reserved;
  /** Gets begun here: the sum of the twelve fields after this one. */
  uint64_t gets;
  /** Answered by a value owned here. */
  uint64_t hits;
  /** Answered by a copy of another node's value. */
  uint64_t hot_hits;
  /** Answered by an expired value while it is refreshed. */
  uint64_t stale_hits;
  /** Answered by a kept "not found". */
  uint64_t negative_hits;
  /** Ran the getter. */
  uint64_t loaded;
  /** Waited for a getter that ran already. */
  uint64_t load_joined;
  /** Asked the owner. */
  uint64_t fetched;
  /** Waited for an answer of the owner that was on its way. */
  uint64_t fetch_joined;
  /** Ran the getter because the owner was unreachable. */
  uint64_t fallbacks;
  /** The getter had no such key. */
  uint64_t not_found;
  /** Ended with an error. */
  uint64_t failed;
  /** Not ended yet. */
  uint64_t in_progress;
  /** Gets served for peers: split like gets, by the seven fields after this one. */
  uint64_t peer_gets;
  /** See hits. */
  uint64_t peer_hits;
  /** See stale_hits. */
  uint64_t peer_stale_hits;
  /** See negative_hits. */
  uint64_t peer_negative_hits;
  /** See loaded. */
  uint64_t peer_loaded;
  /** See load_joined. */
  uint64_t peer_load_joined;
  /** See not_found. */
  uint64_t peer_not_found;
  /** See failed. */
  uint64_t peer_failed;
  /** Getter calls. */
  uint64_t loads;
  /** Getter calls that failed. */
  uint64_t load_errors;
  /** Getters that still run after load_timeout_ms, now. */
  uint64_t stuck_loads;
  /** Requests sent to owners. */
  uint64_t fetches;
  /** Requests to owners that failed. */
  uint64_t fetch_errors;
  /** Loads that refreshed an expired value. */
  uint64_t refreshes;
  /** Sets applied here. */
  uint64_t sets;
  /** Deletes applied here. */
  uint64_t deletes;
  /** Clears applied here. */
  uint64_t clears;
  /** Invalidations received from owners. */
  uint64_t invalidations;
  /** Entries dropped for room. */
  uint64_t evictions;
  /** Entries dropped for their age. */
  uint64_t expirations;
  /** Entries held now. */
  uint64_t entries;
  /** Of these, copies of other nodes' values. */
  uint64_t hot_entries;
  /** Memory charged now. */
  uint64_t bytes;
  /** Of this, for copies of other nodes' values. */
  uint64_t hot_bytes;
  /** The budget. */
  uint64_t max_bytes;
} kamacache_stats;

/**
 * How long an operation took on this node since the group was opened, in
 * nanoseconds. Set struct_size to sizeof(kamacache_latency) before the call.
 */
typedef struct kamacache_latency {
  /** Set by the caller. */
  uint32_t struct_size;
  /** 0. */
  uint32_t reserved;
  /** Operations measured. */
  uint64_t count;
  /** The sum of their times. */
  uint64_t sum_ns;
  /** Half took at most this long. */
  uint64_t p50_ns;
  /** Nine in ten took at most this long. */
  uint64_t p90_ns;
  /** 99 in 100 took at most this long. */
  uint64_t p99_ns;
  /** 999 in 1,000 took at most this long. */
  uint64_t p999_ns;
  /** The longest. */
  uint64_t max_ns;
} kamacache_latency;

/**
 * Ends a get.
 *
 * @param user_data as the call was given it
 * @param status as kamacache_group_get returns it; also KAMACACHE_CANCELLED
 * @param value the value when the status is KAMACACHE_OK, the callee's to release; else
 *   NULL
 * @param error the detail when the status is not KAMACACHE_OK, the callee's to free; else
 *   NULL
 * @par Threads
 * The callback thread, or the one that dispatches the queue; it must not block on this
 * library.
 */
typedef void (*kamacache_get_callback)(void *user_data,
                                       kamacache_status status,
                                       struct kamacache_value *value,
                                       struct kamacache_error *error);

/**
 * Ends a set, a delete, a clear or a close.
 *
 * @param user_data as the call was given it
 * @param status as kamacache_group_set, kamacache_group_delete, kamacache_group_clear and
 *   kamacache_node_close return it; also KAMACACHE_CANCELLED, not of a close
 * @param error the detail when the status is not KAMACACHE_OK, the callee's to free; else
 *   NULL
 * @par Threads
 * The callback thread, or the one that dispatches the queue; it must not block on this
 * library.
 */
typedef void (*kamacache_done_callback)(void *user_data,
                                        kamacache_status status,
                                        struct kamacache_error *error);

/** Bytes of the caller's. */
typedef struct kamacache_slice {
  /** The first byte; may be NULL when len is 0. */
  const void *data;
  /** How many bytes. */
  size_t len;
} kamacache_slice;

/** The outcome for one key. Give an array of them to kamacache_results_clear. */
typedef struct kamacache_result {
  /** The key's own status. */
  kamacache_status status;
  /** 0. */
  uint32_t reserved;
  /** The value when the status is KAMACACHE_OK and it was a get, else NULL. */
  struct kamacache_value *value;
  /** The detail when the status is not KAMACACHE_OK, else NULL. */
  struct kamacache_error *error;
} kamacache_result;

/**
 * Ends a call of many keys.
 *
 * @param user_data as the call was given it
 * @param status KAMACACHE_OK: every key has its result, good or bad; else why there are
 *   none: KAMACACHE_CANCELLED, KAMACACHE_CLOSED, KAMACACHE_PANICKED
 * @param results one for each key, in their order; borrowed for the call; a value or error
 *   whose pointer the callee sets to NULL is the callee's, the library frees the others; NULL
 *   when the status is not KAMACACHE_OK
 * @param n how many; 0 when the status is not KAMACACHE_OK
 * @param error the detail when the status is not KAMACACHE_OK, the callee's to free; else
 *   NULL
 * @par Threads
 * The callback thread, or the one that dispatches the queue; it must not block on this
 * library.
 */
typedef void (*kamacache_many_callback)(void *user_data,
                                        kamacache_status status,
                                        struct kamacache_result *results,
                                        size_t n,
                                        struct kamacache_error *error);

/**
 * Takes one message. Both texts are UTF-8 and NUL-terminated.
 *
 * @param user_data handed to kamacache_set_logger before; the library's
 * @param level KAMACACHE_LOG_*
 * @param target which part of the library it is from; borrowed for the call; never NULL
 * @param message what it says; borrowed for the call; never NULL
 * @par Threads
 * A thread of the library's own, one message at a time; it must not block on this library.
 */
typedef void (*kamacache_log_fn)(void *user_data, int32_t level, const char *target, const char *message);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The status of an error, the same that the call returned.
 *
 * @param error the error; it stays the caller's; NULL is no error
 * @return the status; KAMACACHE_OK for NULL
 * @par Threads
 * Any thread; never blocks.
 */
kamacache_status kamacache_error_code(const struct kamacache_error *error);

/**
 * What went wrong, with the value, the rule and the way out.
 *
 * @param error the error; may be NULL
 * @return UTF-8, NUL-terminated, owned by the error and valid until it is freed; "" for
 *   NULL
 * @par Threads
 * Any thread; never blocks.
 */
const char *kamacache_error_message(const struct kamacache_error *error);

/**
 * The code that a getter gave to kamacache_load_fail, whichever node it ran on.
 *
 * @param error the error; may be NULL
 * @return the code; 0 when there is none, and for NULL
 * @par Threads
 * Any thread; never blocks.
 */
int64_t kamacache_error_app_code(const struct kamacache_error *error);

/**
 * Frees an error and its message.
 *
 * @param error the error, given up by the caller; NULL is fine
 * @par Threads
 * Any thread, while no other thread uses this error; never blocks.
 */
void kamacache_error_free(struct kamacache_error *error);

/**
 * The detail of the last call on this thread that failed and takes no err:
 * kamacache_node_owner, kamacache_node_address, kamacache_load_complete and their like.
 * KAMACACHE_NOT_FOUND of a peek is no failure.
 *
 * @return the error, owned by the library and valid until the next such failure on this
 *   thread; NULL when there was none; not to be freed
 * @par Threads
 * The thread that made the call; never blocks.
 */
const struct kamacache_error *kamacache_last_error(void);

/**
 * The name of a status: "NOT_FOUND" for KAMACACHE_NOT_FOUND.
 *
 * @param status any number
 * @return a text of the library's, never NULL and never freed; "UNKNOWN" for a number that
 *   is no status
 * @par Threads
 * Any thread; never blocks.
 */
const char *kamacache_status_name(kamacache_status status);

/**
 * The version of the library in use, "0.1.0"; compare it with the header's
 * KAMACACHE_VERSION_MAJOR, _MINOR and _PATCH.
 *
 * @return a text of the library's, never NULL and never freed
 * @par Threads
 * Any thread; never blocks.
 */
const char *kamacache_version(void);

/**
 * The version of the library in use as one number that grows; compare it with the header's
 * KAMACACHE_VERSION_NUMBER.
 *
 * @return major * 1,000,000 + minor * 1,000 + patch: 1000 for 0.1.0
 * @par Threads
 * Any thread; never blocks.
 */
uint32_t kamacache_version_number(void);

/**
 * The bytes of a value. They never change, and the first one lies at a multiple of 16, so
 * that numbers and vectors can be read in place.
 *
 * @param value the value; may be NULL
 * @return the first byte, valid until the value's last release; never NULL for a value,
 *   also when it is empty; NULL for NULL
 * @par Threads
 * Any thread; never blocks.
 */
const uint8_t *kamacache_value_data(const struct kamacache_value *value);

/**
 * The length of a value.
 *
 * @param value the value; may be NULL
 * @return how many bytes; 0 for NULL
 * @par Threads
 * Any thread; never blocks.
 */
size_t kamacache_value_len(const struct kamacache_value *value);

/**
 * Takes one more count of a value; each count needs a kamacache_value_release of its own.
 *
 * @param value the value; may be NULL
 * @return the same pointer; NULL for NULL
 * @par Threads
 * Any thread; never blocks.
 */
struct kamacache_value *kamacache_value_retain(struct kamacache_value *value);

/**
 * Gives one count of a value back; the last one frees it.
 *
 * @param value the value, one count of which the caller gives up; NULL is fine
 * @par Threads
 * Any thread; never blocks, but the last release of a value that came from
 * kamacache_load_complete_owned runs its free function.
 */
void kamacache_value_release(struct kamacache_value *value);

/**
 * Answers a load with a value.
 *
 * @param load the token that the getter was called with; used up by an answer that is
 *   taken
 * @param data the value's bytes, copied; may be NULL when len is 0
 * @param len how many bytes
 * @param ttl_ms lifetime of the value, in milliseconds; 0: the group's ttl_ms;
 *   KAMACACHE_FOREVER: it never expires; KAMACACHE_TTL_NO_STORE: it is not kept
 * @retval KAMACACHE_OK the answer is taken
 * @retval KAMACACHE_CANCELLED the load was answered before, was given up, or its node is
 *   closed; the answer is dropped
 * @retval KAMACACHE_FORKED this process inherited the load by fork; the answer is dropped
 * @retval KAMACACHE_INVALID_ARGUMENT load is NULL or never was a token, or data is NULL; a
 *   load is then still unanswered
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread, inside the getter's call or after it; never blocks.
 */
kamacache_status kamacache_load_complete(struct kamacache_load *load,
                                         const void *data,
                                         size_t len,
                                         uint64_t ttl_ms);

/**
 * As kamacache_load_complete, with bytes that the library takes over, on every status. Who
 * waits for this load gets these very bytes, when they lie at a multiple of 16; the cache
 * keeps a copy of its own.
 *
 * @param load the token that the getter was called with; used up by an answer that is
 *   taken
 * @param data the value's bytes, which must not change; may be NULL when len is 0
 * @param len how many bytes
 * @param free_fn called once with user_data, from any thread, when nobody needs the bytes
 *   any more, also when this call fails; NULL for bytes that live forever
 * @param user_data handed to free_fn
 * @param ttl_ms lifetime of the value, in milliseconds; 0: the group's ttl_ms;
 *   KAMACACHE_FOREVER: it never expires; KAMACACHE_TTL_NO_STORE: it is not kept
 * @retval KAMACACHE_OK the answer is taken
 * @retval KAMACACHE_CANCELLED the load was answered before, was given up, or its node is
 *   closed; the answer is dropped
 * @retval KAMACACHE_FORKED this process inherited the load by fork; the answer is dropped
 * @retval KAMACACHE_INVALID_ARGUMENT load is NULL or never was a token, or data is NULL
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread, inside the getter's call or after it; never blocks.
 */
kamacache_status kamacache_load_complete_owned(struct kamacache_load *load,
                                               const void *data,
                                               size_t len,
                                               kamacache_free_fn free_fn,
                                               void *user_data,
                                               uint64_t ttl_ms);

/**
 * Answers a load: the data source has no such key.
 *
 * @param load the token that the getter was called with; used up by an answer that is
 *   taken
 * @retval KAMACACHE_OK the answer is taken
 * @retval KAMACACHE_CANCELLED the load was answered before, was given up, or its node is
 *   closed; the answer is dropped
 * @retval KAMACACHE_FORKED this process inherited the load by fork; the answer is dropped
 * @retval KAMACACHE_INVALID_ARGUMENT load is NULL, or never was a token
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread, inside the getter's call or after it; never blocks.
 */
kamacache_status kamacache_load_not_found(struct kamacache_load *load);

/**
 * Answers a load: it failed. Everybody who waits for it, on any node, gets
 * KAMACACHE_GETTER_FAILED with this code and message. Failures are not kept.
 *
 * @param load the token that the getter was called with; used up by an answer that is
 *   taken
 * @param app_code a code of the program's own; see kamacache_error_app_code
 * @param message NUL-terminated UTF-8, copied, cut at 4 KiB; NULL: the library makes one
 * @retval KAMACACHE_OK the answer is taken
 * @retval KAMACACHE_CANCELLED the load was answered before, was given up, or its node is
 *   closed; the answer is dropped
 * @retval KAMACACHE_FORKED this process inherited the load by fork; the answer is dropped
 * @retval KAMACACHE_INVALID_ARGUMENT load is NULL, or never was a token
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread, inside the getter's call or after it; never blocks.
 */
kamacache_status kamacache_load_fail(struct kamacache_load *load, int64_t app_code, const char *message);

/**
 * Whether nobody wants the answer of a load any more. A long getter may look now and then.
 *
 * @param load the token; it stays as it is; may be NULL
 * @return 1 when the load was answered, was given up or is of a closed node, and for what
 *   is no token and NULL; else 0
 * @par Threads
 * Any thread; never blocks.
 */
int kamacache_load_is_cancelled(const struct kamacache_load *load);

/**
 * Sets up node options: all defaults. Use the macro kamacache_node_options_init.
 *
 * @param options the caller's struct; NULL does nothing
 * @param size its size; under 8 nothing is done; no byte past it is written
 * @par Threads
 * Any thread; never blocks.
 */
void kamacache_node_options_init_sized(struct kamacache_node_options *options, size_t size);

/**
 * Sets up group options: all defaults; max_bytes has none and must be set. Use the macro
 * kamacache_group_options_init.
 *
 * @param options the caller's struct; NULL does nothing
 * @param size its size; under 8 nothing is done; no byte past it is written
 * @par Threads
 * Any thread; never blocks.
 */
void kamacache_group_options_init_sized(struct kamacache_group_options *options, size_t size);

/**
 * Opens a node and starts serving its peers.
 *
 * @param options how; copied; not NULL
 * @param out the node, the caller's: close it with kamacache_node_close, then free it with
 *   kamacache_node_free; NULL when the call fails
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK done
 * @retval KAMACACHE_INVALID_ARGUMENT NULL, or an option breaks its rule; the message names
 *   both
 * @retval KAMACACHE_UNAVAILABLE the address is taken, or is not one of this host
 * @retval KAMACACHE_INTERNAL no thread or socket is to be had
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @retval KAMACACHE_WOULD_DEADLOCK called inside a callback that must not block
 * @par Threads
 * Any thread; blocks until the node listens.
 */
kamacache_status kamacache_node_open(const struct kamacache_node_options *options,
                                     struct kamacache_node **out,
                                     struct kamacache_error **err);

/**
 * Replaces the list of members, this node included. Keys that now belong to another member
 * move to it.
 *
 * @param node the node; it stays the caller's
 * @param peers addresses, "host:port", ranges accepted; copied; may be NULL when n is 0
 * @param n how many; 0: a ring of one
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK done
 * @retval KAMACACHE_INVALID_ARGUMENT NULL, or an address breaks its rule; the old list
 *   stays
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread; never blocks.
 */
kamacache_status kamacache_node_set_peers(struct kamacache_node *node,
                                          const char *const *peers,
                                          size_t n,
                                          struct kamacache_error **err);

/**
 * Writes the members' addresses, sorted, one a line.
 *
 * @param node the node; it stays the caller's
 * @param buf where the text goes, with a final NUL; may be NULL when cap is 0
 * @param cap how many bytes buf has
 * @param len where the text's length without the NUL goes, also when buf is too short; not
 *   NULL
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK done
 * @retval KAMACACHE_TOO_LARGE buf is too short; *len says what the text needs, less one
 *   for the NUL
 * @retval KAMACACHE_INVALID_ARGUMENT node, buf or len is NULL
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread; never blocks.
 */
kamacache_status kamacache_node_members(struct kamacache_node *node,
                                        char *buf,
                                        size_t cap,
                                        size_t *len,
                                        struct kamacache_error **err);

/**
 * Writes the address of the member that owns a key; "" without a network.
 *
 * @param node the node; it stays the caller's
 * @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
 * @param key_len its length in bytes, without a NUL
 * @param buf where the text goes, with a final NUL; may be NULL when cap is 0
 * @param cap how many bytes buf has
 * @param len where the text's length without the NUL goes, also when buf is too short; not
 *   NULL
 * @retval KAMACACHE_OK done
 * @retval KAMACACHE_TOO_LARGE buf is too short; *len says what the text needs, less one
 *   for the NUL
 * @retval KAMACACHE_INVALID_ARGUMENT NULL, or a bad key
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread; never blocks.
 */
kamacache_status kamacache_node_owner(struct kamacache_node *node,
                                      const char *key,
                                      size_t key_len,
                                      char *buf,
                                      size_t cap,
                                      size_t *len);

/**
 * Writes the address that peers dial, with the real port; "" without a network.
 *
 * @param node the node; it stays the caller's
 * @param buf where the text goes, with a final NUL; may be NULL when cap is 0
 * @param cap how many bytes buf has
 * @param len where the text's length without the NUL goes, also when buf is too short; not
 *   NULL
 * @retval KAMACACHE_OK done
 * @retval KAMACACHE_TOO_LARGE buf is too short; *len says what the text needs, less one
 *   for the NUL
 * @retval KAMACACHE_INVALID_ARGUMENT node, buf or len is NULL
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread; never blocks.
 */
kamacache_status kamacache_node_address(struct kamacache_node *node, char *buf, size_t cap, size_t *len);

/**
 * Writes the address of the admin HTTP, with the real port; "" without one.
 *
 * @param node the node; it stays the caller's
 * @param buf where the text goes, with a final NUL; may be NULL when cap is 0
 * @param cap how many bytes buf has
 * @param len where the text's length without the NUL goes, also when buf is too short; not
 *   NULL
 * @retval KAMACACHE_OK done
 * @retval KAMACACHE_TOO_LARGE buf is too short; *len says what the text needs, less one
 *   for the NUL
 * @retval KAMACACHE_INVALID_ARGUMENT node, buf or len is NULL
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread; never blocks.
 */
kamacache_status kamacache_node_admin_address(struct kamacache_node *node,
                                              char *buf,
                                              size_t cap,
                                              size_t *len);

/**
 * Leaves the cluster and ends the node. From now on calls on it and on its groups return
 * KAMACACHE_CLOSED, and calls that wait return it. After KAMACACHE_OK no getter and no
 * callback runs on a thread of the library, and all user data of groups is freed. Callbacks
 * in queues of the program still wait there: operations that had not ended have the result
 * KAMACACHE_CLOSED, and the next kamacache_queue_dispatch or kamacache_queue_free runs them.
 * A second close is fine, and waits again. The handle is still to be freed.
 *
 * @param node the node; it stays the caller's
 * @param drain_ms how long to wait for getters that run, in milliseconds; 0: not at all, and
 *   without leaving the cluster in order; KAMACACHE_FOREVER: no limit
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK done
 * @retval KAMACACHE_DEADLINE_EXCEEDED a getter or a callback still runs; the node is
 *   closed all the same, and user data is freed when it returns
 * @retval KAMACACHE_WOULD_DEADLOCK called inside a callback
 * @retval KAMACACHE_INVALID_ARGUMENT node is NULL
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread but a callback's; blocks up to drain_ms, and about a second longer for
 * callbacks that run.
 */
kamacache_status kamacache_node_close(struct kamacache_node *node,
                                      uint64_t drain_ms,
                                      struct kamacache_error **err);

/**
 * Frees a node's handle; a node that is not closed is closed with drain 0. Groups and
 * values may be freed before or after.
 *
 * @param node the node, given up by the caller; NULL is fine
 * @par Threads
 * Any thread, also inside a callback; blocks for a moment when the node is not closed.
 */
void kamacache_node_free(struct kamacache_node *node);

/**
 * Opens a group: a namespace of keys with a memory budget and a getter. The group lives
 * until its node is closed.
 *
 * @param node the node; it stays the caller's
 * @param name 1..255 characters of A-Z a-z 0-9 . _ : -, the same on all nodes; copied
 * @param options how; copied; the library takes its user_data over, on every status
 * @param out a handle, the caller's: free it with kamacache_group_free; NULL when the call
 *   fails
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK done
 * @retval KAMACACHE_INVALID_ARGUMENT NULL, or an option breaks its rule; the message names
 *   both
 * @retval KAMACACHE_ALREADY_EXISTS the node has a group of this name
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread; never blocks.
 */
kamacache_status kamacache_group_open(struct kamacache_node *node,
                                      const char *name,
                                      const struct kamacache_group_options *options,
                                      struct kamacache_group **out,
                                      struct kamacache_error **err);

/**
 * A further handle to a group that is open.
 *
 * @param node the node; it stays the caller's
 * @param name its name, read during the call
 * @param out a handle, the caller's: free it with kamacache_group_free; NULL when the call
 *   fails
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK done
 * @retval KAMACACHE_UNKNOWN_GROUP the node has no group of this name
 * @retval KAMACACHE_INVALID_ARGUMENT NULL, or a name of more than 255 bytes
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread; never blocks.
 */
kamacache_status kamacache_node_group(struct kamacache_node *node,
                                      const char *name,
                                      struct kamacache_group **out,
                                      struct kamacache_error **err);

/**
 * Frees a handle to a group; the group lives until its node is closed.
 *
 * @param group the handle, given up by the caller; NULL is fine
 * @par Threads
 * Any thread, while no other thread uses this handle; also inside a callback, of a call
 * through this handle too; never blocks.
 */
void kamacache_group_free(struct kamacache_group *group);

/**
 * The name of a group.
 *
 * @param group the group; it stays the caller's; may be NULL
 * @return NUL-terminated, owned by the handle and valid until it is freed; NULL for NULL
 * @par Threads
 * Any thread; never blocks.
 */
const char *kamacache_group_name(const struct kamacache_group *group);

/**
 * The user_data that a group was opened with.
 *
 * @param group the group; it stays the caller's; may be NULL
 * @return what user_data of the options was; it stays owned by the group, so it is valid
 *   until the node is closed; NULL for NULL, after the close, and in a process that inherited
 *   the node by fork
 * @par Threads
 * Any thread; never blocks.
 */
void *kamacache_group_user_data(const struct kamacache_group *group);

/**
 * The value of a key: from this node's memory, from the key's owner, or by the getter.
 *
 * @param group the group; it stays the caller's
 * @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
 * @param key_len its length in bytes, without a NUL
 * @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
 *   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
 *   that is over must be given as; KAMACACHE_FOREVER: no limit
 * @param out the value, the caller's to release; NULL when the call fails
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK done
 * @retval KAMACACHE_NOT_FOUND the data source has no such key, or the group has no getter
 * @retval KAMACACHE_GETTER_FAILED the getter failed; the error has its message and code
 * @retval KAMACACHE_DEADLINE_EXCEEDED not in time; the load goes on and fills the cache
 * @retval KAMACACHE_REENTRANT_LOAD called inside a getter that is loading this very key
 * @retval KAMACACHE_OVERLOADED too many loads wait already
 * @retval KAMACACHE_UNAVAILABLE the owner cannot be reached, and this node has no getter
 * @retval KAMACACHE_INVALID_ARGUMENT NULL, or a bad key
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_WOULD_DEADLOCK called inside a callback that must not block
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread, also inside a getter; blocks up to timeout_ms. When this call is the one
 * that loads the key, the getter runs on this thread, and timeout_ms does not cut it
 * short.
 */
kamacache_status kamacache_group_get(struct kamacache_group *group,
                                     const char *key,
                                     size_t key_len,
                                     uint64_t timeout_ms,
                                     struct kamacache_value **out,
                                     struct kamacache_error **err);

/**
 * The value of a key if it is in this node's memory.
 *
 * @param group the group; it stays the caller's
 * @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
 * @param key_len its length in bytes, without a NUL
 * @param out the value, the caller's to release; NULL when the call fails
 * @retval KAMACACHE_OK done
 * @retval KAMACACHE_NOT_FOUND it is not in this node's memory
 * @retval KAMACACHE_INVALID_ARGUMENT NULL, or the key is not UTF-8
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread; never blocks and never loads.
 */
kamacache_status kamacache_group_peek(struct kamacache_group *group,
                                      const char *key,
                                      size_t key_len,
                                      struct kamacache_value **out);

/**
 * Copies the value of a key into buf if it is in this node's memory: the fastest read.
 *
 * @param group the group; it stays the caller's
 * @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
 * @param key_len its length in bytes, without a NUL
 * @param buf where the value goes; left as it is when the call fails; may be NULL when cap
 *   is 0
 * @param cap how many bytes buf has
 * @param len where the value's length goes, also when buf is too short; not NULL
 * @retval KAMACACHE_OK done
 * @retval KAMACACHE_NOT_FOUND it is not in this node's memory
 * @retval KAMACACHE_TOO_LARGE buf is too short; *len says what it takes
 * @retval KAMACACHE_INVALID_ARGUMENT NULL, or the key is not UTF-8
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread; never blocks and never loads.
 */
kamacache_status kamacache_group_peek_into(struct kamacache_group *group,
                                           const char *key,
                                           size_t key_len,
                                           void *buf,
                                           size_t cap,
                                           size_t *len);

/**
 * Stores a value at the key's owner. After KAMACACHE_OK no get through this node sees an
 * older value.
 *
 * @param group the group; it stays the caller's
 * @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
 * @param key_len its length in bytes, without a NUL
 * @param data the value's bytes, copied; may be NULL when len is 0
 * @param len how many bytes
 * @param ttl_ms lifetime of the value, in milliseconds; 0: the group's ttl_ms;
 *   KAMACACHE_FOREVER: it never expires; KAMACACHE_TTL_NO_STORE: it is not kept
 * @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
 *   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
 *   that is over must be given as; KAMACACHE_FOREVER: no limit
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK done
 * @retval KAMACACHE_TOO_LARGE the value is over the group's limit; the old value is gone
 * @retval KAMACACHE_UNAVAILABLE the owner cannot be reached, or members disagree about it;
 *   the message says whether the write may have been applied
 * @retval KAMACACHE_DEADLINE_EXCEEDED not in time; the write may have been applied
 * @retval KAMACACHE_UNKNOWN_GROUP the owner has no such group
 * @retval KAMACACHE_OVERLOADED too much is on its way to the owner
 * @retval KAMACACHE_INVALID_ARGUMENT NULL, or a bad key
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_WOULD_DEADLOCK called inside a callback that must not block
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread, also inside a getter; blocks up to timeout_ms.
 */
kamacache_status kamacache_group_set(struct kamacache_group *group,
                                     const char *key,
                                     size_t key_len,
                                     const void *data,
                                     size_t len,
                                     uint64_t ttl_ms,
                                     uint64_t timeout_ms,
                                     struct kamacache_error **err);

/**
 * Drops a key at its owner, together with every load of it that is under way; fine also
 * when the key is absent. After KAMACACHE_OK no get through this node sees the old value.
 *
 * @param group the group; it stays the caller's
 * @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
 * @param key_len its length in bytes, without a NUL
 * @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
 *   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
 *   that is over must be given as; KAMACACHE_FOREVER: no limit
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK done
 * @retval KAMACACHE_UNAVAILABLE the owner cannot be reached, or members disagree about it;
 *   the message says whether the write may have been applied
 * @retval KAMACACHE_DEADLINE_EXCEEDED not in time; the write may have been applied
 * @retval KAMACACHE_UNKNOWN_GROUP the owner has no such group
 * @retval KAMACACHE_OVERLOADED too much is on its way to the owner
 * @retval KAMACACHE_INVALID_ARGUMENT NULL, or a bad key
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_WOULD_DEADLOCK called inside a callback that must not block
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread, also inside a getter; blocks up to timeout_ms.
 */
kamacache_status kamacache_group_delete(struct kamacache_group *group,
                                        const char *key,
                                        size_t key_len,
                                        uint64_t timeout_ms,
                                        struct kamacache_error **err);

/**
 * Drops every entry of the group on every member, together with every load that is under
 * way.
 *
 * @param group the group; it stays the caller's
 * @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
 *   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
 *   that is over must be given as; KAMACACHE_FOREVER: no limit
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK done
 * @retval KAMACACHE_UNAVAILABLE the message names the members that did not acknowledge;
 *   they are told when they are reached again, before anything else
 * @retval KAMACACHE_INVALID_ARGUMENT group is NULL
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_WOULD_DEADLOCK called inside a callback that must not block
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread, also inside a getter; blocks up to timeout_ms.
 */
kamacache_status kamacache_group_clear(struct kamacache_group *group,
                                       uint64_t timeout_ms,
                                       struct kamacache_error **err);

/**
 * Writes the group's counters on this node; after the node is closed, the last ones.
 *
 * @param group the group; it stays the caller's
 * @param stats the caller's struct, its struct_size set; no byte past that is written, what
 *   this library does not know is zeroed, and struct_size becomes the size that was written;
 *   not NULL
 * @retval KAMACACHE_OK done
 * @retval KAMACACHE_INVALID_ARGUMENT NULL, or struct_size is under 8 or over 4,096
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread; never blocks.
 */
kamacache_status kamacache_group_stats(struct kamacache_group *group, struct kamacache_stats *stats);

/**
 * Writes how long one kind of operation took on this node, in nanoseconds; after the node
 * is closed, until then.
 *
 * @param group the group; it stays the caller's
 * @param which 0: hits, one in 1,024 of which is measured; 1: loads; 2: fetches from
 *   owners
 * @param latency the caller's struct, its struct_size set; no byte past that is written, what
 *   this library does not know is zeroed, and struct_size becomes the size that was written;
 *   not NULL
 * @retval KAMACACHE_OK done
 * @retval KAMACACHE_INVALID_ARGUMENT NULL, another which, or struct_size is under 8 or over
 *   4,096
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread; never blocks.
 */
kamacache_status kamacache_group_latency(struct kamacache_group *group,
                                         int32_t which,
                                         struct kamacache_latency *latency);

/**
 * Makes a queue: completions that wait for a thread of the program's own.
 *
 * @param out the queue, the caller's: free it with kamacache_queue_free; NULL when the
 *   call fails
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK done
 * @retval KAMACACHE_INVALID_ARGUMENT out is NULL
 * @retval KAMACACHE_INTERNAL no descriptor is to be had
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread; never blocks.
 */
kamacache_status kamacache_queue_new(struct kamacache_queue **out, struct kamacache_error **err);

/**
 * A descriptor that is readable while callbacks are ready: for poll, epoll, libuv and their
 * like, level-triggered and edge-triggered (EPOLLET): a dispatch that leaves callbacks
 * signals again. Only poll it.
 *
 * @param queue the queue; may be NULL
 * @return the descriptor, owned by the queue and closed with it; -1 for NULL
 * @par Threads
 * Any thread; never blocks.
 */
int kamacache_queue_fd(const struct kamacache_queue *queue);

/**
 * Runs up to max of the callbacks that are ready now, on this thread. It does not wait for
 * more.
 *
 * @param queue the queue; it stays the caller's; NULL does nothing
 * @param max the most to run: a share of the loop's time
 * @return how many it ran; 0 in a process that inherited the queue by fork
 * @par Threads
 * One thread at a time for a queue; takes as long as the callbacks, and else never blocks.
 */
size_t kamacache_queue_dispatch(struct kamacache_queue *queue, size_t max);

/**
 * Waits until callbacks are ready, and runs up to max of them on this thread: for threads
 * that have no event loop.
 *
 * @param queue the queue; it stays the caller's
 * @param max the most to run
 * @param timeout_ms how long to wait for the first one, in milliseconds;
 *   KAMACACHE_NO_WAIT or 0: not at all; KAMACACHE_FOREVER: no limit
 * @param ran NULL, or where the number of callbacks that were run goes
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK at least one callback was run, unless max is 0
 * @retval KAMACACHE_DEADLINE_EXCEEDED none was ready in time
 * @retval KAMACACHE_INVALID_ARGUMENT queue is NULL
 * @retval KAMACACHE_WOULD_DEADLOCK called inside a callback that must not block
 * @retval KAMACACHE_FORKED this process inherited the queue by fork
 * @retval KAMACACHE_PANICKED a fault of the library
 * @par Threads
 * One thread at a time for a queue, together with kamacache_queue_dispatch; blocks up to
 * timeout_ms, and as long as the callbacks.
 */
kamacache_status kamacache_queue_wait(struct kamacache_queue *queue,
                                      size_t max,
                                      uint64_t timeout_ms,
                                      size_t *ran,
                                      struct kamacache_error **err);

/**
 * How many callbacks are ready to be run by kamacache_queue_dispatch.
 *
 * @param queue the queue; it stays the caller's; may be NULL
 * @return the number at this moment; 0 for NULL, and in a process that inherited the queue
 *   by fork
 * @par Threads
 * Any thread; never blocks.
 */
size_t kamacache_queue_len(const struct kamacache_queue *queue);

/**
 * Frees a queue. Callbacks that were not delivered, of operations under way too, run now
 * with KAMACACHE_CANCELLED; none runs in a child that inherited the queue by fork. Loads of
 * a group whose getter_queue it is fail from now on.
 *
 * @param queue the queue, given up by the caller; NULL is fine
 * @par Threads
 * Not while another thread dispatches the queue; also inside a callback. Runs callbacks on
 * this thread, and else never blocks.
 */
void kamacache_queue_free(struct kamacache_queue *queue);

/**
 * As kamacache_group_get, without blocking. When the key must be loaded here, the getter
 * runs on a getter thread.
 *
 * @param group the group; it stays the caller's
 * @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
 * @param key_len its length in bytes, without a NUL
 * @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
 *   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
 *   that is over must be given as; KAMACACHE_FOREVER: no limit
 * @param callback called once if this call returns KAMACACHE_OK, never inside it, on the
 *   callback thread; else never; not NULL
 * @param user_data handed to the callback; the library does not look at it
 * @param op NULL, or where the operation's number goes, for kamacache_cancel: written
 *   before the callback can run; 0 when the call fails
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK the operation has begun; its result goes to the callback
 * @retval KAMACACHE_INVALID_ARGUMENT NULL, or a bad key
 * @retval KAMACACHE_REENTRANT_LOAD called inside a getter that is loading this very key
 * @retval KAMACACHE_OVERLOADED too many loads wait already
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread, also inside a callback; never blocks.
 */
kamacache_status kamacache_group_get_async(struct kamacache_group *group,
                                           const char *key,
                                           size_t key_len,
                                           uint64_t timeout_ms,
                                           kamacache_get_callback callback,
                                           void *user_data,
                                           uint64_t *op,
                                           struct kamacache_error **err);

/**
 * As kamacache_group_get_async, with the callback run by kamacache_queue_dispatch.
 *
 * @param group the group; it stays the caller's
 * @param queue where the callback waits to be run; it stays the caller's; not NULL
 * @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
 * @param key_len its length in bytes, without a NUL
 * @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
 *   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
 *   that is over must be given as; KAMACACHE_FOREVER: no limit
 * @param callback called once if this call returns KAMACACHE_OK, else never; not NULL
 * @param user_data handed to the callback; the library does not look at it
 * @param op NULL, or where the operation's number goes, for kamacache_cancel: written
 *   before the callback can run; 0 when the call fails
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK the operation has begun; its result goes to the callback
 * @retval KAMACACHE_INVALID_ARGUMENT NULL, or a bad key
 * @retval KAMACACHE_REENTRANT_LOAD called inside a getter that is loading this very key
 * @retval KAMACACHE_OVERLOADED too many loads wait already
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread, also inside a callback; never blocks.
 */
kamacache_status kamacache_group_get_queued(struct kamacache_group *group,
                                            struct kamacache_queue *queue,
                                            const char *key,
                                            size_t key_len,
                                            uint64_t timeout_ms,
                                            kamacache_get_callback callback,
                                            void *user_data,
                                            uint64_t *op,
                                            struct kamacache_error **err);

/**
 * As kamacache_group_set, without blocking.
 *
 * @param group the group; it stays the caller's
 * @param queue where the callback waits to be run; it stays the caller's; NULL: it runs on
 *   the callback thread
 * @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
 * @param key_len its length in bytes, without a NUL
 * @param data the value's bytes, copied before the call returns; may be NULL when len is 0
 * @param len how many bytes
 * @param ttl_ms lifetime of the value, in milliseconds; 0: the group's ttl_ms;
 *   KAMACACHE_FOREVER: it never expires; KAMACACHE_TTL_NO_STORE: it is not kept
 * @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
 *   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
 *   that is over must be given as; KAMACACHE_FOREVER: no limit
 * @param callback called once if this call returns KAMACACHE_OK, never inside it; else
 *   never; not NULL
 * @param user_data handed to the callback; the library does not look at it
 * @param op NULL, or where the operation's number goes, for kamacache_cancel: written
 *   before the callback can run; 0 when the call fails
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK the operation has begun; its result goes to the callback
 * @retval KAMACACHE_INVALID_ARGUMENT NULL, or a bad key
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread, also inside a callback; never blocks.
 */
kamacache_status kamacache_group_set_async(struct kamacache_group *group,
                                           struct kamacache_queue *queue,
                                           const char *key,
                                           size_t key_len,
                                           const void *data,
                                           size_t len,
                                           uint64_t ttl_ms,
                                           uint64_t timeout_ms,
                                           kamacache_done_callback callback,
                                           void *user_data,
                                           uint64_t *op,
                                           struct kamacache_error **err);

/**
 * As kamacache_group_delete, without blocking.
 *
 * @param group the group; it stays the caller's
 * @param queue where the callback waits to be run; it stays the caller's; NULL: it runs on
 *   the callback thread
 * @param key the key: UTF-8 of 1..4096 bytes, read during the call; it needs no NUL
 * @param key_len its length in bytes, without a NUL
 * @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
 *   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
 *   that is over must be given as; KAMACACHE_FOREVER: no limit
 * @param callback called once if this call returns KAMACACHE_OK, never inside it; else
 *   never; not NULL
 * @param user_data handed to the callback; the library does not look at it
 * @param op NULL, or where the operation's number goes, for kamacache_cancel: written
 *   before the callback can run; 0 when the call fails
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK the operation has begun; its result goes to the callback
 * @retval KAMACACHE_INVALID_ARGUMENT NULL, or a bad key
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread, also inside a callback; never blocks.
 */
kamacache_status kamacache_group_delete_async(struct kamacache_group *group,
                                              struct kamacache_queue *queue,
                                              const char *key,
                                              size_t key_len,
                                              uint64_t timeout_ms,
                                              kamacache_done_callback callback,
                                              void *user_data,
                                              uint64_t *op,
                                              struct kamacache_error **err);

/**
 * Ends an operation early: its callback still runs once, with KAMACACHE_CANCELLED unless
 * the result was decided before. A load goes on and fills the cache; a write may have been
 * applied.
 *
 * @param op the number that the call gave
 * @retval KAMACACHE_OK the operation was still under way
 * @retval KAMACACHE_NOT_FOUND it has ended, or never was
 * @retval KAMACACHE_FORKED this process inherited the operation by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread, also inside a callback; never blocks.
 */
kamacache_status kamacache_cancel(uint64_t op);

/**
 * Gets n keys. What must be loaded here is loaded together: by one call of the batch
 * getter, or by the getter, one key on this thread and the others on the getter threads.
 *
 * @param group the group; it stays the caller's
 * @param keys n keys, each as in kamacache_group_get; may be NULL when n is 0
 * @param n how many
 * @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
 *   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
 *   that is over must be given as; KAMACACHE_FOREVER: no limit
 * @param out n results: keys[i] ends in out[i] with a status of its own; give them to
 *   kamacache_results_clear; may be NULL when n is 0
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK every key has its result, good or bad
 * @retval KAMACACHE_INVALID_ARGUMENT NULL; as after every error, each result then has the
 *   call's status, no value and no error
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_WOULD_DEADLOCK called inside a callback that must not block
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread, also inside a getter; blocks up to timeout_ms, and as long as a getter that
 * runs on this thread.
 */
kamacache_status kamacache_group_get_many(struct kamacache_group *group,
                                          const struct kamacache_slice *keys,
                                          size_t n,
                                          uint64_t timeout_ms,
                                          struct kamacache_result *out,
                                          struct kamacache_error **err);

/**
 * Sets n different keys at the same time.
 *
 * @param group the group; it stays the caller's
 * @param keys n keys, each as in kamacache_group_set; may be NULL when n is 0
 * @param values n values, copied: values[i] is for keys[i]; may be NULL when n is 0
 * @param n how many
 * @param ttl_ms lifetime of the value, in milliseconds; 0: the group's ttl_ms;
 *   KAMACACHE_FOREVER: it never expires; KAMACACHE_TTL_NO_STORE: it is not kept
 * @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
 *   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all, which is what a time
 *   that is over must be given as; KAMACACHE_FOREVER: no limit
 * @param out n results: the outcome for keys[i] is in out[i]; give them to
 *   kamacache_results_clear; may be NULL when n is 0
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK every key has its result, good or bad
 * @retval KAMACACHE_INVALID_ARGUMENT NULL; as after every error, each result then has the
 *   call's status and no error
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_WOULD_DEADLOCK called inside a callback that must not block
 * @retval KAMACACHE_FORKED this process inherited the node by fork
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread, also inside a getter; blocks up to timeout_ms.
 */
kamacache_status kamacache_group_set_many(struct kamacache_group *group,
                                          const struct kamacache_slice *keys,
                                          const struct kamacache_slice *values,
                                          size_t n,
                                          uint64_t ttl_ms,
                                          uint64_t timeout_ms,
                                          struct kamacache_result *out,
                                          struct kamacache_error **err);

/**
 * Releases the values and frees the errors of n results, and sets them to zero.
 *
 * @param results the results; their values and errors are given up by the caller; NULL is
 *   fine
 * @param n how many
 * @par Threads
 * Any thread; never blocks.
 */
void kamacache_results_clear(struct kamacache_result *results, size_t n);

/**
 * As kamacache_group_get_many, without blocking; getters run on getter threads, or where the
 * group's getter_queue is dispatched.
 *
 * @param group the group; it stays the caller's
 * @param queue where the callback waits to be run; it stays the caller's; NULL: it runs on
 *   the callback thread
 * @param keys n keys, each as in kamacache_group_get; copied; may be NULL when n is 0
 * @param n how many
 * @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
 *   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all; KAMACACHE_FOREVER: no
 *   limit
 * @param callback called once if this call returns KAMACACHE_OK, never inside it; else
 *   never; not NULL
 * @param user_data handed to the callback; the library does not look at it
 * @param op NULL, or where the operation's number goes, for kamacache_cancel: written
 *   before the callback can run; 0 when the call fails
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK the operation has begun; its results go to the callback
 * @retval KAMACACHE_INVALID_ARGUMENT NULL
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_INTERNAL the callback thread cannot be started
 * @retval KAMACACHE_FORKED this process inherited the node or the queue by fork
 * @retval KAMACACHE_PANICKED a fault of the library
 * @par Threads
 * Any thread, also inside a callback; never blocks.
 */
kamacache_status kamacache_group_get_many_async(struct kamacache_group *group,
                                                struct kamacache_queue *queue,
                                                const struct kamacache_slice *keys,
                                                size_t n,
                                                uint64_t timeout_ms,
                                                kamacache_many_callback callback,
                                                void *user_data,
                                                uint64_t *op,
                                                struct kamacache_error **err);

/**
 * As kamacache_group_set_many, without blocking.
 *
 * @param group the group; it stays the caller's
 * @param queue where the callback waits to be run; it stays the caller's; NULL: it runs on
 *   the callback thread
 * @param keys n keys, each as in kamacache_group_set; copied; may be NULL when n is 0
 * @param values n values, copied: values[i] is for keys[i]; may be NULL when n is 0
 * @param n how many
 * @param ttl_ms lifetime of the values, in milliseconds; 0: the group's ttl_ms;
 *   KAMACACHE_FOREVER: they never expire; KAMACACHE_TTL_NO_STORE: they are not kept
 * @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
 *   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all; KAMACACHE_FOREVER: no
 *   limit
 * @param callback called once if this call returns KAMACACHE_OK, never inside it; else
 *   never; not NULL
 * @param user_data handed to the callback; the library does not look at it
 * @param op NULL, or where the operation's number goes, for kamacache_cancel: written
 *   before the callback can run; 0 when the call fails
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK the operation has begun; its results go to the callback
 * @retval KAMACACHE_INVALID_ARGUMENT NULL
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_INTERNAL the callback thread cannot be started
 * @retval KAMACACHE_FORKED this process inherited the node or the queue by fork
 * @retval KAMACACHE_PANICKED a fault of the library
 * @par Threads
 * Any thread, also inside a callback; never blocks.
 */
kamacache_status kamacache_group_set_many_async(struct kamacache_group *group,
                                                struct kamacache_queue *queue,
                                                const struct kamacache_slice *keys,
                                                const struct kamacache_slice *values,
                                                size_t n,
                                                uint64_t ttl_ms,
                                                uint64_t timeout_ms,
                                                kamacache_many_callback callback,
                                                void *user_data,
                                                uint64_t *op,
                                                struct kamacache_error **err);

/**
 * As kamacache_group_clear, without blocking.
 *
 * @param group the group; it stays the caller's
 * @param queue where the callback waits to be run; it stays the caller's; NULL: it runs on
 *   the callback thread
 * @param timeout_ms how long to wait at most, in milliseconds; KAMACACHE_DEFAULT_TIMEOUT
 *   (0): the node's default_timeout_ms; KAMACACHE_NO_WAIT: not at all; KAMACACHE_FOREVER: no
 *   limit
 * @param callback called once if this call returns KAMACACHE_OK, never inside it; else
 *   never; not NULL
 * @param user_data handed to the callback; the library does not look at it
 * @param op NULL, or where the operation's number goes, for kamacache_cancel: written
 *   before the callback can run; 0 when the call fails
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK the operation has begun; its result goes to the callback
 * @retval KAMACACHE_INVALID_ARGUMENT NULL
 * @retval KAMACACHE_CLOSED the node is closed, or was closed meanwhile
 * @retval KAMACACHE_INTERNAL the callback thread cannot be started
 * @retval KAMACACHE_FORKED this process inherited the node or the queue by fork
 * @retval KAMACACHE_PANICKED a fault of the library
 * @par Threads
 * Any thread, also inside a callback; never blocks.
 */
kamacache_status kamacache_group_clear_async(struct kamacache_group *group,
                                             struct kamacache_queue *queue,
                                             uint64_t timeout_ms,
                                             kamacache_done_callback callback,
                                             void *user_data,
                                             uint64_t *op,
                                             struct kamacache_error **err);

/**
 * As kamacache_node_close, without blocking: it waits on a thread of its own.
 *
 * @param node the node; it stays the caller's, and may be freed inside the callback
 * @param queue where the callback waits to be run; it stays the caller's; NULL: it runs on
 *   the thread that waits
 * @param drain_ms how long to wait for getters that run, in milliseconds; 0: not at all;
 *   KAMACACHE_FOREVER: no limit
 * @param callback called once if this call returns KAMACACHE_OK, never inside it; else
 *   never; not NULL
 * @param user_data handed to the callback; the library does not look at it
 * @param err NULL, or where the error goes; it is the caller's to free, and NULL after
 *   KAMACACHE_OK
 * @retval KAMACACHE_OK the close has begun; its result goes to the callback
 * @retval KAMACACHE_INVALID_ARGUMENT node or callback is NULL
 * @retval KAMACACHE_CLOSED the queue was freed
 * @retval KAMACACHE_INTERNAL no thread is to be had
 * @retval KAMACACHE_FORKED this process inherited the node or the queue by fork
 * @retval KAMACACHE_PANICKED a fault of the library
 * @par Threads
 * Any thread, also inside a callback; never blocks.
 */
kamacache_status kamacache_node_close_async(struct kamacache_node *node,
                                            struct kamacache_queue *queue,
                                            uint64_t drain_ms,
                                            kamacache_done_callback callback,
                                            void *user_data,
                                            struct kamacache_error **err);

/**
 * Sends the library's messages to a function, for the whole process. Without one, which is
 * how it starts, nothing is written anywhere.
 *
 * @param max_level KAMACACHE_LOG_*: less important messages are not sent
 * @param log_fn takes the messages; NULL turns them off
 * @param user_data handed to log_fn; the library's from now on, on every status
 * @param free_fn called once with user_data, when log_fn has been replaced and its last
 *   call has returned; NULL: nothing to free
 * @retval KAMACACHE_OK done
 * @retval KAMACACHE_INVALID_ARGUMENT there is no such level
 * @retval KAMACACHE_INTERNAL no thread is to be had
 * @retval KAMACACHE_PANICKED a fault of the library; please report it
 * @par Threads
 * Any thread; never blocks.
 */
kamacache_status kamacache_set_logger(int32_t max_level,
                                      kamacache_log_fn log_fn,
                                      void *user_data,
                                      kamacache_free_fn free_fn);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KAMACACHE_H */
