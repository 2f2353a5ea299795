/*
 * kamacache.hpp: the C++17 wrapper of kamacache.h, header-only.
 *
 *   kamacache::Node node = kamacache::Node::open();
 *   kamacache::GroupOptions options{64 << 20};
 *   options.getter = [](const kamacache::LoadInfo &info, kamacache::Load load) {
 *     load.complete(read_from_database(info.key));
 *   };
 *   kamacache::Group scores = node.open_group("scores", options);
 *   std::string_view score = scores.get("Tom");        // alive as long as the Value
 *
 * Every handle frees itself; all are movable, Value is also copyable. Each call
 * comes twice: try_get returns a Result, get returns the value or throws an
 * Error. Without exceptions (-fno-exceptions) only the former are there.
 *
 * Threads, blocking, and what is allowed inside a callback are as kamacache.h
 * says. Callbacks catch every exception: a getter's becomes its load's failure,
 * with what(); others are dropped. The library's symbols are C's: this header may
 * be newer or older than the library.
 */
#ifndef KAMACACHE_HPP
#define KAMACACHE_HPP

#include <kamacache.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
#define KAMACACHE_EXCEPTIONS 1
#else
#define KAMACACHE_EXCEPTIONS 0
#endif

#if defined(__has_include)
#if __has_include(<version>)
#include <version>
#endif
#endif
#if defined(__cpp_lib_span)
#include <span>
#endif
#if defined(__cpp_impl_coroutine) && defined(__cpp_lib_coroutine)
#include <coroutine>
#define KAMACACHE_COROUTINES 1
#else
#define KAMACACHE_COROUTINES 0
#endif

namespace kamacache {

using Milliseconds = std::chrono::milliseconds;

/* A time to live. */
class Ttl {
 public:
  constexpr Ttl() = default; /* the group's */
  constexpr Ttl(Milliseconds ms) : ms_(ms.count() <= 0 ? 1 : static_cast<std::uint64_t>(ms.count())) {}
  static constexpr Ttl forever() { return Ttl(KAMACACHE_FOREVER); }
  static constexpr Ttl no_store() { return Ttl(KAMACACHE_TTL_NO_STORE); } /* answer the waiters, keep nothing */
  constexpr std::uint64_t ms() const { return ms_; }

 private:
  constexpr explicit Ttl(std::uint64_t ms) : ms_(ms) {}
  std::uint64_t ms_ = 0;
};

/* How long a call may take: the node's default when not given. */
class Timeout {
 public:
  constexpr Timeout() = default;
  constexpr Timeout(Milliseconds ms) : ms_(ms.count() <= 0 ? 1 : static_cast<std::uint64_t>(ms.count())) {}
  static constexpr Timeout forever() { return Timeout(KAMACACHE_FOREVER); }
  constexpr std::uint64_t ms() const { return ms_; }

 private:
  constexpr explicit Timeout(std::uint64_t ms) : ms_(ms) {}
  std::uint64_t ms_ = 0;
};

/* ---- errors and results ---- */

/* Why a call failed; also what the throwing calls throw. */
class Error : public std::exception {
 public:
  Error(kamacache_status status, std::string message, std::int64_t app_code = 0)
      : status_(status), message_(std::move(message)), app_code_(app_code) {}

  /* Takes over what a C call returned. */
  static Error adopt(kamacache_status status, kamacache_error *detail) {
    Error error(status, detail == nullptr ? kamacache_status_name(status) : kamacache_error_message(detail),
                kamacache_error_app_code(detail));
    kamacache_error_free(detail);
    return error;
  }

  kamacache_status status() const noexcept { return status_; }
  const char *name() const noexcept { return kamacache_status_name(status_); } /* "NOT_FOUND" */
  const std::string &message() const noexcept { return message_; }
  std::int64_t app_code() const noexcept { return app_code_; } /* the getter's own */
  const char *what() const noexcept override { return message_.c_str(); }

 private:
  kamacache_status status_;
  std::string message_;
  std::int64_t app_code_;
};

/* What a call that returns nothing succeeds with. */
struct Done {};

/* A value, or why there is none. */
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : held_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : held_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const noexcept { return held_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }
  kamacache_status status() const noexcept { return ok() ? static_cast<kamacache_status>(KAMACACHE_OK) : error().status(); }

