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
  CHECK((*got.get_future().get()).view() == "Tom");
  std::promise<kamacache_status> wrote;
  CHECK(o.group.set_async("k", "v", [&](Result<Done> done) { wrote.set_value(done.status()); }).ok());
  CHECK(wrote.get_future().get() == KAMACACHE_OK && o.group.try_get("k")->view() == "v");
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
  CHECK(node->try_admin_address()->empty());
  CHECK(node->try_set_peers({address, "127.0.0.1:1", "127.0.0.1:2"}).ok());
  CHECK(node->try_members()->size() == 3 && (*node->try_members())[0] == "127.0.0.1:1");
  CHECK(!node->try_owner("Tom")->empty());
  CHECK(node->try_group("nope").status() == KAMACACHE_UNKNOWN_GROUP);
  options.listen = "nonsense";
  CHECK(Node::try_open(options).status() == KAMACACHE_INVALID_ARGUMENT);
}

#if KAMACACHE_EXCEPTIONS
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
  CHECK(group.get("Tom").view() == "Tom");
  group.set("k", "v");
  CHECK(group.get_many({"k"})[0]->view() == "v");
  group.delete_key("k");
  group.clear();
  CHECK(node.group("g").get("Tom").view() == "Tom" && node.address().empty());
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
  RUN(a_node_tells_its_members);
#if KAMACACHE_EXCEPTIONS
  RUN(exceptions_of_callbacks_stay_inside);
  RUN(throwing_calls_throw);
#endif
#if KAMACACHE_COROUTINES
  RUN(coroutines_await_gets);
#endif
  return check_report();
}
