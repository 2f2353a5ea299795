/*
 * kamacache.hpp: the C++17 wrapper of kamacache.h, header-only.
 *
 *   kamacache::Node node = kamacache::Node::open();
 *   kamacache::GroupOptions options{64 << 20};
 *   options.getter = [](const kamacache::LoadInfo &info, kamacache::Load load) {
 *     load.complete(read_from_database(info.key));
 *   };
 *   kamacache::Group scores = node.open_group("scores", options);
 *   kamacache::Value score = scores.get("Tom");
 *   std::string_view text = score;                     // alive as long as the Value
 *
 * Every handle frees itself; all are movable, Value is also copyable. Each call
 * comes twice: try_get returns a Result, get returns the value or throws an
 * Error. Without exceptions (-fno-exceptions) only the former are there; objects
 * of both kinds can be linked together, since each kind has names of its own.
 *
 * What shows the memory of an object (a view, a reference) cannot be taken of a
 * temporary one: keep the Value, or copy its bytes with str().
 *
 * Times are std::chrono durations of any unit, rounded up to milliseconds; what is
 * too long for the library means without limit. A timeout of zero or less is one
 * that is over: the call does not wait. A ttl of zero or less is one that is over:
 * the value is not kept. An option of zero or less is refused.
 *
 * The destructor of a Node leaves the cluster and waits for getters that run, for
 * at most NodeOptions::destructor_drain (30 s). What getters use must live until
 * then: declare it before the Node. In a callback, which must not wait, the
 * destructor lets a thread of the library close the node with a drain of zero.
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
#include <mutex>
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

#if KAMACACHE_EXCEPTIONS
#define KAMACACHE_CONFIGURATION with_exceptions
#else
#define KAMACACHE_CONFIGURATION without_exceptions
#endif

namespace kamacache {
inline namespace KAMACACHE_CONFIGURATION {

using Milliseconds = std::chrono::milliseconds;

namespace detail {

/* In whole milliseconds, rounded up; 0 for zero and less, FOREVER for what is too
 * long or not a number. */
template <typename Rep, typename Period>
constexpr std::uint64_t whole_ms(std::chrono::duration<Rep, Period> span) {
  using Exact = std::chrono::duration<long double, std::milli>;
  const long double ms = std::chrono::duration_cast<Exact>(span).count();
  if (ms <= 0) return 0;
  if (!(ms < 9e18L)) return KAMACACHE_FOREVER;
  const std::uint64_t whole = static_cast<std::uint64_t>(ms);
  return static_cast<long double>(whole) < ms ? whole + 1 : whole;
}

}  // namespace detail

/* A time to live. */
class Ttl {
 public:
  constexpr Ttl() = default; /* the group's */
  template <typename Rep, typename Period>
  constexpr Ttl(std::chrono::duration<Rep, Period> span) : ms_(detail::whole_ms(span)) {
    if (ms_ == 0) ms_ = KAMACACHE_TTL_NO_STORE;
  }
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
  template <typename Rep, typename Period>
  constexpr Timeout(std::chrono::duration<Rep, Period> span) : ms_(detail::whole_ms(span)) {
    if (ms_ == 0) ms_ = KAMACACHE_NO_WAIT;
  }
  static constexpr Timeout no_wait() { return Timeout(KAMACACHE_NO_WAIT); }
  static constexpr Timeout forever() { return Timeout(KAMACACHE_FOREVER); }
  constexpr std::uint64_t ms() const { return ms_; }

 private:
  constexpr explicit Timeout(std::uint64_t ms) : ms_(ms) {}
  std::uint64_t ms_ = 0;
};

/* How long a close waits for getters that run; zero: not at all. */
class Drain {
 public:
  template <typename Rep, typename Period>
  constexpr Drain(std::chrono::duration<Rep, Period> span) : ms_(detail::whole_ms(span)) {}
  static constexpr Drain forever() { return Drain(KAMACACHE_FOREVER); }
  constexpr std::uint64_t ms() const { return ms_; }

 private:
  constexpr explicit Drain(std::uint64_t ms) : ms_(ms) {}
  std::uint64_t ms_ = 0;
};

/* An option: the default when not set. */
class Span {
 public:
  constexpr Span() = default;
  template <typename Rep, typename Period>
  constexpr Span(std::chrono::duration<Rep, Period> span) : ms_(detail::whole_ms(span)), set_(true) {}
  static constexpr Span forever() { return Span(std::chrono::hours::max()); }
  constexpr std::uint64_t ms() const { return ms_; } /* 0 when not set */
  constexpr bool refused() const { return set_ && ms_ == 0; }

