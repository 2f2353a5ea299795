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
 * Structs go by pointer and start with struct_size. The library reads the smaller
 * of that and the size it knows, takes the rest for zero, and refuses a larger
 * struct whose unknown part is not zero. So either side may be the newer one.
 *
 * Keys are UTF-8 of 1..4096 bytes, by pointer and length, and need no NUL.
 * Times are milliseconds.
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
 * dispatches a queue at a time; everything else may be called from any thread.
 *
 * Callbacks must not let a C++ exception or a longjmp out. kamacache_node_close
 * inside any callback is KAMACACHE_WOULD_DEADLOCK, and so is every blocking call
 * inside a callback other than a getter.
 *
 * Free order. Close the node, then free values, groups and node in any order; a
 * call after close returns KAMACACHE_CLOSED. A close that returned KAMACACHE_OK has
 * run every free_user_data; after KAMACACHE_DEADLINE_EXCEEDED it runs after the last
 * callback. kamacache_node_free without close is close with drain 0. Freeing the
 * last reference inside a callback is safe.
 *
 * Panics never cross: KAMACACHE_PANICKED. Fork: open nodes after forking; a child
 * that inherited one gets KAMACACHE_FORKED from every call. Signals: no handler is
 * installed and no signal is taken by the library's threads. Unload: the library
 * stays loaded; process exit without close is safe.
 */

#ifndef KAMACACHE_H
#define KAMACACHE_H

#include <stddef.h>
#include <stdint.h>

/** The version of this header; the library's own is kamacache_version(). */
#define KAMACACHE_VERSION_MAJOR 0
#define KAMACACHE_VERSION_MINOR 1
#define KAMACACHE_VERSION_PATCH 0

/** Sets up a kamacache_node_options: all defaults. */
#define kamacache_node_options_init(o) kamacache_node_options_init_sized((o), sizeof *(o))
/** Sets up a kamacache_group_options: all defaults; then set max_bytes, which has none. */
#define kamacache_group_options_init(o) kamacache_group_options_init_sized((o), sizeof *(o))


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

/** Frees what user_data points to. Called once; it must not block on this library. */
typedef void (*kamacache_free_fn)(void *user_data);

/**
 * How to open a node. Set it up with kamacache_node_options_init, then set
 * what should differ; zero and NULL mean the default. Everything is copied.
 */
typedef struct kamacache_node_options {
  /** Set by kamacache_node_options_init. */
  uint32_t struct_size;
  /** None defined: 0. */
  uint32_t flags;
  /**
   * "127.0.0.1:8001", port 0, or a range "127.0.0.1:8001-8003" (the first free port); NULL: a
   * single instance without network.
   */
  const char *listen;
  /** What peers dial; NULL: the bound address. */
  const char *advertise;
  /**
   * The members, this node included; ranges are accepted. None: a ring of one until
   * kamacache_node_set_peers.
   */
  const char *const *peers;
  /** How many texts peers holds. */
  size_t peers_len;
  /** Where members are found, as a URL; overrides peers. NULL: nowhere. */
  const char *discovery;
  /** Where the admin HTTP listens; NULL: off. */
  const char *admin_listen;
  /** File of the CA that peers are checked against, PEM. Set all three or none. */
  const char *tls_ca;
  /** File of this node's certificate, PEM. */
  const char *tls_cert;
  /** File of this node's key, PEM. */
  const char *tls_key;
  /** A secret shared by all members; NULL: none. */
  const char *cluster_token;
  /** Network threads; 0: one. */
  uint32_t io_threads;
  /** The most getters that run at a time for loads that peers ask for; 0: the default. */
  uint32_t getter_threads;
  /** Members of different clusters refuse each other; NULL: "default". */
  const char *cluster;
  /** The name every peer certificate must carry; NULL: the address that is dialled. */
  const char *tls_name;
  /** Of a call whose timeout_ms is 0. Default 5,000. */
  uint64_t default_timeout_ms;
  /** To reach a peer. Default 1,000. */
  uint64_t connect_timeout_ms;
  /** Between two pings of a link. Default 500. */
  uint64_t heartbeat_ms;
  /** Of silence until a peer is suspect. Default 1,000. */
  uint64_t suspect_after_ms;
  /** Between two probes of a suspect peer. Default 1,000. */
  uint64_t probe_interval_ms;
  /** A member may be missing from discovery this long. Default 10,000. */
  uint64_t remove_grace_ms;
  /** After a change of members, how long values are taken over. Default 30,000. */
  uint64_t warm_window_ms;
} kamacache_node_options;

