// The C++ wrapper: with and without exceptions, C++17 and C++20.
#include <kamacache.hpp>

#include <poll.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <future>
#include <mutex>
#include <thread>

#include "check.h"

using namespace kamacache;

namespace {

GroupOptions echo_options() {
  GroupOptions options{1 << 20};
  options.getter = [](const LoadInfo &info, Load load) {
    if (info.key == "missing") load.not_found();
    else if (info.key == "boom") load.fail("disk on fire", 7);
    else if (info.key == "dropped") return;
    else load.complete(info.key);
  };
  return options;
}

struct Opened {
  Node node;
  Group group;
};

Opened opened(GroupOptions options = echo_options()) {
  Result<Node> node = Node::try_open();
  CHECK(node.ok());
  Result<Group> group = node->try_open_group("g", std::move(options));
  CHECK(group.ok());
  return Opened{*std::move(node), *std::move(group)};
}

void results_say_what_happened() {
  Opened o = opened();
  Result<Value> value = o.group.try_get("Tom");
  CHECK(value.ok() && value->view() == "Tom" && value.status() == KAMACACHE_OK);
  Result<Value> missing = o.group.try_get("missing");
  CHECK(!missing && missing.status() == KAMACACHE_NOT_FOUND && std::string(missing.error().name()) == "NOT_FOUND");
  Result<Value> boom = o.group.try_get("boom");
  CHECK(boom.error().app_code() == 7 && boom.error().message().find("disk on fire") != std::string::npos);
  Result<Value> dropped = o.group.try_get("dropped");
  CHECK(dropped.status() == KAMACACHE_GETTER_FAILED && dropped.error().message().find("without an answer") != std::string::npos);
  CHECK(o.group.try_get("").status() == KAMACACHE_INVALID_ARGUMENT);
}

void values_are_shared_and_outlive_the_node() {
  Value kept;
  {
    Opened o = opened();
    CHECK(o.group.try_set("k", "one", Milliseconds(60000), Milliseconds(1000)).ok());
    kept = *o.group.peek("k");
    Value copy = kept;
    CHECK(copy.data() == kept.data());
    CHECK(o.group.try_delete_key("k").ok() && !o.group.peek("k"));
    CHECK(o.node.try_close().ok() && !o.group.peek("k"));
  }
  CHECK(std::string_view(kept) == "one" && kept.str() == "one" && kept.size() == 3);
#if defined(__cpp_lib_span)
  CHECK(kept.bytes().size() == 3 && kept.bytes()[0] == std::byte{'o'});
#endif
}

void a_load_may_be_answered_from_another_thread() {
  std::vector<std::thread> threads;
  GroupOptions options{1 << 20};
  options.getter = [&](const LoadInfo &, Load load) {
    threads.emplace_back([](Load moved) { moved.complete_owned(std::string(100, 'x')); }, std::move(load));
  };
  Opened o = opened(std::move(options));
  Result<Value> value = o.group.try_get("k");
  CHECK(value.ok() && value->size() == 100);
  for (std::thread &thread : threads) thread.join();
}

void functions_are_freed_when_the_node_is_closed() {
  auto held = std::make_shared<int>(0);
  GroupOptions options = echo_options();
  options.on_evict = [held](std::string_view, const Value &, EvictReason) { ++*held; };
  Opened o = opened(options);
  options = GroupOptions{1};  // and when opening fails
  options.getter = [held](const LoadInfo &, Load) {};
  CHECK(o.node.try_open_group("small", std::move(options)).status() == KAMACACHE_INVALID_ARGUMENT);
  CHECK(o.group.try_set("a", "1").ok() && o.group.try_set("a", "2").ok());
  CHECK(o.node.try_close().ok());
  CHECK(held.use_count() == 1 && *held >= 1);
}

void completions_run_once() {
  Opened o = opened();
  std::promise<Result<Value>> got;
  CHECK(o.group.get_async("Tom", [&](Result<Value> value) { got.set_value(std::move(value)); }).ok());
  Result<Value> tom = got.get_future().get();
  CHECK(tom->view() == "Tom");
  std::promise<kamacache_status> wrote;
  CHECK(o.group.set_async("k", "v", [&](Result<Done> done) { wrote.set_value(done.status()); }).ok());
  CHECK(wrote.get_future().get() == KAMACACHE_OK && (*o.group.try_get("k")).str() == "v");
  std::promise<kamacache_status> deleted;
  CHECK(o.group.delete_async("k", [&](Result<Done> done) { deleted.set_value(done.status()); }).ok());
  CHECK(deleted.get_future().get() == KAMACACHE_OK && !o.group.peek("k"));
  auto held = std::make_shared<int>(0);
  CHECK(o.group.get_async("", [held](Result<Value>) { ++*held; }).status() == KAMACACHE_INVALID_ARGUMENT);
  CHECK(held.use_count() == 1 && *held == 0);
}

void a_queue_runs_completions_here() {
  Opened o = opened();
  Result<Queue> queue = Queue::try_make();
  int calls = 0;
  CHECK(o.group.get_async("Tom", [&](Result<Value> value) { calls += value.ok() ? 1 : 100; }, {}, &*queue).ok());
  pollfd ready{queue->fd(), POLLIN, 0};
  while (calls == 0 && poll(&ready, 1, 10000) == 1) queue->dispatch();
  CHECK(calls == 1 && !cancel(12345678));
}

void many_keys_in_one_call() {
  GroupOptions options{1 << 20};
  std::atomic<int> calls{0};
  options.batch_getter = [&](const std::vector<LoadInfo> &infos, std::vector<Load> loads) {
    calls++;
    for (std::size_t i = 0; i < infos.size(); i++) {
      if (infos[i].key != "forgotten") loads[i].complete(infos[i].key);
    }
  };
  Opened o = opened(std::move(options));
  auto results = o.group.try_get_many({"a", "forgotten", "b"});
  CHECK(results.ok() && results->size() == 3 && calls == 1);
  CHECK((*results)[0]->view() == "a" && (*results)[2]->view() == "b");
  CHECK((*results)[1].status() == KAMACACHE_GETTER_FAILED);
  CHECK(o.group.try_clear().ok() && o.group.stats().entries == 0 && o.group.stats().gets == 3);
}

void a_node_tells_its_members() {
  NodeOptions options;
  options.listen = "127.0.0.1:0";
  Result<Node> node = Node::try_open(options);
  CHECK(node.ok());
  std::string address = *node->try_address();
  CHECK((*node->try_admin_address()).empty());
  CHECK(node->try_set_peers({address, "127.0.0.1:1", "127.0.0.1:2"}).ok());
  CHECK((*node->try_members()).size() == 3 && (*node->try_members())[0] == "127.0.0.1:1");
  CHECK(!(*node->try_owner("Tom")).empty());
  CHECK(node->try_group("nope").status() == KAMACACHE_UNKNOWN_GROUP);
  options.listen = "nonsense";
  CHECK(Node::try_open(options).status() == KAMACACHE_INVALID_ARGUMENT);
}

// What shows the memory of an object cannot be had of a temporary one.
template <typename T, typename = void>
struct HasView : std::false_type {};
template <typename T>
struct HasView<T, std::void_t<decltype(std::declval<T>().view())>> : std::true_type {};
static_assert(HasView<Value &>::value && HasView<const Value &>::value && !HasView<Value>::value);
static_assert(std::is_convertible_v<Value &, std::string_view> && !std::is_convertible_v<Value, std::string_view>);

void times_are_of_any_unit_and_never_wrap() {
  using namespace std::chrono_literals;
  static_assert(Timeout(1s).ms() == 1000 && Timeout(1us).ms() == 1 && Timeout(1500us).ms() == 2);
  static_assert(Timeout(0ms).ms() == KAMACACHE_NO_WAIT && Timeout(-1ms).ms() == KAMACACHE_NO_WAIT);
  static_assert(Timeout(std::chrono::hours::max()).ms() == KAMACACHE_FOREVER);
  static_assert(Timeout(std::chrono::duration<double>(0.0001)).ms() == 1);
  static_assert(Ttl(1h).ms() == 3600000 && Ttl(0s).ms() == KAMACACHE_TTL_NO_STORE && Ttl(-5min).ms() == KAMACACHE_TTL_NO_STORE);
  static_assert(Drain(0s).ms() == 0 && Drain(-1s).ms() == 0);
  NodeOptions node;
  node.heartbeat = -1ms;
  Result<Node> refused = Node::try_open(node);
  CHECK(refused.status() == KAMACACHE_INVALID_ARGUMENT && refused.error().message().find("heartbeat") != std::string::npos);
  Opened o = opened();
  GroupOptions group = echo_options();
  group.ttl = 0s;
  CHECK(o.node.try_open_group("zero", std::move(group)).status() == KAMACACHE_INVALID_ARGUMENT);
  CHECK(o.group.try_set("gone", "v", 0s).ok() && !o.group.peek("gone"));
}

void second_answers_are_cancelled_as_in_c() {
  GroupOptions options{1 << 20};
  kamacache_status second = -1, third = -1, moved = -1;
  options.getter = [&](const LoadInfo &info, Load load) {
    load.complete(info.key);
    second = load.not_found();
    third = load.complete_owned("late");
    Load other = std::move(load);
    moved = load.complete("moved from");
  };
  Opened o = opened(std::move(options));
  CHECK((*o.group.try_get("k")).str() == "k");
  CHECK(second == KAMACACHE_CANCELLED && third == KAMACACHE_CANCELLED && moved == KAMACACHE_INVALID_ARGUMENT);
}

void the_rest_of_the_c_calls() {
  Opened o = opened();
  auto set = o.group.try_set_many({{"a", "1"}, {"", "2"}});
  CHECK(set.ok() && set->size() == 2 && (*set)[0].ok() && (*set)[1].status() == KAMACACHE_INVALID_ARGUMENT);
  char buf[4];
  std::size_t needed = 0;
  CHECK(*o.group.peek_into("a", buf, sizeof buf) == 1 && buf[0] == '1');
  CHECK(o.group.try_set("long", "12345").ok());
  CHECK(o.group.peek_into("long", buf, sizeof buf, &needed).status() == KAMACACHE_TOO_LARGE && needed == 5);
  CHECK(o.group.try_get("Tom").ok() && o.group.latency(1).ok() && o.group.latency(7).status() == KAMACACHE_INVALID_ARGUMENT);
  CHECK(o.group.name() == "g" && version_number() == KAMACACHE_VERSION_NUMBER && std::string(version()).size() >= 5);
  Result<Queue> queue = Queue::try_make();
  CHECK(queue->try_wait(Timeout::no_wait()).status() == KAMACACHE_DEADLINE_EXCEEDED && queue->size() == 0);
  std::size_t good = 0;
  kamacache_status cleared = -1, closed = -1;
  auto count = [&](Result<std::vector<Result<Value>>> all) {
    good = all->size() * 10 + ((*all)[0].ok() ? 1 : 0) + ((*all)[1].ok() ? 1 : 0);
  };
  CHECK(o.group.get_many_async({"a", "missing"}, count, {}, &*queue).ok());
  CHECK(queue->try_wait().ok() && good == 21);
  auto is_set = [&](Result<std::vector<Result<Done>>> all) { good = (*all)[0].ok() ? 7 : 8; };
  CHECK(o.group.set_many_async({{"b", "1"}}, is_set, {}, {}, &*queue).ok());
  CHECK(queue->try_wait().ok() && good == 7);
  CHECK(o.group.clear_async([&](Result<Done> done) { cleared = done.status(); }, {}, &*queue).ok());
  CHECK(queue->try_wait().ok() && cleared == KAMACACHE_OK);
  CHECK(o.node.close_async([&](Result<Done> done) { closed = done.status(); }, std::chrono::seconds(5), &*queue).ok());
  CHECK(queue->try_wait().ok() && closed == KAMACACHE_OK);
  auto hear = [](std::int32_t, std::string_view, std::string_view) {};
  CHECK(set_logger(KAMACACHE_LOG_INFO, hear).ok());
  CHECK(set_logger(99, hear).error().message().find("99") != std::string::npos);
  CHECK(set_logger(KAMACACHE_LOG_INFO, nullptr).ok());
}

void loads_may_be_pulled_by_this_thread() {
  Result<Queue> queue = Queue::try_make();
  std::thread::id where;
  GroupOptions options{1 << 20};
  options.getter = [&](const LoadInfo &info, Load load) {
    where = std::this_thread::get_id();
    load.complete(info.key);
  };
  options.getter_queue = &*queue;
  Opened o = opened(std::move(options));
  auto value = std::async(std::launch::async, [&] { return o.group.try_get("k"); });
  CHECK(queue->try_wait().ok());
  CHECK((*value.get()).str() == "k" && where == std::this_thread::get_id());
}

#if KAMACACHE_EXCEPTIONS
void a_load_that_is_lost_to_an_exception_is_answered() {
  GroupOptions options{1 << 20};
  options.load_timeout = std::chrono::seconds(600);
  options.getter = [](const LoadInfo &, Load load) {
    try {
      Load moved = std::move(load);
      throw std::runtime_error("caught inside");
    } catch (const std::exception &) {
    }
  };
  Opened o = opened(std::move(options));
  Result<Value> value = o.group.try_get("k", std::chrono::seconds(10));
  CHECK(value.status() == KAMACACHE_GETTER_FAILED && value.error().message().find("without an answer") != std::string::npos);
}

void an_exception_of_a_batch_getter_is_what_its_loads_fail_with() {
  GroupOptions options{1 << 20};
  options.batch_getter = [](const std::vector<LoadInfo> &, std::vector<Load> loads) {
    loads[0].complete("first");
    throw std::runtime_error("the table is gone");
  };
  Opened o = opened(std::move(options));
  auto results = o.group.try_get_many({"a", "b"});
  int failed = 0;
  for (const Result<Value> &one : *results) failed += !one.ok() && one.error().message().find("the table is gone") != std::string::npos;
  CHECK(results.ok() && failed == 1);
}

void exceptions_of_callbacks_stay_inside() {
  GroupOptions options{1 << 20};
  options.getter = [](const LoadInfo &info, Load) {
    if (info.key == "odd") throw 42;
    throw std::runtime_error("no such " + std::string(info.key));
  };
  Opened o = opened(std::move(options));
  Result<Value> value = o.group.try_get("table");
  CHECK(value.status() == KAMACACHE_GETTER_FAILED && value.error().message().find("no such table") != std::string::npos);
  CHECK(o.group.try_get("odd").error().message().find("unknown type") != std::string::npos);
  std::promise<void> ran;
  CHECK(o.group.get_async("x", [&](Result<Value>) { ran.set_value(); throw std::runtime_error("dropped"); }).ok());
  ran.get_future().get();
  CHECK(o.node.try_close().ok());
}

void throwing_calls_throw() {
  Node node = Node::open();
  Group group = node.open_group("g", echo_options());
  CHECK(group.get("Tom").str() == "Tom");
  group.set("k", "v");
  CHECK(group.get_many({"k"})[0]->view() == "v");
  group.delete_key("k");
  group.clear();
  CHECK(node.group("g").get("Tom").str() == "Tom" && node.address().empty());
  try {
    group.get("boom");
    CHECK(!"it throws");
  } catch (const Error &e) {
    CHECK(e.status() == KAMACACHE_GETTER_FAILED && e.app_code() == 7 && std::string(e.what()).find("disk on fire") != std::string::npos);
  }
  node.close();
}
#endif

#if KAMACACHE_COROUTINES
struct Task {
  struct promise_type {
    Task get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

Task get_both(const Group &group, std::promise<std::string> &out) {
  Result<Value> first = co_await group.async_get("a");
  Result<Value> refused = co_await group.async_get("");
  Result<Value> second = co_await group.async_get("b");
  out.set_value(first->str() + second->str() + kamacache_status_name(refused.status()));
}

void coroutines_await_gets() {
  Opened o = opened();
  std::promise<std::string> out;
  get_both(o.group, out);
  CHECK(out.get_future().get() == "abINVALID_ARGUMENT");
}
#endif

}  // namespace

int main() {
  RUN(results_say_what_happened);
  RUN(values_are_shared_and_outlive_the_node);
  RUN(a_load_may_be_answered_from_another_thread);
  RUN(functions_are_freed_when_the_node_is_closed);
  RUN(completions_run_once);
  RUN(a_queue_runs_completions_here);
  RUN(many_keys_in_one_call);
  RUN(times_are_of_any_unit_and_never_wrap);
  RUN(second_answers_are_cancelled_as_in_c);
  RUN(the_rest_of_the_c_calls);
  RUN(loads_may_be_pulled_by_this_thread);
  RUN(a_node_tells_its_members);
#if KAMACACHE_EXCEPTIONS
  RUN(a_load_that_is_lost_to_an_exception_is_answered);
  RUN(an_exception_of_a_batch_getter_is_what_its_loads_fail_with);
  RUN(exceptions_of_callbacks_stay_inside);
  RUN(throwing_calls_throw);
#endif
#if KAMACACHE_COROUTINES
  RUN(coroutines_await_gets);
#endif
  return check_report();
}