 private:
  std::uint64_t ms_ = 0;
  bool set_ = false;
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
  const std::string &message() const & noexcept { return message_; }
  std::string message() && { return std::move(message_); }
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
  kamacache_status status() const noexcept { return ok() ? static_cast<kamacache_status>(KAMACACHE_OK) : std::get_if<1>(&held_)->status(); }

  /* Only when ok(). */
  T &operator*() & noexcept { return *std::get_if<0>(&held_); }
  const T &operator*() const & noexcept { return *std::get_if<0>(&held_); }
  T &&operator*() && noexcept { return std::move(*std::get_if<0>(&held_)); }
  T *operator->() & noexcept { return std::get_if<0>(&held_); }
  const T *operator->() const & noexcept { return std::get_if<0>(&held_); }
  T *operator->() && = delete; /* give the result a name */
  const T *operator->() const && = delete;

  /* Only when not ok(). */
  const Error &error() const & noexcept { return *std::get_if<1>(&held_); }
  Error error() && { return std::move(*std::get_if<1>(&held_)); }

#if KAMACACHE_EXCEPTIONS
  /* The value, or throws the error. */
  T value() && {
    if (!ok()) throw *std::get_if<1>(&held_);
    return std::move(*std::get_if<0>(&held_));
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

/* Of a call that reports by its status alone. */
inline Error last_error(kamacache_status status) {
  const kamacache_error *last = kamacache_last_error();
  if (last == nullptr || kamacache_error_code(last) != status) return Error(status, kamacache_status_name(status));
  return Error(status, kamacache_error_message(last), kamacache_error_app_code(last));
}

inline Result<Done> done(kamacache_status status) {
  if (status != KAMACACHE_OK) return last_error(status);
  return Done{};
}

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
    if (status != KAMACACHE_TOO_LARGE) return last_error(status);
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

/* The first option that is set to zero or less. */
struct Checked {
  const char *wrong = nullptr;

  std::uint64_t ms(const Span &span, const char *name) {
    if (span.refused() && wrong == nullptr) wrong = name;
    return span.ms();
  }
  Error error() const {
    return Error(KAMACACHE_INVALID_ARGUMENT,
                 std::string(wrong) + " is zero or less: give it a time above zero, or leave it unset for the default");
  }
};

/* The getter call that this thread is inside of. Loads that are dropped while an
 * exception unwinds wait here: it says more than they do, unless the getter catches it. */
class GetterCall {
 public:
  GetterCall() noexcept : outer_(std::exchange(current(), this)) {}
  GetterCall(const GetterCall &) = delete;
  GetterCall &operator=(const GetterCall &) = delete;
  ~GetterCall() {
    current() = outer_;
    for (kamacache_load *load : dropped_) give_up(load);
  }

  static void drop(kamacache_load *load) noexcept {
#if KAMACACHE_EXCEPTIONS
    GetterCall *call = current();
    if (call != nullptr && std::uncaught_exceptions() > call->unwinding_) {
      try {
        call->dropped_.push_back(load);
        return;
      } catch (...) {
      }
    }
#endif
    give_up(load);
  }

 private:
  static void give_up(kamacache_load *load) noexcept {
    kamacache_load_fail(load, 0, "the getter dropped the load without an answer");
  }
  static GetterCall *&current() noexcept {
    static thread_local GetterCall *call = nullptr;
    return call;
  }
  std::vector<kamacache_load *> dropped_;
  GetterCall *outer_;
#if KAMACACHE_EXCEPTIONS
  int unwinding_ = std::uncaught_exceptions();
#endif
};

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

  /* The first byte lies at a multiple of 16. Not of a temporary: it would be freed. */
  const std::uint8_t *data() const & noexcept { return kamacache_value_data(handle_); }
  const std::uint8_t *data() const && = delete;
  std::size_t size() const noexcept { return kamacache_value_len(handle_); }
  bool empty() const noexcept { return size() == 0; }
  std::string_view view() const & noexcept { return {reinterpret_cast<const char *>(data()), size()}; }
  std::string_view view() const && = delete;
  operator std::string_view() const & noexcept { return view(); }
  operator std::string_view() const && = delete;
  std::string str() const { return std::string(view()); }
#if defined(__cpp_lib_span)
  std::span<const std::byte> bytes() const && = delete;
  std::span<const std::byte> bytes() const & noexcept { return {reinterpret_cast<const std::byte *>(data()), size()}; }
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
  Load(Load &&other) noexcept
      : token_(std::exchange(other.token_, nullptr)), answered_(std::exchange(other.answered_, false)) {}
  Load &operator=(Load &&other) noexcept {
    std::swap(token_, other.token_);
    std::swap(answered_, other.answered_);
    return *this;
  }
  ~Load() {
    if (token_ != nullptr && !answered_) detail::GetterCall::drop(token_);
  }

  /* Copies the bytes. CANCELLED: the load was answered, or given up, before.
   * INVALID_ARGUMENT: this Load was moved from. */
  kamacache_status complete(std::string_view value, Ttl ttl = {}) noexcept {
    return answered(kamacache_load_complete(token_, value.data(), value.size(), ttl.ms()));
  }
  /* Hands the string's own memory to who waits; the cache keeps a copy of its own. */
  kamacache_status complete_owned(std::string value, Ttl ttl = {}) {
    auto *kept = new std::string(std::move(value));
    return answered(kamacache_load_complete_owned(
        token_, kept->data(), kept->size(), [](void *text) { delete static_cast<std::string *>(text); }, kept, ttl.ms()));
  }
  kamacache_status not_found() noexcept { return answered(kamacache_load_not_found(token_)); }
  kamacache_status fail(const std::string &message, std::int64_t app_code = 0) noexcept {
    return answered(kamacache_load_fail(token_, app_code, message.c_str()));
  }
  bool is_cancelled() const noexcept { return kamacache_load_is_cancelled(token_) != 0; }

 private:
  kamacache_status answered(kamacache_status status) noexcept {
    answered_ = answered_ || status != KAMACACHE_INVALID_ARGUMENT;
    return status;
  }
  kamacache_load *token_;
  bool answered_ = false;
};

/* Why an entry left: KAMACACHE_EVICT_*. */
using EvictReason = std::int32_t;

using Getter = std::function<void(const LoadInfo &info, Load load)>;
using BatchGetter = std::function<void(const std::vector<LoadInfo> &infos, std::vector<Load> loads)>;
using EvictHook = std::function<void(std::string_view key, const Value &value, EvictReason reason)>;

class Queue;

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
  Span default_timeout, connect_timeout, heartbeat, suspect_after, probe_interval, remove_grace, warm_window;
  /* How long the destructor of the Node waits for getters that run. */
  Drain destructor_drain = std::chrono::seconds(30);
};