/** What a getter is told about the load; borrowed for the call. */
typedef struct kamacache_load_info {
  /** Size of this struct in the library. */
  uint32_t struct_size;
  /** None defined: 0. */
  uint32_t flags;
  /** The group's name, NUL-terminated. */
  const char *group;
  /** The key: UTF-8, and also NUL-terminated. */
  const char *key;
  /** The key's length in bytes, without the NUL. */
  size_t key_len;
  /** Time left for the load, or KAMACACHE_FOREVER. */
  uint64_t timeout_ms;
} kamacache_load_info;

/**
 * Loads one missing key. It answers exactly once, by one of the
 * kamacache_load_ functions, inside the call or later from any thread. It may
 * be called from several threads at once; it may make blocking calls on other
 * keys; it must not let an exception escape.
 */
typedef void (*kamacache_getter)(void *user_data,
                                 const struct kamacache_load_info *info,
                                 struct kamacache_load *load);

/**
 * Loads n missing keys at once, n at least 1: infos[i] says what loads[i] asks
 * for. It answers each load exactly once, as a kamacache_getter does.
 */
typedef void (*kamacache_batch_getter)(void *user_data,
                                       const struct kamacache_load_info *const *infos,
                                       struct kamacache_load *const *loads,
                                       size_t n);

/**
 * Told of an entry that has left this node's memory, and why:
 * KAMACACHE_EVICT_*. key (also NUL-terminated) and value are borrowed for the
 * call; retain the value to keep it. It runs on the callback thread, in the
 * order of the evictions; it must not block on this library.
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
  /** Set by kamacache_group_options_init. */
  uint32_t struct_size;
  /** KAMACACHE_GROUP_* added up. */
  uint32_t flags;
  /** The memory budget, all overheads included: required, at least 65,536. */
  uint64_t max_bytes;
  /** Lifetime of a value. Default: KAMACACHE_FOREVER. */
  uint64_t ttl_ms;
  /** How long a "not found" is kept. Default: not at all. */
  uint64_t negative_ttl_ms;
  /** Lifetime of a copy of a value that another node owns. Default 10,000. */
  uint64_t hot_ttl_ms;
  /** For this long after its ttl a value is served while one load refreshes it. Default: off. */
  uint64_t stale_while_revalidate_ms;
  /** How long a getter may take until the next one may start. Default 30,000. */
  uint64_t load_timeout_ms;
  /** The most getters of this group that run at a time on this node. */
  uint32_t max_concurrent_loads;
  /** KAMACACHE_POLICY_*. */
  uint32_t policy;
  /** Loads a missing key; NULL: a miss is KAMACACHE_NOT_FOUND. */
  kamacache_getter getter;
  /** Handed to every callback of the group. */
  void *user_data;
  /**
   * Frees user_data: called exactly once, after the last callback, also when opening fails; NULL: nothing to free.
   */
  kamacache_free_fn free_user_data;
  /** The largest value. Default 16 MiB. */
  uint64_t max_value_bytes;
  /** Lifetime of a value loaded here because its owner was unreachable. Default 2,000. */
  uint64_t fallback_ttl_ms;
  /** For this long after its ttl a value is served when its refresh fails. Default: off. */
  uint64_t stale_if_error_ms;
  /**
   * Loads several missing keys at once; where a single one is missing and getter is set, that
   * one is called. NULL: none.
   */
  kamacache_batch_getter batch_getter;
  /** Told of every entry that leaves this node's memory; NULL: nobody. */
  kamacache_evict_fn on_evict;
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
 * Ends a get. value (when the status is OK) and error (when it is not) are the
 * callee's to release and free. It must not block on this library.
 */
