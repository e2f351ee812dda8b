// An allocation by a container of the library, below a lambda in a std::function.
#include <cstdlib>
#include <functional>
#include <new>
#include <string>
#include <vector>

extern "C" void spill();

static bool armed;

void *operator new(std::size_t size) {
  if (armed) spill();
  void *block = std::malloc(size);
  if (!block) throw std::bad_alloc();
  return block;
}
void operator delete(void *block) noexcept { std::free(block); }
void operator delete(void *block, std::size_t) noexcept { std::free(block); }

namespace app {
template <typename T> struct Session {
  std::vector<T> kept;
  __attribute__((noinline)) std::size_t remember(const T &it) {
    kept.push_back(it);
    return kept.size();
  }
};
__attribute__((noinline)) int serve(const std::function<int(int)> &handle, int n) { return handle(n) + 1; }
}  // namespace app

int main(int argc, char **) {
  app::Session<double> session;
  auto handle = [&](int n) {
    armed = true;
    return static_cast<int>(session.remember(n));
  };
  return app::serve(handle, argc) == 0;
}
