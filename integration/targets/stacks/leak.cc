// Leaks in a function template that a lambda calls, through containers and std::function, beside requests that give back
// what they take: 250 times a second, from the line `go` to the next line, which it answers with what it has leaked. With
// -DINLINED the function that leaks is inlined into the one that calls it.
extern "C" {
#include "../c/truth.h"
}

#include <functional>
#include <map>
#include <memory>
#include <poll.h>
#include <string>
#include <vector>

#ifdef INLINED
#define LEAKING_FUNCTION inline __attribute__((always_inline))
#else
#define LEAKING_FUNCTION __attribute__((noinline))
#endif

namespace server {

constexpr size_t leak = 20000, scratch = 500, batch = 1 << 20;
struct site leaked = {"leak_site", 0, 0, 0, 0};

// What stands behind a call keeps the compiler from leaving the function before it.
inline void stay()
{
    __asm__ volatile("" ::: "memory");
}

template <class Value> struct Session {
    Session *next;
    Value values[(leak - sizeof(void *)) / sizeof(Value)];
};

template <class Value> Session<Value> *kept;

template <class Value> LEAKING_FUNCTION void leak_site(Value value)
{
    auto session = std::make_unique<Session<Value>>();
    for (auto &slot : session->values)
        slot = value;
    session->next = kept<Value>;
    kept<Value> = session.release();
    took(&leaked, sizeof(Session<Value>));
    stay();
}

__attribute__((noinline)) void give_back(size_t size)
{
    std::vector<char> block(size, 2);
    std::string name(size % 500 + 100, 'x');
    const char *bytes = block.data(), *text = name.data();
    HIDE(bytes);
    HIDE(text);
}

class Router {
public:
    Router()
    {
        handlers["log_in"] = [this](int number) { remember(number); stay(); };
        handlers["search"] = [this](int number) {
            if (number % 25 == 0)
                give_back(batch);
            remember(number);
            stay();
        };
        handlers["upload"] = [this](int number) { give_back(scratch); remember(number); stay(); };
    }

    __attribute__((noinline)) void route(int number)
    {
        static const char *const names[] = {"log_in", "search", "upload"};
        handlers.find(names[number % 3])->second(number);
        stay();
    }

private:
    __attribute__((noinline)) void remember(int number)
    {
        give_back(scratch + static_cast<size_t>(number) % 7 * 50);
        leak_site<int64_t>(number);
        stay();
    }

    std::map<std::string, std::function<void(int)>, std::less<>> handlers;
};

} // namespace server

int main()
{
    struct pollfd input = {0, POLLIN, 0};
    server::Router router;

    server::give_back(server::batch);
    ready();
    for (int number = 0; poll(&input, 1, 4) == 0; number++)
        router.route(number);
    require(line(), "no end");
    tell(&server::leaked, 1, "");
}
