// RAII throughout: a class that owns its node and group, a load that is answered
// on another thread, and values that outlive their node. No line frees anything,
// whatever throws.
#include <future>
#include <iostream>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <kamacache.hpp>

using namespace std::chrono_literals;

// A cache of squares. Its getter hands each load to a thread of its own; a load
// that is dropped on the way fails by itself, so nobody waits in vain.
class Squares {
 public:
  Squares() : node_(kamacache::Node::open()), group_(node_.open_group("squares", options())) {}
  ~Squares() {
    (void)node_.try_close(5s);  // no getter starts after it
    for (std::thread &thread : threads_) thread.join();
  }
  Squares(const Squares &) = delete;
  Squares &operator=(const Squares &) = delete;

  kamacache::Value of(int n) const { return group_.get(std::to_string(n)); }
  const kamacache::Group &group() const { return group_; }

 private:
  kamacache::GroupOptions options() {
    kamacache::GroupOptions options{1 << 20};
    options.ttl = 1min;
    options.getter = [this](const kamacache::LoadInfo &info, kamacache::Load load) {
      std::lock_guard<std::mutex> lock(mutex_);
      threads_.emplace_back(
          [key = std::string(info.key)](kamacache::Load load) {
            long n = std::stol(key);
            if (n < 0) load.fail("no square of a negative number here", 33);
            else load.complete(std::to_string(n * n));
          },
          std::move(load));
    };
    return options;
  }

  std::mutex mutex_;
  std::vector<std::thread> threads_;
  kamacache::Node node_;
  kamacache::Group group_;
};

int main() {
  kamacache::Value kept;
  {
    Squares squares;
    kept = squares.of(12);
    try {
      squares.of(-1);
    } catch (const kamacache::Error &e) {
      std::cout << e.name() << ' ' << e.app_code() << ": " << e.message() << '\n';
    }
    std::promise<std::string> later;
    auto begun = squares.group().get_async("7", [&](kamacache::Result<kamacache::Value> result) {
      later.set_value(result ? result->str() : result.error().message());
    });
    if (!begun) throw begun.error();  // then the callback never runs
    std::cout << "7 * 7 = " << later.get_future().get() << '\n';
  }
  std::cout << "12 * 12 = " << kept.view() << ", after its node is gone\n";
}
