// One program of objects with and without exceptions, the latter linked first:
// compiled twice, once with -fno-exceptions -DWITHOUT_EXCEPTIONS.
#include <kamacache.hpp>

#include <cstdio>
#include <stdexcept>

#ifdef WITHOUT_EXCEPTIONS

int opens_without_exceptions() {
  kamacache::Result<kamacache::Node> node = kamacache::Node::try_open();
  kamacache::GroupOptions options{1 << 20};
  options.getter = [](const kamacache::LoadInfo &info, kamacache::Load load) { load.complete(info.key); };
  if (!node.ok()) return 0;
  kamacache::Result<kamacache::Group> group = node->try_open_group("g", std::move(options));
  return group.ok() && group->try_get("k").ok();
}

#else

int opens_without_exceptions();

int main() {
  kamacache::Node node = kamacache::Node::open();
  kamacache::GroupOptions options{1 << 20};
  options.getter = [](const kamacache::LoadInfo &, kamacache::Load) { throw std::runtime_error("no such table"); };
  kamacache::Group group = node.open_group("g", std::move(options));
  kamacache::Result<kamacache::Value> value = group.try_get("k");
  std::printf("%s %d\n", kamacache_status_name(value.status()), opens_without_exceptions());
  return 0;
}

#endif