typedef void (*kamacache_get_callback)(void *user_data,
                                       kamacache_status status,
                                       struct kamacache_value *value,
                                       struct kamacache_error *error);

/**
 * Ends a set or delete. error (when the status is not OK) is the callee's to
 * free. It must not block on this library.
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
 * Takes one message; target says which part of the library it is from. Both
 * texts are UTF-8, NUL-terminated and borrowed for the call. It runs on a thread
 * of the library's; it must not block on this library.
 */
typedef void (*kamacache_log_fn)(void *user_data, int32_t level, const char *target, const char *message);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The status of an error, the same that the call returned; KAMACACHE_OK for
 * NULL, which is no error. Any thread; never blocks.
 */
kamacache_status kamacache_error_code(const struct kamacache_error *error);

/**
 * What went wrong, with the value, the rule and the way out: UTF-8,
 * NUL-terminated, valid until the error is freed; "" for NULL. Any thread.
 */
const char *kamacache_error_message(const struct kamacache_error *error);

/**
 * The code a getter gave to kamacache_load_fail, whichever node it ran on; 0
 * when there is none, and for NULL. Any thread.
 */
int64_t kamacache_error_app_code(const struct kamacache_error *error);

/** Frees an error. NULL is fine. Any thread; never blocks. */
void kamacache_error_free(struct kamacache_error *error);

/**
 * The name of a status, "NOT_FOUND" for KAMACACHE_NOT_FOUND; "UNKNOWN" for a
 * number that is none. Never NULL, never freed. Any thread.
 */
const char *kamacache_status_name(kamacache_status status);

/**
 * The version of the library in use, "0.1.0"; compare it with the header's
 * KAMACACHE_VERSION_MAJOR, _MINOR and _PATCH. Never NULL, never freed. Any thread.
 */
const char *kamacache_version(void);

/**
 * The bytes of a value: valid until its last release, never NULL for a value,
 * also when it is empty. NULL for NULL. Any thread; never blocks.
 */
const uint8_t *kamacache_value_data(const struct kamacache_value *value);

/** The length of a value in bytes; 0 for NULL. Any thread; never blocks. */
size_t kamacache_value_len(const struct kamacache_value *value);

/**
 * Takes one more count of a value and returns the same pointer; each count
 * needs its own kamacache_value_release. NULL gives NULL. Any thread; never blocks.
 */
struct kamacache_value *kamacache_value_retain(struct kamacache_value *value);

/**
 * Gives one count of a value back; the last one frees it. NULL is fine. Any
 * thread; never blocks, unless the value was handed in by
 * kamacache_load_complete_owned: then the last count runs its free function.
 */
void kamacache_value_release(struct kamacache_value *value);

/**
 * Answers a load with a value, which is copied. data may be NULL when len is 0.
 * ttl_ms: 0 is the group's, else KAMACACHE_FOREVER, KAMACACHE_TTL_NO_STORE or
 * milliseconds. Any thread; never blocks. CANCELLED: the load was answered
 * before, timed out, or its node is closed; INVALID_ARGUMENT: NULL, or not a token.
 */
kamacache_status kamacache_load_complete(struct kamacache_load *load,
                                         const void *data,
                                         size_t len,
                                         uint64_t ttl_ms);

/**
 * As kamacache_load_complete, without a copy: the library takes the bytes over,
 * on every status, and calls free_fn(user_data) once, when nobody needs them
 * any more, from any thread. free_fn may be NULL for bytes that live forever.
 */
kamacache_status kamacache_load_complete_owned(struct kamacache_load *load,
                                               const void *data,
                                               size_t len,
                                               kamacache_free_fn free_fn,
                                               void *user_data,
                                               uint64_t ttl_ms);

/**
 * Answers a load: the data source has no such key. Any thread; never blocks.
 * Statuses as kamacache_load_complete.
 */
kamacache_status kamacache_load_not_found(struct kamacache_load *load);

