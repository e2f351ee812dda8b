// Compiled a few times, and linked as often as a test wants: debug information as templates make it.
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace app {
struct Item {
    std::string name;
    std::vector<int> values;
};

std::map<std::string, std::unique_ptr<Item>> items;

template <int N> inline int chain(int x) {
    items["k" + std::to_string(x % N)].reset(new Item{"n", std::vector<int>(x & 7)});
    return chain<N - 1>(x + 1) ^ N;
}

template <> inline int chain<0>(int x) { return x; }

struct Walk {
    std::unordered_map<int, std::function<int(int)>> table;

    int run(int n) {
        for (int i = 0; i < n; i++)
            table[i] = [i, n](int v) { return chain<KIND>(v) + i * n; };
        int sum = 0;
        for (auto &entry : table)
            sum += entry.second(sum);
        return sum;
    }
};
} // namespace app

extern "C" int unit_entry(int n) {
    app::Walk walk;
    return walk.run(n);
}
