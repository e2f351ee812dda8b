// A C++ service: program SHAPE [--rate MB_PER_MIN] [--size MIB] --seed N. Shapes that leak come first in the table.
#include "../c/program.h"

#include <deque>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

double rate;       // bytes a second, of those that leak
size_t size_of_it; // bytes, of those that do not

struct Session {
    virtual ~Session() = default;
    long id = 0;
    std::string user;
    std::vector<char> state;
};

// Sessions that nobody ends.
struct Sessions {
    std::map<long, std::unique_ptr<Session>> open;

    APART double remember(long id)
    {
        auto session = std::make_unique<Session>();
        session->id = id;
        session->user.assign(120, 'u');
        session->state.assign(static_cast<size_t>(between(200, 1400)), 's');
        double bytes = 300.0 + static_cast<double>(session->state.size());
        open.emplace(id, std::move(session));
        return bytes;
    }
};

// Nodes that hold each other.
struct Node {
    std::shared_ptr<Node> peer;
    char payload[800];
};

APART double link_nodes(long)
{
    auto one = std::make_shared<Node>(), other = std::make_shared<Node>();
    one->payload[0] = other->payload[0] = 1;
    one->peer = other;
    other->peer = one;
    return 2 * (sizeof(Node) + 32);
}

// Subscribers that never leave: the list is copied to twice its size now and then.
struct Subscriber {
    long id;
    char name[56];
};

APART double subscribe(long id)
{
    static std::vector<Subscriber> subscribers;
    Subscriber one{id, {}};
    memset(one.name, 'n', sizeof(one.name));
    subscribers.push_back(one);
    return sizeof(Subscriber);
}

// A queue whose reader is slower than its writer.
APART double enqueue(long id)
{
    static std::deque<std::string> queue;
    double before = static_cast<double>(queue.size());
    for (int i = 0; i < 4; i++)
        queue.emplace_back(500, static_cast<char>('a' + id % 26));
    for (int i = 0; i < 3 && id % 5; i++)
        queue.pop_front();
    return (static_cast<double>(queue.size()) - before) * 544;
}

[[noreturn]] void leak(double (*keep)(long), bool load)
{
    double owed = 0, last = elapsed();
    for (long id = 1;;) {
        double now = elapsed();
        owed += rate * (load ? 1 + 0.8 * sin(2 * M_PI * now / 240) : 1) * (now - last);
        last = now;
        while (owed > 0) {
            double kept = keep(id++);
            owed -= kept;
            leaked(kept);
        }
        // what a request needs beside is given back
        std::vector<std::string> request(100, std::string(static_cast<size_t>(between(50, 3000)), 'r'));
        pause_for(1.0 / BEATS);
    }
}

APART double remember(long id)
{
    static Sessions sessions;
    return sessions.remember(id);
}

// Least recently asked for out: full after two minutes.
void lru()
{
    std::list<std::pair<long, std::string>> order;
    std::unordered_map<long, decltype(order)::iterator> index;
    size_t room = size_of_it / 1200;
    for (long id = 0;;) {
        for (size_t i = 0; i < room / 120 / BEATS + 1; i++, id++) {
            order.emplace_front(id, std::string(1000, 'v'));
            index[id] = order.begin();
            if (order.size() > room) {
                index.erase(order.back().first);
                order.pop_back();
            }
            for (int read = 0; read < READS_A_WRITE; read++) {
                auto found = index.find(id - static_cast<long>(asked_for(order.size())));
                if (found != index.end())
                    order.splice(order.begin(), order, found->second);
            }
        }
        pause_for(1.0 / BEATS);
    }
}

// Reports that are built in half a minute and dropped.
void reports()
{
    for (;;) {
        std::vector<std::unique_ptr<std::string>> lines;
        for (size_t i = 0; i < size_of_it / 1000; i++) {
            lines.push_back(std::make_unique<std::string>(900, 'l'));
            if (i % (size_of_it / 1000 / 600 + 1) == 0)
                pause_for(1.0 / BEATS);
        }
    }
}

// Buffers go back to a list of free ones, which is as long as the busiest moment made it.
void buffers()
{
    std::vector<std::vector<char>> idle;
    for (;;) {
        auto wanted = static_cast<size_t>(between(1, 40) * std::min(1.0, 0.2 + elapsed() / 150));
        std::vector<std::vector<char>> taken;
        for (size_t i = 0; i < wanted; i++) {
            if (idle.empty()) {
                taken.emplace_back(size_of_it / 40, 'b');
            } else {
                taken.push_back(std::move(idle.back()));
                idle.pop_back();
            }
            std::fill(taken.back().begin(), taken.back().end(), 'b');
        }
        pause_for(0.5);
        for (auto &buffer : taken)
            idle.push_back(std::move(buffer));
    }
}

} // namespace

int main(int argc, char **argv)
{
    require(argc > 1, "program SHAPE ...");
    std::string shape = argv[1];
    seed(argc, argv);
    rate = atof(argument(argc, argv, "--rate", "3")) * between(0.75, 1.33) * MIB / 60;
    size_of_it = static_cast<size_t>(atof(argument(argc, argv, "--size", "12")) * between(0.75, 1.33) * MIB);
    start_thread(until_input_ends, nullptr);
    elapsed();
    const struct {
        const char *name, *function;
        double (*keep)(long);
        bool load;
    } leaks[] = {
        {"sessions", "remember", remember, false},   {"sessions-under-load", "remember", remember, true},
        {"cycles", "link_nodes", link_nodes, false}, {"subscribers", "subscribe", subscribe, false},
        {"queue", "enqueue", enqueue, true},
    };
    for (const auto &one : leaks) {
        if (shape == one.name) {
            say_leaks(one.function, rate * 60 / MIB);
            leak(one.keep, one.load);
        }
    }
    say_calm();
    if (shape == "lru")
        lru();
    if (shape == "reports")
        reports();
    if (shape == "buffers")
        buffers();
    require(0, "SHAPE is unknown");
}
