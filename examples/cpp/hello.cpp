// The C++ wrapper: handles free themselves, failures are exceptions or results.
#include <iostream>
#include <string>

#include <kamacache.hpp>

int main() {
  try {
    kamacache::Node node = kamacache::Node::open();  // no listen: a single instance
    kamacache::GroupOptions options{1 << 20};
    options.getter = [](const kamacache::LoadInfo &info, kamacache::Load load) {
      // The load may also be moved to another thread and answered there.
      if (info.key == "Tom") load.complete("630");
      else load.not_found();
    };
    kamacache::Group scores = node.open_group("scores", options);

    std::cout << "Tom is " << scores.get("Tom").str() << '\n';
    kamacache::Result<kamacache::Value> nobody = scores.try_get("nobody");
    if (!nobody) std::cout << nobody.error().name() << ": " << nobody.error().message() << '\n';
    node.close();
  } catch (const kamacache::Error &e) {
    std::cerr << e.name() << ": " << e.what() << '\n';
    return 1;
  }
}
