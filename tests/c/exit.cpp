// Nodes that end with the process and with their scope: a function-local static,
// objects of threads, destructors while getters run. Nothing is said on stderr.
#include <kamacache.hpp>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>

using namespace std::chrono_literals;

namespace {

kamacache::GroupOptions echo() {
  kamacache::GroupOptions options{1 << 20};
  options.getter = [](const kamacache::LoadInfo &info, kamacache::Load load) { load.complete(info.key); };
  return options;
}

struct Cache {
  kamacache::Node node = kamacache::Node::open();
  kamacache::Group group;
  explicit Cache(kamacache::GroupOptions options = echo()) : group(node.open_group("g", std::move(options))) {}
};

// Says when the group's functions are freed, which a close does before it ends.
struct Freed {
  ~Freed() { std::puts("the functions were freed"); }
};

Cache &the_cache() {
  static Cache cache([] {
    kamacache::GroupOptions options = echo();
    options.on_evict = [freed = std::make_shared<Freed>()](std::string_view, const kamacache::Value &, kamacache::EvictReason) {};
    return options;
  }());
  return cache;
}

struct UsesItAtExit {
  ~UsesItAtExit() {
    kamacache::Result<kamacache::Value> value = the_cache().group.try_get("at exit");
    std::printf("at exit: %s\n", value.ok() ? value->str().c_str() : kamacache_status_name(value.status()));
  }
};

struct UsesItInItsThread {
  ~UsesItInItsThread() {
    kamacache::Result<kamacache::Value> value = the_cache().group.try_get("in a thread");
    std::printf("in a thread: %s\n", value.ok() ? value->str().c_str() : kamacache_status_name(value.status()));
  }
};

// Made after the thread's first call and before its first blocking one, so it ends
// before what that first call set up and after what later calls did.
struct MadeBetweenCalls {
  bool touched = false;
  ~MadeBetweenCalls() {
    kamacache::Group &group = the_cache().group;
    kamacache::Result<kamacache::Value> value = group.try_get("between calls");
    std::printf("between calls: %s", value.ok() ? value->str().c_str() : kamacache_status_name(value.status()));
    std::printf(", set %s", kamacache_status_name(group.try_set("set", "v").status()));
    value = group.try_get("set");
    std::printf(", %s", value.ok() ? value->str().c_str() : kamacache_status_name(value.status()));
    std::printf(", %s\n", kamacache_status_name(group.try_get("").status()));
  }
};

// The destructor waits for a getter that runs, so what the getter uses may end after it.
void destructors_wait_for_getters() {
  std::promise<void> entered;
  std::atomic<bool> returned{false};
  std::optional<kamacache::Group> group;
  {
    kamacache::Node node = kamacache::Node::open();
    kamacache::GroupOptions options{1 << 20};
    options.getter = [&](const kamacache::LoadInfo &info, kamacache::Load load) {
      entered.set_value();
      // Until calls are refused: the destructor has begun.
      while (group->try_set("x", "y").ok()) std::this_thread::yield();
      for (int i = 0; i < 5000; i++) std::this_thread::yield();
      load.complete(info.key);
      returned = true;
    };
    group.emplace(node.open_group("g", std::move(options)));
    if (!group->get_async("k", [](kamacache::Result<kamacache::Value>) {}).ok()) std::abort();
    entered.get_future().wait();
  }
  std::printf("the getter had %s\n", returned ? "returned" : "not returned");
}

}  // namespace

int main() {
  destructors_wait_for_getters();
  std::thread([] {
    static thread_local UsesItInItsThread used;
    (void)used;
    (void)the_cache().group.get("k");
  }).join();
  std::thread([] {
    (void)the_cache().group.peek("k");
    static thread_local MadeBetweenCalls made;
    made.touched = true;
    (void)the_cache().group.get("a miss");
  }).join();
  static UsesItAtExit made_first;
  (void)made_first;
  (void)the_cache().group.get("k");
  return 0;
}