  /* Only when ok(). */
  T &operator*() & noexcept { return *std::get_if<0>(&held_); }
  const T &operator*() const & noexcept { return *std::get_if<0>(&held_); }
  T &&operator*() && noexcept { return std::move(*std::get_if<0>(&held_)); }
  T *operator->() noexcept { return std::get_if<0>(&held_); }
  const T *operator->() const noexcept { return std::get_if<0>(&held_); }

  /* Only when not ok(). */
  const Error &error() const noexcept { return *std::get_if<1>(&held_); }

#if KAMACACHE_EXCEPTIONS
  /* The value, or throws the error. */
  T value() && {
    if (!ok()) throw error();
    return std::move(**this);
  }
#endif

 private:
  std::variant<T, Error> held_;
};

namespace detail {

inline Result<Done> done(kamacache_status status, kamacache_error *err) {
  if (status != KAMACACHE_OK) return Error::adopt(status, err);
  return Done{};
}

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T *handle) const noexcept {
    Free(handle);
  }
};

template <typename T, auto Free>
using Handle = std::unique_ptr<T, Deleter<Free>>;

/* Reads a text whose length the library knows. */
template <typename Call>
Result<std::string> text(Call call) {
  std::string buf(64, '\0');
  for (;;) {
    std::size_t len = 0;
    kamacache_status status = call(&buf[0], buf.size(), &len);
    if (status == KAMACACHE_OK) {
      buf.resize(len);
      return buf;
    }
    if (status != KAMACACHE_TOO_LARGE) return Error(status, kamacache_status_name(status));
    buf.assign(len + 1, '\0');
  }
}

/* Runs a callback of the user's; no exception gets out. */
template <typename Call, typename Caught>
void shielded(Call call, Caught caught) noexcept {
#if KAMACACHE_EXCEPTIONS
  try {
    call();
  } catch (const std::exception &e) {
    caught(e.what());
  } catch (...) {
    caught("an exception of an unknown type");
  }
#else
  call();
  (void)caught;
#endif
}

inline std::uint64_t ms(const std::optional<Milliseconds> &value) {
  return value ? static_cast<std::uint64_t>(value->count()) : 0;
}

inline const char *c_str(const std::string &text) { return text.empty() ? nullptr : text.c_str(); }

}  // namespace detail

/* ---- values ---- */