/**
 * Answers a load: it failed. Everybody who waits gets GETTER_FAILED with this
 * code and message (UTF-8, copied, cut at 4 KiB; NULL: none), on every node.
 * Any thread; never blocks. Statuses as kamacache_load_complete.
 */
kamacache_status kamacache_load_fail(struct kamacache_load *load, int64_t app_code, const char *message);

/**
 * 1 when nobody wants the answer any more (answered, timed out, closed, NULL or
 * not a token), else 0: a long getter may look now and then. Any thread; never blocks.
 */
int kamacache_load_is_cancelled(const struct kamacache_load *load);

/**
 * Sets up node options of `size` bytes: all defaults. Use the macro
 * kamacache_node_options_init. NULL, or a size under 8, does nothing.
 */
void kamacache_node_options_init_sized(struct kamacache_node_options *options, size_t size);

/**
 * Sets up group options of `size` bytes: all defaults; max_bytes has none and
 * must be set. Use the macro kamacache_group_options_init. NULL, or a size
 * under 8, does nothing.
 */
void kamacache_group_options_init_sized(struct kamacache_group_options *options, size_t size);

/**
 * Opens a node and starts serving. The node is the caller's: close it, then
 * free it. Blocks until it listens. Errors: INVALID_ARGUMENT names the option
 * and its rule, UNAVAILABLE the address that is taken.
 */
kamacache_status kamacache_node_open(const struct kamacache_node_options *options,
                                     struct kamacache_node **out,
                                     struct kamacache_error **err);

/**
 * Replaces the member list, this node included. Any thread; never blocks.
 * Errors: INVALID_ARGUMENT names the address; the old list stays.
 */
kamacache_status kamacache_node_set_peers(struct kamacache_node *node,
                                          const char *const *peers,
                                          size_t n,
                                          struct kamacache_error **err);

/**
 * Writes the members' addresses, sorted, one a line, with a final NUL. *len is
 * the text's length without the NUL; a short buffer is TOO_LARGE, with *len set
 * (buf may be NULL when cap is 0). Any thread; never blocks.
 */
kamacache_status kamacache_node_members(struct kamacache_node *node,
                                        char *buf,
                                        size_t cap,
                                        size_t *len,
                                        struct kamacache_error **err);

/**
 * Writes the address of the member that owns the key, as kamacache_node_members
 * writes its text; "" without a network. Any thread; never blocks.
 */
kamacache_status kamacache_node_owner(struct kamacache_node *node,
                                      const char *key,
                                      size_t key_len,
                                      char *buf,
                                      size_t cap,
                                      size_t *len);

/**
 * Writes the address that peers dial, with the real port, as
 * kamacache_node_members writes its text; "" without a network. Any thread;
 * never blocks.
 */
kamacache_status kamacache_node_address(struct kamacache_node *node, char *buf, size_t cap, size_t *len);

/**
 * Leaves the cluster, waits up to drain_ms for getters that run, and ends the
 * node; calls on it and on its groups return CLOSED from now on. After OK no
 * callback runs any more and all user data is freed. DEADLINE_EXCEEDED: a
 * getter still runs; its user data is freed when it returns. WOULD_DEADLOCK
 * inside a callback. A second close is OK.
 */
kamacache_status kamacache_node_close(struct kamacache_node *node,
                                      uint64_t drain_ms,
                                      struct kamacache_error **err);

/**
 * Frees a node's handle; a node that is not closed is closed with drain 0.
 * Groups and values may be freed before or after. NULL is fine. Any thread, also
 * inside a callback.
 */
void kamacache_node_free(struct kamacache_node *node);

/**
 * Opens a group; the library takes user_data over, on every status. The handle
 * is the caller's; the group lives until its node is closed. Never blocks.
 * Errors: INVALID_ARGUMENT names the option and its rule, ALREADY_EXISTS the name.
 */
kamacache_status kamacache_group_open(struct kamacache_node *node,
                                      const char *name,
                                      const struct kamacache_group_options *options,
                                      struct kamacache_group **out,
                                      struct kamacache_error **err);