struct GroupOptions {
  std::uint64_t max_bytes; /* required */
  Getter getter;           /* none: a miss is NOT_FOUND */
  BatchGetter batch_getter;
  EvictHook on_evict;
  Span ttl, negative_ttl, hot_ttl, fallback_ttl, stale_while_revalidate, stale_if_error, load_timeout;
  /* Where getters are called: on the thread that dispatches it, which must outlive the node. */
  const Queue *getter_queue = nullptr;
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
    if (info->timeout_ms <= static_cast<std::uint64_t>(Milliseconds::max().count())) {
      told.time_left = Milliseconds(static_cast<Milliseconds::rep>(info->timeout_ms));
    }
    return told;
  }

  static void load(void *self, const kamacache_load_info *info, kamacache_load *token) noexcept {
    GetterCall call;
    shielded([&] { static_cast<Functions *>(self)->getter(told(info), Load(token)); },
             [&](const char *what) { kamacache_load_fail(token, 0, what); });
  }

  static void load_batch(void *self, const kamacache_load_info *const *infos, kamacache_load *const *tokens,
                         std::size_t n) noexcept {
    GetterCall call;
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

/* A batch's function: one result for each key. */
template <typename T>
using ManyCompletion = std::function<void(Result<std::vector<Result<T>>>)>;

inline Result<Value> value_of(kamacache_result &one) {
  if (one.status == KAMACACHE_OK) return Value(std::exchange(one.value, nullptr));
  return Error::adopt(one.status, std::exchange(one.error, nullptr));
}

inline Result<Done> done_of(kamacache_result &one) { return done(one.status, std::exchange(one.error, nullptr)); }

template <typename T, Result<T> (*Take)(kamacache_result &)>
std::vector<Result<T>> taken(kamacache_result *results, std::size_t n) {
  std::vector<Result<T>> all;
  all.reserve(n);
  for (std::size_t i = 0; i < n; i++) all.push_back(Take(results[i]));
  return all;
}

template <typename T, Result<T> (*Take)(kamacache_result &)>
void many_ended(void *self, kamacache_status status, kamacache_result *results, std::size_t n, kamacache_error *err) noexcept {
  std::unique_ptr<ManyCompletion<T>> call(static_cast<ManyCompletion<T> *>(self));
  shielded(
      [&] {
        if (status == KAMACACHE_OK) (*call)(taken<T, Take>(results, n));
        else (*call)(Error::adopt(status, err));
      },
      [](const char *) {});
}

inline std::vector<kamacache_slice> slices(const std::vector<std::string_view> &texts) {
  std::vector<kamacache_slice> all;
  all.reserve(texts.size());
  for (std::string_view text : texts) all.push_back({text.data(), text.size()});
  return all;
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
  std::size_t dispatch(std::size_t max = SIZE_MAX) const noexcept { return kamacache_queue_dispatch(handle_.get(), max); }
  /* Waits for the first; how many were run. */
  Result<std::size_t> try_wait(Timeout timeout = Timeout::forever(), std::size_t max = SIZE_MAX) const {
    std::size_t ran = 0;
    kamacache_error *err = nullptr;
    kamacache_status status = kamacache_queue_wait(handle_.get(), max, timeout.ms(), &ran, &err);
    if (status != KAMACACHE_OK) return Error::adopt(status, err);
    return ran;
  }
  std::size_t size() const noexcept { return kamacache_queue_len(handle_.get()); }
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
    std::vector<kamacache_slice> slices = detail::slices(keys);
    std::vector<kamacache_result> out(keys.size());
    kamacache_error *err = nullptr;
    kamacache_status status =
        kamacache_group_get_many(get(), slices.data(), slices.size(), timeout.ms(), out.data(), &err);
    if (status != KAMACACHE_OK) return Error::adopt(status, err);
    return detail::taken<Value, detail::value_of>(out.data(), out.size());
  }

  /* One result for each pair, in their order. */
  Result<std::vector<Result<Done>>> try_set_many(const std::vector<std::pair<std::string_view, std::string_view>> &pairs,
                                                 Ttl ttl = {}, Timeout timeout = {}) const {
    Pairs slices(pairs);
    std::vector<kamacache_result> out(pairs.size());
    kamacache_error *err = nullptr;
    kamacache_status status = kamacache_group_set_many(get(), slices.keys.data(), slices.values.data(), out.size(),
                                                       ttl.ms(), timeout.ms(), out.data(), &err);
    if (status != KAMACACHE_OK) return Error::adopt(status, err);
    return detail::taken<Done, detail::done_of>(out.data(), out.size());
  }

  /* Copies the value into buf if it is in local memory and fits: its length. TOO_LARGE:
   * buf is too short, and needed, when given, says what it takes. */
  Result<std::size_t> peek_into(std::string_view key, void *buf, std::size_t cap, std::size_t *needed = nullptr) const {
    std::size_t len = 0;
    kamacache_status status = kamacache_group_peek_into(get(), key.data(), key.size(), buf, cap, &len);
    if (needed != nullptr) *needed = len;
    if (status == KAMACACHE_NOT_FOUND || status == KAMACACHE_TOO_LARGE) return Error(status, kamacache_status_name(status));
    if (status != KAMACACHE_OK) return detail::last_error(status);
    return len;
  }

  Result<std::uint64_t> get_many_async(const std::vector<std::string_view> &keys,
                                       std::function<void(Result<std::vector<Result<Value>>>)> callback,
                                       Timeout timeout = {}, const Queue *queue = nullptr) const {
    auto call = std::make_unique<detail::ManyCompletion<Value>>(std::move(callback));
    std::vector<kamacache_slice> slices = detail::slices(keys);
    std::uint64_t op = 0;
    kamacache_error *err = nullptr;
    kamacache_status status =
        kamacache_group_get_many_async(get(), of(queue), slices.data(), slices.size(), timeout.ms(),
                                       detail::many_ended<Value, detail::value_of>, call.get(), &op, &err);
    return begun(status, err, op, call);
  }

  Result<std::uint64_t> set_many_async(const std::vector<std::pair<std::string_view, std::string_view>> &pairs,
                                       std::function<void(Result<std::vector<Result<Done>>>)> callback, Ttl ttl = {},
                                       Timeout timeout = {}, const Queue *queue = nullptr) const {
    auto call = std::make_unique<detail::ManyCompletion<Done>>(std::move(callback));
    Pairs slices(pairs);
    std::uint64_t op = 0;
    kamacache_error *err = nullptr;
    kamacache_status status = kamacache_group_set_many_async(
        get(), of(queue), slices.keys.data(), slices.values.data(), pairs.size(), ttl.ms(), timeout.ms(),
        detail::many_ended<Done, detail::done_of>, call.get(), &op, &err);
    return begun(status, err, op, call);
  }

  Result<std::uint64_t> clear_async(std::function<void(Result<Done>)> callback, Timeout timeout = {},
                                    const Queue *queue = nullptr) const {
    auto call = std::make_unique<detail::DoneCompletion>(std::move(callback));
    std::uint64_t op = 0;
    kamacache_error *err = nullptr;
    kamacache_status status =
        kamacache_group_clear_async(get(), of(queue), timeout.ms(), detail::written, call.get(), &op, &err);
    return begun(status, err, op, call);
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

  /* How long hits (0), loads (1) or fetches from owners (2) took. */
  Result<kamacache_latency> latency(std::int32_t which) const {
    kamacache_latency latency{};
    latency.struct_size = sizeof latency;
    kamacache_status status = kamacache_group_latency(get(), which, &latency);
    if (status != KAMACACHE_OK) return detail::last_error(status);
    return latency;
  }

  std::string name() const { return kamacache_group_name(get()) == nullptr ? "" : kamacache_group_name(get()); }

  /* The last ones once the node is closed. */
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
  std::vector<Result<Done>> set_many(const std::vector<std::pair<std::string_view, std::string_view>> &pairs, Ttl ttl = {},
                                     Timeout timeout = {}) const {
    return try_set_many(pairs, ttl, timeout).value();
  }
#endif

#if KAMACACHE_COROUTINES
  /* co_await group.async_get(key) gives a Result<Value>; the coroutine goes on
   * where completions run. One that is destroyed while it waits is not resumed. */
  class Awaiter {
   public:
    Awaiter(const Group &group, std::string_view key, Timeout timeout, const Queue *queue)
        : group_(group), key_(key), timeout_(timeout), queue_(queue), shared_(std::make_shared<Shared>()) {}
    Awaiter(const Awaiter &) = delete;
    Awaiter &operator=(const Awaiter &) = delete;
    ~Awaiter() {
      std::lock_guard<std::mutex> lock(shared_->mutex);
      shared_->waiting = nullptr;
    }
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> waiting) {
      /* The callback may run, and end this awaiter, before get_async returns. */
      std::shared_ptr<Shared> shared = shared_;
      shared->waiting = waiting;
      auto begun = group_.get_async(
          key_,
          [shared](Result<Value> result) {
            std::coroutine_handle<> resumed;
            {
              std::lock_guard<std::mutex> lock(shared->mutex);
              shared->result.emplace(std::move(result));
              resumed = std::exchange(shared->waiting, nullptr);
            }
            if (resumed) resumed.resume();
          },
          timeout_, queue_);
      if (begun.ok()) return true;
      shared->result.emplace(begun.error());
      return false;
    }
    Result<Value> await_resume() { return std::move(*shared_->result); }

   private:
    struct Shared {
      std::mutex mutex;
      std::coroutine_handle<> waiting;
      std::optional<Result<Value>> result;
    };
    const Group &group_;
    std::string key_;
    Timeout timeout_;
    const Queue *queue_;
    std::shared_ptr<Shared> shared_;
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

  static kamacache_queue *of(const Queue *queue) noexcept { return queue == nullptr ? nullptr : queue->get(); }

  struct Pairs {
    std::vector<kamacache_slice> keys, values;
    explicit Pairs(const std::vector<std::pair<std::string_view, std::string_view>> &pairs) {
      for (const auto &pair : pairs) {
        keys.push_back(detail::slice(pair.first));
        values.push_back(detail::slice(pair.second));
      }
    }
  };

  detail::Handle<kamacache_group, kamacache_group_free> handle_;
};

/* This process in the cluster. Its destructor closes it and waits for getters that
 * run, for at most the drain; close() does the same and says how that went. */
class Node {
 public:
  explicit Node(kamacache_node *owned, Drain destructor_drain = std::chrono::seconds(30)) noexcept
      : handle_(owned), drain_(destructor_drain) {}
  Node(Node &&other) noexcept = default;
  Node &operator=(Node &&other) noexcept {
    if (this != &other) {
      end();
      handle_ = std::move(other.handle_);
      drain_ = other.drain_;
    }
    return *this;
  }
  ~Node() { end(); }

  static Result<Node> try_open(const NodeOptions &from = {}) {
    detail::Checked checked;
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
    to.default_timeout_ms = checked.ms(from.default_timeout, "default_timeout");
    to.connect_timeout_ms = checked.ms(from.connect_timeout, "connect_timeout");
    to.heartbeat_ms = checked.ms(from.heartbeat, "heartbeat");
    to.suspect_after_ms = checked.ms(from.suspect_after, "suspect_after");
    to.probe_interval_ms = checked.ms(from.probe_interval, "probe_interval");
    to.remove_grace_ms = checked.ms(from.remove_grace, "remove_grace");
    to.warm_window_ms = checked.ms(from.warm_window, "warm_window");
    if (checked.wrong != nullptr) return checked.error();
    kamacache_node *handle = nullptr;
    kamacache_error *err = nullptr;
    kamacache_status status = kamacache_node_open(&to, &handle, &err);
    if (status != KAMACACHE_OK) return Error::adopt(status, err);
    return Node(handle, from.destructor_drain);
  }

  Result<Group> try_open_group(const std::string &name, GroupOptions from) const {
    detail::Checked checked;
    kamacache_group_options to;
    kamacache_group_options_init(&to);
    to.flags = from.flags;
    to.max_bytes = from.max_bytes;
    to.ttl_ms = checked.ms(from.ttl, "ttl");
    to.negative_ttl_ms = checked.ms(from.negative_ttl, "negative_ttl");
    to.hot_ttl_ms = checked.ms(from.hot_ttl, "hot_ttl");
    to.fallback_ttl_ms = checked.ms(from.fallback_ttl, "fallback_ttl");
    to.stale_while_revalidate_ms = checked.ms(from.stale_while_revalidate, "stale_while_revalidate");
    to.stale_if_error_ms = checked.ms(from.stale_if_error, "stale_if_error");
    to.load_timeout_ms = checked.ms(from.load_timeout, "load_timeout");
    to.max_concurrent_loads = from.max_concurrent_loads;
    to.max_value_bytes = from.max_value_bytes;
    to.policy = from.policy;
    if (checked.wrong != nullptr) return checked.error();
    if (from.getter_queue != nullptr) to.getter_queue = from.getter_queue->get();
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
  Result<Done> try_close(Drain drain = std::chrono::seconds(5)) const {
    kamacache_error *err = nullptr;
    kamacache_status status = kamacache_node_close(get(), drain.ms(), &err);
    return detail::done(status, err);
  }

  /* The callback runs once, when the node is closed: where the queue is dispatched, or on
   * a thread of the library. */
  Result<Done> close_async(std::function<void(Result<Done>)> callback, Drain drain = std::chrono::seconds(5),
                           const Queue *queue = nullptr) const {
    auto call = std::make_unique<detail::DoneCompletion>(std::move(callback));
    kamacache_error *err = nullptr;
    kamacache_status status = kamacache_node_close_async(get(), queue == nullptr ? nullptr : queue->get(), drain.ms(),
                                                         detail::written, call.get(), &err);
    if (status == KAMACACHE_OK) call.release();
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
  void close(Drain drain = std::chrono::seconds(5)) const { (void)try_close(drain).value(); }
#endif

  kamacache_node *get() const noexcept { return handle_.get(); } /* borrowed */

 private:
  void end() noexcept {
    if (handle_ != nullptr) kamacache_node_close(handle_.get(), drain_.ms(), nullptr);
    handle_.reset();
  }

  detail::Handle<kamacache_node, kamacache_node_free> handle_;
  Drain drain_;
};

/* ---- the library ---- */

/* Takes the library's messages: KAMACACHE_LOG_*, the part of the library, the text. */
using Logger = std::function<void(std::int32_t level, std::string_view target, std::string_view message)>;

/* Sends messages up to this level to logger, for the whole process; an empty one ends that. */
inline Result<Done> set_logger(std::int32_t max_level, Logger logger) {
  if (!logger) return detail::done(kamacache_set_logger(max_level, nullptr, nullptr, nullptr));
  auto hear = [](void *self, std::int32_t level, const char *target, const char *message) {
    detail::shielded([&] { (*static_cast<Logger *>(self))(level, target, message); }, [](const char *) {});
  };
  return detail::done(kamacache_set_logger(max_level, hear, new Logger(std::move(logger)),
                                           [](void *self) { delete static_cast<Logger *>(self); }));
}

inline const char *version() noexcept { return kamacache_version(); }
inline std::uint32_t version_number() noexcept { return kamacache_version_number(); }

}  // inline namespace KAMACACHE_CONFIGURATION
}  // namespace kamacache

#endif