/* Immutable bytes of the cache. A copy shares them; they outlive group and node. */
class Value {
 public:
  Value() noexcept = default;
  explicit Value(kamacache_value *owned) noexcept : handle_(owned) {}
  Value(const Value &other) noexcept : handle_(kamacache_value_retain(other.handle_)) {}
  Value(Value &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Value &operator=(Value other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Value() { kamacache_value_release(handle_); }

  const std::uint8_t *data() const noexcept { return kamacache_value_data(handle_); }
  std::size_t size() const noexcept { return kamacache_value_len(handle_); }
  bool empty() const noexcept { return size() == 0; }
  std::string_view view() const noexcept { return {reinterpret_cast<const char *>(data()), size()}; }
  operator std::string_view() const noexcept { return view(); }
  std::string str() const { return std::string(view()); }
#if defined(__cpp_lib_span)
  std::span<const std::byte> bytes() const noexcept { return {reinterpret_cast<const std::byte *>(data()), size()}; }
#endif
  kamacache_value *get() const noexcept { return handle_; } /* borrowed */

 private:
  kamacache_value *handle_ = nullptr;
};

/* ---- loads ---- */

/* What a getter is told; borrowed for its call. */
struct LoadInfo {
  std::string_view group;
  std::string_view key;
  std::optional<Milliseconds> time_left; /* none: no limit */
};

/* The duty to answer one load, once, from any thread. One that is dropped
 * unanswered fails. */
class Load {
 public:
  explicit Load(kamacache_load *token) noexcept : token_(token) {}
  Load(Load &&other) noexcept : token_(std::exchange(other.token_, nullptr)) {}
  Load &operator=(Load &&other) noexcept {
    std::swap(token_, other.token_);
    return *this;
  }
  ~Load() {
    if (token_ == nullptr) return;
#if KAMACACHE_EXCEPTIONS
    /* Its getter is being left by an exception, which says more: see Getters. */
    if (in_getter() == token_ && std::uncaught_exceptions() > 0) return;
#endif
    kamacache_load_fail(token_, 0, "the getter dropped the load without an answer");
  }

  /* Copies the bytes. CANCELLED: the load was given up before. */
  kamacache_status complete(std::string_view value, Ttl ttl = {}) noexcept {
    return kamacache_load_complete(take(), value.data(), value.size(), ttl.ms());
  }
  /* Hands the string's own memory in. */
  kamacache_status complete_owned(std::string value, Ttl ttl = {}) {
    auto *kept = new std::string(std::move(value));
    return kamacache_load_complete_owned(
        take(), kept->data(), kept->size(), [](void *s) { delete static_cast<std::string *>(s); }, kept, ttl.ms());
  }
  kamacache_status not_found() noexcept { return kamacache_load_not_found(take()); }
  kamacache_status fail(const std::string &message, std::int64_t app_code = 0) noexcept {
    return kamacache_load_fail(take(), app_code, message.c_str());
  }
  bool is_cancelled() const noexcept { return kamacache_load_is_cancelled(token_) != 0; }

  /* The load whose getter this thread is inside of. */
  static kamacache_load *&in_getter() noexcept {
    static thread_local kamacache_load *current = nullptr;
    return current;
  }

 private:
  kamacache_load *take() noexcept { return std::exchange(token_, nullptr); }
  kamacache_load *token_;
};

/* Why an entry left: KAMACACHE_EVICT_*. */
using EvictReason = std::int32_t;

using Getter = std::function<void(const LoadInfo &info, Load load)>;
using BatchGetter = std::function<void(const std::vector<LoadInfo> &infos, std::vector<Load> loads)>;
using EvictHook = std::function<void(std::string_view key, const Value &value, EvictReason reason)>;

/* ---- options: what is not set is the default ---- */

struct NodeOptions {
  std::string listen; /* empty: a single instance, no network */
  std::string advertise;
  std::vector<std::string> peers;
  std::string discovery, admin_listen;
  std::string tls_ca, tls_cert, tls_key, tls_name;
  std::string cluster, cluster_token, cluster_token_file;
  std::string admin_hosts; /* separated by commas */
  std::uint32_t io_threads = 0, getter_threads = 0;
  std::optional<Milliseconds> default_timeout, connect_timeout, heartbeat, suspect_after, probe_interval, remove_grace,
      warm_window;
};

struct GroupOptions {
  std::uint64_t max_bytes; /* required */
  Getter getter;           /* none: a miss is NOT_FOUND */
  BatchGetter batch_getter;
  EvictHook on_evict;
  std::optional<Milliseconds> ttl, negative_ttl, hot_ttl, fallback_ttl, stale_while_revalidate, stale_if_error,
      load_timeout;
  std::uint32_t max_concurrent_loads = 0;
  std::uint64_t max_value_bytes = 0;
  std::uint32_t policy = KAMACACHE_POLICY_DEFAULT;
  std::uint32_t flags = 0; /* KAMACACHE_GROUP_* */

  explicit GroupOptions(std::uint64_t max_bytes_) : max_bytes(max_bytes_) {}
};

namespace detail {

/* A group's functions: the user data of its C callbacks. */
struct Functions {
  Getter getter;
  BatchGetter batch_getter;
  EvictHook on_evict;

  static LoadInfo told(const kamacache_load_info *info) {
    LoadInfo told;
    told.group = info->group;
    told.key = std::string_view(info->key, info->key_len);
    if (info->timeout_ms != KAMACACHE_FOREVER) told.time_left = Milliseconds(info->timeout_ms);
    return told;
  }

  static void load(void *self, const kamacache_load_info *info, kamacache_load *token) noexcept {
    kamacache_load *outer = std::exchange(Load::in_getter(), token);
    shielded([&] { static_cast<Functions *>(self)->getter(told(info), Load(token)); },
             [&](const char *what) { kamacache_load_fail(token, 0, what); });
    Load::in_getter() = outer;
  }

  static void load_batch(void *self, const kamacache_load_info *const *infos, kamacache_load *const *tokens,
                         std::size_t n) noexcept {
    shielded(
        [&] {
          std::vector<LoadInfo> all;
          std::vector<Load> loads;
          all.reserve(n);
          loads.reserve(n);
          for (std::size_t i = 0; i < n; i++) {
            all.push_back(told(infos[i]));
            loads.emplace_back(tokens[i]);
          }
          static_cast<Functions *>(self)->batch_getter(all, std::move(loads));
        },
        [&](const char *what) {
          for (std::size_t i = 0; i < n; i++) kamacache_load_fail(tokens[i], 0, what);
        });
  }

  static void evicted(void *self, const char *key, std::size_t key_len, kamacache_value *value,
                      std::int32_t reason) noexcept {
    shielded(
        [&] {
          const Value held(kamacache_value_retain(value));
          static_cast<Functions *>(self)->on_evict(std::string_view(key, key_len), held, reason);
        },
        [](const char *) {});
  }

  static void free(void *self) noexcept { delete static_cast<Functions *>(self); }
};

/* A completion's function: called once, then deleted. */
using Completion = std::function<void(Result<Value>)>;
using DoneCompletion = std::function<void(Result<Done>)>;

inline void completed(void *self, kamacache_status status, kamacache_value *value, kamacache_error *err) noexcept {
  std::unique_ptr<Completion> call(static_cast<Completion *>(self));
  Value owned(value);
  shielded(
      [&] {
        if (status == KAMACACHE_OK) (*call)(std::move(owned));
        else (*call)(Error::adopt(status, err));
      },
      [](const char *) {});
}

inline void written(void *self, kamacache_status status, kamacache_error *err) noexcept {
  std::unique_ptr<DoneCompletion> call(static_cast<DoneCompletion *>(self));
  shielded([&] { (*call)(done(status, err)); }, [](const char *) {});
}

inline kamacache_slice slice(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace detail

/* Cancels an asynchronous operation: its callback still runs once. False when it has ended. */
inline bool cancel(std::uint64_t op) noexcept { return kamacache_cancel(op) == KAMACACHE_OK; }

/* Completions for a thread of yours: poll fd(), then dispatch(). */
class Queue {
 public:
  static Result<Queue> try_make() {
    kamacache_queue *handle = nullptr;
    kamacache_error *err = nullptr;
    kamacache_status status = kamacache_queue_new(&handle, &err);
    if (status != KAMACACHE_OK) return Error::adopt(status, err);
    return Queue(handle);
  }
#if KAMACACHE_EXCEPTIONS
  static Queue make() { return try_make().value(); }
#endif
  int fd() const noexcept { return kamacache_queue_fd(handle_.get()); }
  std::size_t dispatch(std::size_t max = SIZE_MAX) noexcept { return kamacache_queue_dispatch(handle_.get(), max); }
  kamacache_queue *get() const noexcept { return handle_.get(); } /* borrowed */

 private:
  explicit Queue(kamacache_queue *handle) : handle_(handle) {}
  detail::Handle<kamacache_queue, kamacache_queue_free> handle_;
};

/* A handle to an open group; the group lives until its node is closed. */
class Group {
 public:
  explicit Group(kamacache_group *owned) noexcept : handle_(owned) {}

  Result<Value> try_get(std::string_view key, Timeout timeout = {}) const {
    kamacache_value *value = nullptr;
    kamacache_error *err = nullptr;
    kamacache_status status = kamacache_group_get(get(), key.data(), key.size(), timeout.ms(), &value, &err);
    if (status != KAMACACHE_OK) return Error::adopt(status, err);
    return Value(value);
  }

  /* Local memory only: never blocks, never loads. */
  std::optional<Value> peek(std::string_view key) const noexcept {
    kamacache_value *value = nullptr;
    if (kamacache_group_peek(get(), key.data(), key.size(), &value) != KAMACACHE_OK) return std::nullopt;
    return Value(value);
  }

  Result<Done> try_set(std::string_view key, std::string_view value, Ttl ttl = {}, Timeout timeout = {}) const {
    kamacache_error *err = nullptr;
    kamacache_status status =
        kamacache_group_set(get(), key.data(), key.size(), value.data(), value.size(), ttl.ms(), timeout.ms(), &err);
    return detail::done(status, err);
  }

  /* Drops a key at its owner. */
  Result<Done> try_delete_key(std::string_view key, Timeout timeout = {}) const {
    kamacache_error *err = nullptr;
    kamacache_status status = kamacache_group_delete(get(), key.data(), key.size(), timeout.ms(), &err);
    return detail::done(status, err);
  }

  Result<Done> try_clear(Timeout timeout = {}) const {
    kamacache_error *err = nullptr;
    kamacache_status status = kamacache_group_clear(get(), timeout.ms(), &err);
    return detail::done(status, err);
  }

  /* One result for each key, in their order. */
  Result<std::vector<Result<Value>>> try_get_many(const std::vector<std::string_view> &keys, Timeout timeout = {}) const {
    std::vector<kamacache_slice> slices;
    for (std::string_view key : keys) slices.push_back(detail::slice(key));
    std::vector<kamacache_result> out(keys.size());
    kamacache_error *err = nullptr;
    kamacache_status status =
        kamacache_group_get_many(get(), slices.data(), slices.size(), timeout.ms(), out.data(), &err);
    if (status != KAMACACHE_OK) return Error::adopt(status, err);
    std::vector<Result<Value>> results;
    for (kamacache_result &one : out) {
      if (one.status == KAMACACHE_OK) results.emplace_back(Value(one.value));
      else results.emplace_back(Error::adopt(one.status, one.error));
    }
    return results;
  }

  /* The callback runs once: on the library's callback thread, or where the queue
   * is dispatched. The result is the number for cancel(). */
  Result<std::uint64_t> get_async(std::string_view key, std::function<void(Result<Value>)> callback,
                                  Timeout timeout = {}, const Queue *queue = nullptr) const {
    auto call = std::make_unique<detail::Completion>(std::move(callback));
    std::uint64_t op = 0;
    kamacache_error *err = nullptr;
    kamacache_status status =
        queue == nullptr ? kamacache_group_get_async(get(), key.data(), key.size(), timeout.ms(), detail::completed,
                                                     call.get(), &op, &err)
                         : kamacache_group_get_queued(get(), queue->get(), key.data(), key.size(), timeout.ms(),
                                                      detail::completed, call.get(), &op, &err);
    return begun(status, err, op, call);
  }

  Result<std::uint64_t> set_async(std::string_view key, std::string_view value, std::function<void(Result<Done>)> callback,
                                  Ttl ttl = {}, Timeout timeout = {}, const Queue *queue = nullptr) const {
    auto call = std::make_unique<detail::DoneCompletion>(std::move(callback));
    std::uint64_t op = 0;
    kamacache_error *err = nullptr;
    kamacache_status status = kamacache_group_set_async(
        get(), queue == nullptr ? nullptr : queue->get(), key.data(), key.size(), value.data(), value.size(), ttl.ms(),
        timeout.ms(), detail::written, call.get(), &op, &err);
    return begun(status, err, op, call);
  }

  Result<std::uint64_t> delete_async(std::string_view key, std::function<void(Result<Done>)> callback,
                                     Timeout timeout = {}, const Queue *queue = nullptr) const {
    auto call = std::make_unique<detail::DoneCompletion>(std::move(callback));
    std::uint64_t op = 0;
    kamacache_error *err = nullptr;
    kamacache_status status =
        kamacache_group_delete_async(get(), queue == nullptr ? nullptr : queue->get(), key.data(), key.size(),
                                     timeout.ms(), detail::written, call.get(), &op, &err);
    return begun(status, err, op, call);
  }

  /* All zero once the node is closed. */
  kamacache_stats stats() const noexcept {
    kamacache_stats stats{};
    stats.struct_size = sizeof stats;
    kamacache_group_stats(get(), &stats);
    return stats;
  }

#if KAMACACHE_EXCEPTIONS
  Value get(std::string_view key, Timeout timeout = {}) const { return try_get(key, timeout).value(); }
  void set(std::string_view key, std::string_view value, Ttl ttl = {}, Timeout timeout = {}) const {
    (void)try_set(key, value, ttl, timeout).value();
  }
  void delete_key(std::string_view key, Timeout timeout = {}) const { (void)try_delete_key(key, timeout).value(); }
  void clear(Timeout timeout = {}) const { (void)try_clear(timeout).value(); }
  std::vector<Result<Value>> get_many(const std::vector<std::string_view> &keys, Timeout timeout = {}) const {
    return try_get_many(keys, timeout).value();
  }
#endif

#if KAMACACHE_COROUTINES
  /* co_await group.async_get(key) gives a Result<Value>; the coroutine goes on
   * where completions run. */
  class Awaiter {
   public:
    Awaiter(const Group &group, std::string_view key, Timeout timeout, const Queue *queue)
        : group_(group), key_(key), timeout_(timeout), queue_(queue) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> waiting) {
      /* The callback may run, and end this awaiter, before get_async returns. */
      auto begun = group_.get_async(
          key_,
          [this, waiting](Result<Value> result) {
            result_.emplace(std::move(result));
            waiting.resume();
          },
          timeout_, queue_);
      if (begun.ok()) return true;
      result_.emplace(begun.error());
      return false;
    }
    Result<Value> await_resume() { return std::move(*result_); }

   private:
    const Group &group_;
    std::string key_;
    Timeout timeout_;
    const Queue *queue_;
    std::optional<Result<Value>> result_;
  };
  Awaiter async_get(std::string_view key, Timeout timeout = {}, const Queue *queue = nullptr) const {
    return Awaiter(*this, key, timeout, queue);
  }
#endif

  kamacache_group *get() const noexcept { return handle_.get(); } /* borrowed */

 private:
  /* The library has the callback now, or never will. */
  template <typename Call>
  static Result<std::uint64_t> begun(kamacache_status status, kamacache_error *err, std::uint64_t op, Call &call) {
    if (status != KAMACACHE_OK) return Error::adopt(status, err);
    call.release();
    return op;
  }

  detail::Handle<kamacache_group, kamacache_group_free> handle_;
};

/* This process in the cluster. Its end closes it with drain 0; close() says how
 * that went. */
class Node {
 public:
  explicit Node(kamacache_node *owned) noexcept : handle_(owned) {}

  static Result<Node> try_open(const NodeOptions &from = {}) {
    std::vector<const char *> peers;
    for (const std::string &peer : from.peers) peers.push_back(peer.c_str());
    kamacache_node_options to;
    kamacache_node_options_init(&to);
    to.listen = detail::c_str(from.listen);
    to.advertise = detail::c_str(from.advertise);
    to.peers = peers.data();
    to.peers_len = peers.size();
    to.discovery = detail::c_str(from.discovery);
    to.admin_listen = detail::c_str(from.admin_listen);
    to.tls_ca = detail::c_str(from.tls_ca);
    to.tls_cert = detail::c_str(from.tls_cert);
    to.tls_key = detail::c_str(from.tls_key);
    to.tls_name = detail::c_str(from.tls_name);
    to.cluster = detail::c_str(from.cluster);
    to.cluster_token = detail::c_str(from.cluster_token);
    to.cluster_token_file = detail::c_str(from.cluster_token_file);
    to.admin_hosts = detail::c_str(from.admin_hosts);
    to.io_threads = from.io_threads;
    to.getter_threads = from.getter_threads;
    to.default_timeout_ms = detail::ms(from.default_timeout);
    to.connect_timeout_ms = detail::ms(from.connect_timeout);
    to.heartbeat_ms = detail::ms(from.heartbeat);
    to.suspect_after_ms = detail::ms(from.suspect_after);
    to.probe_interval_ms = detail::ms(from.probe_interval);
    to.remove_grace_ms = detail::ms(from.remove_grace);
    to.warm_window_ms = detail::ms(from.warm_window);
    kamacache_node *handle = nullptr;
    kamacache_error *err = nullptr;
    kamacache_status status = kamacache_node_open(&to, &handle, &err);
    if (status != KAMACACHE_OK) return Error::adopt(status, err);
    return Node(handle);
  }

  Result<Group> try_open_group(const std::string &name, GroupOptions from) const {
    kamacache_group_options to;
    kamacache_group_options_init(&to);
    to.flags = from.flags;
    to.max_bytes = from.max_bytes;
    to.ttl_ms = detail::ms(from.ttl);
    to.negative_ttl_ms = detail::ms(from.negative_ttl);
    to.hot_ttl_ms = detail::ms(from.hot_ttl);
    to.fallback_ttl_ms = detail::ms(from.fallback_ttl);
    to.stale_while_revalidate_ms = detail::ms(from.stale_while_revalidate);
    to.stale_if_error_ms = detail::ms(from.stale_if_error);
    to.load_timeout_ms = detail::ms(from.load_timeout);
    to.max_concurrent_loads = from.max_concurrent_loads;
    to.max_value_bytes = from.max_value_bytes;
    to.policy = from.policy;
    if (from.getter) to.getter = detail::Functions::load;
    if (from.batch_getter) to.batch_getter = detail::Functions::load_batch;
    if (from.on_evict) to.on_evict = detail::Functions::evicted;
    to.user_data =
        new detail::Functions{std::move(from.getter), std::move(from.batch_getter), std::move(from.on_evict)};
    to.free_user_data = detail::Functions::free; /* also when opening fails */
    kamacache_group *handle = nullptr;
    kamacache_error *err = nullptr;
    kamacache_status status = kamacache_group_open(get(), name.c_str(), &to, &handle, &err);
    if (status != KAMACACHE_OK) return Error::adopt(status, err);
    return Group(handle);
  }

  /* A further handle to an open group. */
  Result<Group> try_group(const std::string &name) const {
    kamacache_group *handle = nullptr;
    kamacache_error *err = nullptr;
    kamacache_status status = kamacache_node_group(get(), name.c_str(), &handle, &err);
    if (status != KAMACACHE_OK) return Error::adopt(status, err);
    return Group(handle);
  }

  Result<Done> try_set_peers(const std::vector<std::string> &peers) const {
    std::vector<const char *> list;
    for (const std::string &peer : peers) list.push_back(peer.c_str());
    kamacache_error *err = nullptr;
    kamacache_status status = kamacache_node_set_peers(get(), list.data(), list.size(), &err);
    return detail::done(status, err);
  }

  /* Sorted. */
  Result<std::vector<std::string>> try_members() const {
    auto lines = detail::text([this](char *buf, std::size_t cap, std::size_t *len) {
      return kamacache_node_members(get(), buf, cap, len, nullptr);
    });
    if (!lines.ok()) return lines.error();
    std::vector<std::string> members;
    for (std::size_t at = 0; at < lines->size();) {
      std::size_t end = lines->find('\n', at);
      if (end == std::string::npos) end = lines->size();
      members.push_back(lines->substr(at, end - at));
      at = end + 1;
    }
    return members;
  }

  Result<std::string> try_owner(std::string_view key) const {
    return detail::text([this, key](char *buf, std::size_t cap, std::size_t *len) {
      return kamacache_node_owner(get(), key.data(), key.size(), buf, cap, len);
    });
  }

  Result<std::string> try_address() const {
    return detail::text([this](char *buf, std::size_t cap, std::size_t *len) {
      return kamacache_node_address(get(), buf, cap, len);
    });
  }

  /* Empty without an admin HTTP. */
  Result<std::string> try_admin_address() const {
    return detail::text([this](char *buf, std::size_t cap, std::size_t *len) {
      return kamacache_node_admin_address(get(), buf, cap, len);
    });
  }

  /* DEADLINE_EXCEEDED: a getter still runs; the node is closed all the same. */
  Result<Done> try_close(Milliseconds drain = Milliseconds(5000)) const {
    kamacache_error *err = nullptr;
    kamacache_status status = kamacache_node_close(get(), static_cast<std::uint64_t>(drain.count()), &err);
    return detail::done(status, err);
  }

#if KAMACACHE_EXCEPTIONS
  static Node open(const NodeOptions &options = {}) { return try_open(options).value(); }
  Group open_group(const std::string &name, GroupOptions options) const {
    return try_open_group(name, std::move(options)).value();
  }
  Group group(const std::string &name) const { return try_group(name).value(); }
  void set_peers(const std::vector<std::string> &peers) const { (void)try_set_peers(peers).value(); }
  std::vector<std::string> members() const { return try_members().value(); }
  std::string owner(std::string_view key) const { return try_owner(key).value(); }
  std::string address() const { return try_address().value(); }
  std::string admin_address() const { return try_admin_address().value(); }
  void close(Milliseconds drain = Milliseconds(5000)) const { (void)try_close(drain).value(); }
#endif

  kamacache_node *get() const noexcept { return handle_.get(); } /* borrowed */

 private:
  detail::Handle<kamacache_node, kamacache_node_free> handle_;
};

}  // namespace kamacache

#endif
