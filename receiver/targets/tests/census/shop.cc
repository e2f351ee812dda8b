// Leaks orders among objects of the same size that come and go: for each line of input as many orders as it says, and answers with
// how many there are.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

namespace shop {

struct Thing {
    virtual ~Thing() = default;
    virtual int price() const = 0;
};

struct Order : Thing {
    int price() const override { return items[0]; }
    int items[22] = {7};
};

namespace {
struct Quote : Thing {
    int price() const override { return items[1]; }
    int items[22] = {0, 8};
};
} // namespace

} // namespace shop

static volatile int sum;
static std::atomic<int> ready;

static void churns(unsigned seed) {
    std::vector<std::unique_ptr<shop::Thing>> quotes(1000);
    for (auto &quote : quotes)
        quote = std::make_unique<shop::Quote>();
    ready++;
    for (;; seed = seed * 1103515245 + 12345) {
        auto &quote = quotes[seed / 65536 % quotes.size()];
        quote = std::make_unique<shop::Quote>();
        sum = sum + quote->price();
    }
}

int main() {
    std::vector<std::unique_ptr<shop::Thing>> orders;
    setvbuf(stdout, nullptr, _IONBF, 0);
    for (unsigned seed = 1; seed < 3; seed++)
        std::thread(churns, seed).detach();
    while (ready < 2)
        std::this_thread::yield();
    for (int number; std::scanf("%d", &number) == 1;) {
        for (int i = 0; i < number; i++)
            orders.push_back(std::make_unique<shop::Order>());
        std::printf("%zu\n", orders.size());
    }
    std::_Exit(0);
}