/**
 * A further handle to a group that is open. Free it like the first. Any
 * thread; never blocks. UNKNOWN_GROUP names the group.
 */
kamacache_status kamacache_node_group(struct kamacache_node *node,
                                      const char *name,
                                      struct kamacache_group **out,
                                      struct kamacache_error **err);

/**
 * Frees a handle to a group; the group lives until its node is closed. NULL is
 * fine. Any thread, also inside a callback.
 */
void kamacache_group_free(struct kamacache_group *group);

/**
 * The value of a key: from memory, from its owner, or by the getter. *out is
 * the caller's to release. Blocks up to timeout_ms (0: the node's default); when
 * this call is the one that loads the key, the getter runs on this thread and
 * timeout_ms does not cut it short. Errors: NOT_FOUND, GETTER_FAILED,
 * DEADLINE_EXCEEDED (the load goes on), REENTRANT_LOAD, UNAVAILABLE,
 * OVERLOADED, CLOSED, WOULD_DEADLOCK, INVALID_ARGUMENT for a bad key.
 */
kamacache_status kamacache_group_get(struct kamacache_group *group,
                                     const char *key,
                                     size_t key_len,
                                     uint64_t timeout_ms,
                                     struct kamacache_value **out,
                                     struct kamacache_error **err);

/**
 * The value of a key if it is in this node's memory, else NOT_FOUND. *out is
 * the caller's to release. Any thread; never blocks and never loads.
 */
kamacache_status kamacache_group_peek(struct kamacache_group *group,
                                      const char *key,
                                      size_t key_len,
                                      struct kamacache_value **out);

/**
 * Copies the value of a key into buf if it is in this node's memory, else
 * NOT_FOUND. *len is the value's length; when it is over cap, TOO_LARGE, and
 * buf is left as it is (buf may be NULL when cap is 0). The fastest read. Any
 * thread; never blocks and never loads.
 */
kamacache_status kamacache_group_peek_into(struct kamacache_group *group,
                                           const char *key,
                                           size_t key_len,
                                           void *buf,
                                           size_t cap,
                                           size_t *len);

/**
 * Stores a value at the key's owner; data is copied and may be NULL when len is
 * 0. ttl_ms: 0 is the group's, else KAMACACHE_FOREVER or milliseconds. Blocks
 * up to timeout_ms (0: the node's default). After OK no get through this node
 * sees an older value. Errors: TOO_LARGE (the old value is gone), UNAVAILABLE
 * or DEADLINE_EXCEEDED say whether it may have been applied, UNKNOWN_GROUP,
 * CLOSED, WOULD_DEADLOCK, INVALID_ARGUMENT.
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
 * Drops a key at its owner, together with every load of it that is under way;
 * OK also when the key is absent. Blocks up to timeout_ms (0: the node's
 * default). Errors as kamacache_group_set.
 */
kamacache_status kamacache_group_delete(struct kamacache_group *group,
                                        const char *key,
                                        size_t key_len,
                                        uint64_t timeout_ms,
                                        struct kamacache_error **err);

/**
 * Drops every entry of the group on every member, together with every load that
 * is under way. Blocks up to timeout_ms (0: the node's default). UNAVAILABLE
 * names the members that did not acknowledge; they are told when they are
 * reached again, before anything else. CLOSED, WOULD_DEADLOCK.
 */
kamacache_status kamacache_group_clear(struct kamacache_group *group,
                                       uint64_t timeout_ms,
                                       struct kamacache_error **err);

/**
 * Writes the group's counters, as many as stats->struct_size has room for. Any
 * thread; never blocks.
 */
kamacache_status kamacache_group_stats(struct kamacache_group *group, struct kamacache_stats *stats);

/**
 * Writes how long hits (which 0, one in 1,024 measured), loads (1) or fetches (2)
 * took, as much as latency->struct_size has room for. Any thread; never blocks.
 */
kamacache_status kamacache_group_latency(struct kamacache_group *group,
                                         int32_t which,
                                         struct kamacache_latency *latency);

/** Makes a queue; it is the caller's to free. Any thread; never blocks. */
kamacache_status kamacache_queue_new(struct kamacache_queue **out, struct kamacache_error **err);

/**
 * A descriptor that is readable while completions are ready: for poll, epoll,
 * libuv or asyncio. Only poll it; the queue owns it. -1 for NULL. Any thread.
 */
int kamacache_queue_fd(const struct kamacache_queue *queue);

/**
 * Runs up to max of the callbacks that are ready now, on this thread, and
 * returns how many it ran; 0 for NULL. Does not wait for more. One thread at a
 * time for a queue.
 */
size_t kamacache_queue_dispatch(struct kamacache_queue *queue, size_t max);

/**
 * Frees a queue. Callbacks that were not delivered, of operations under way
 * too, run now, on this thread, with CANCELLED. NULL is fine. Also inside a
 * callback.
 */
void kamacache_queue_free(struct kamacache_queue *queue);

/**
 * As kamacache_group_get, without blocking: the callback runs once, on the
 * library's callback thread, never inside this call. When the key must be
 * loaded here, the getter runs on a getter thread. *op (op may be NULL) is
 * written before the callback can run; it is for kamacache_cancel. Any thread.
 * Errors, without a callback: INVALID_ARGUMENT, REENTRANT_LOAD, CLOSED.
 */
kamacache_status kamacache_group_get_async(struct kamacache_group *group,
                                           const char *key,
                                           size_t key_len,
                                           uint64_t timeout_ms,
                                           kamacache_get_callback callback,
                                           void *user_data,
                                           uint64_t *op,
                                           struct kamacache_error **err);

/** As kamacache_group_get_async; the callback runs in kamacache_queue_dispatch. */
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
 * As kamacache_group_set, without blocking: data is copied before the call
 * returns, and the callback runs once, in kamacache_queue_dispatch, or on the
 * library's callback thread when queue is NULL. Any thread.
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

/** As kamacache_group_delete, without blocking; else as kamacache_group_set_async. */
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
 * Ends an operation early: its callback still runs once, with CANCELLED unless
 * the result was decided before. A load goes on and fills the cache; a write
 * may have been applied. NOT_FOUND when the operation has ended or never was.
 * Any thread; never blocks.
 */
kamacache_status kamacache_cancel(uint64_t op);

/**
 * Gets n keys: keys[i] ends in out[i], with a status of its own, and the whole
 * is OK. What must be loaded here is loaded together: by one call of the batch
 * getter, or by the getter, one key on this thread and the others on the getter
 * threads. Blocks up to timeout_ms (0: the node's default). Give out to
 * kamacache_results_clear. Errors of the whole: INVALID_ARGUMENT, CLOSED,
 * WOULD_DEADLOCK; then out holds no values.
 */
kamacache_status kamacache_group_get_many(struct kamacache_group *group,
                                          const struct kamacache_slice *keys,
                                          size_t n,
                                          uint64_t timeout_ms,
                                          struct kamacache_result *out,
                                          struct kamacache_error **err);

/**
 * Sets n different keys at the same time: keys[i] to values[i], with the outcome
 * in out[i]; the whole is OK. Else as kamacache_group_set and
 * kamacache_group_get_many.
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
 * Releases the values and frees the errors of n results, and clears them. NULL
 * is fine. Any thread; never blocks.
 */
void kamacache_results_clear(struct kamacache_result *results, size_t n);

/**
 * Sends messages up to max_level (KAMACACHE_LOG_*) to log_fn, for the whole
 * process; NULL turns them off, which is how it starts. user_data is the
 * library's on every status: free_fn (NULL: nothing to free) is called once, when
 * log_fn has been replaced and its last call has returned. Any thread; never
 * blocks. INVALID_ARGUMENT for another level.
 */
kamacache_status kamacache_set_logger(int32_t max_level,
                                      kamacache_log_fn log_fn,
                                      void *user_data,
                                      kamacache_free_fn free_fn);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KAMACACHE_H */
