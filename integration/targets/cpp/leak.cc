/*
 * C++: every kind of new and delete, containers, constructors that throw, and 10,000 exceptions that unwind through
 * functions that hold memory. Exceptions are memory too, so only what is alive is known of the whole process.
 * With the argument `churn` it does all that in two threads until its input ends, and prints a dot now and then.
 */
#include "../c/truth.h"

#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

enum { NEW, ARRAY, COOKIE, ALIGNED, NOTHROW, THROWING, HELD, VECTOR, STRING, LIST, MAP, SITES };

static site sites[SITES] = {
    {"keep_new", 0, 0, 0, 0},    {"keep_array", 0, 0, 0, 0},   {"keep_cookie", 0, 0, 0, 0}, {"keep_aligned", 0, 0, 0, 0},
    {"keep_nothrow", 0, 0, 0, 0}, {"throwing", 0, 0, 0, 0},    {"held", 0, 0, 0, 0},        {"keep_vector", 0, 0, 0, 0},
    {"keep_string", 0, 0, 0, 0}, {"keep_list", 0, 0, 0, 0},    {"keep_map", 0, 0, 0, 0},
};

struct Record {
    long numbers[25];
};

struct Named {
    long number = 1;
    ~Named() { HIDE(number); }
};

struct alignas(128) Wide {
    char bytes[256];
};

struct Thrower {
    long numbers[11];
    __attribute__((noinline)) explicit Thrower(long number) : numbers{number}
    {
        if (number % 2)
            throw std::runtime_error("odd");
    }
};

template <typename T> static T *shown(T *pointer)
{
    HIDE(pointer); // or the compiler leaves out a pair of new and delete
    return pointer;
}

SITE_FUNCTION static Record *keep_new()
{
    auto *record = shown(new Record);
    took(&sites[NEW], sizeof(Record));
    return record;
}

SITE_FUNCTION static char *keep_array(size_t size)
{
    auto *array = shown(new char[size]);
    took(&sites[ARRAY], size);
    return array;
}

// the number of elements stands before those that have a destructor
SITE_FUNCTION static Named *keep_cookie(size_t count)
{
    auto *array = shown(new Named[count]);
    took(&sites[COOKIE], sizeof(size_t) + count * sizeof(Named));
    return array;
}

SITE_FUNCTION static Wide *keep_aligned()
{
    auto *wide = shown(new Wide);
    took(&sites[ALIGNED], sizeof(Wide));
    return wide;
}

SITE_FUNCTION static char *keep_nothrow(size_t size)
{
    auto *array = shown(new (std::nothrow) char[size]);
    took(&sites[NOTHROW], size);
    return array;
}

// the failure is an exception, which is memory too: this function's
SITE_FUNCTION static bool hopeless(size_t size)
{
    require(!shown(new (std::nothrow) char[size]), "there is memory without end");
    try {
        shown(new char[size]);
        return false;
    } catch (const std::bad_alloc &) {
        return true;
    }
}

// true if it did not throw; what was allocated for the object that never came to be is freed by the language
SITE_FUNCTION static bool throwing(long number)
{
    took(&sites[THROWING], sizeof(Thrower));
    gave(&sites[THROWING], sizeof(Thrower));
    delete shown(new Thrower(number));
    return true;
}

SITE_FUNCTION static std::unique_ptr<char[]> held(size_t size)
{
    took(&sites[HELD], size);
    gave(&sites[HELD], size);
    return std::unique_ptr<char[]>(shown(new char[size]));
}

SITE_FUNCTION static void keep_vector(std::vector<long> &vector, size_t count)
{
    vector.reserve(count);
    took(&sites[VECTOR], count * sizeof(long));
}

SITE_FUNCTION static void keep_string(std::string *place, size_t length)
{
    new (place) std::string(length, 'x');
    took(&sites[STRING], length + 1);
}

SITE_FUNCTION static void keep_list(std::list<long> &list)
{
    list.push_back(1);
    took(&sites[LIST], sizeof(std::_List_node<long>));
}

SITE_FUNCTION static void keep_map(std::map<long, long> &map, long key)
{
    map.emplace(key, key);
    took(&sites[MAP], sizeof(std::_Rb_tree_node<std::pair<const long, long>>));
}

__attribute__((noinline)) static long deep(int depth, long number)
{
    auto block = held(20 + static_cast<size_t>(depth) * 30);
    block[0] = 1;
    if (depth > 0)
        return deep(depth - 1, number) + block[0];
    throwing(number);
    return block[0];
}

// unwinds five frames, each of which holds a block
static long unwound(long rounds)
{
    long caught = 0;
    for (long number = 0; number < rounds; number++) {
        try {
            deep(5, number);
        } catch (const std::runtime_error &) {
            caught++;
        }
    }
    return caught;
}

// NEW_ABORTS: an allocator whose `new` ends the process instead of throwing
static void impossible(int rounds)
{
#ifdef NEW_ABORTS
    rounds = 0;
#endif
    size_t huge = PTRDIFF_MAX - 100000;
    HIDE(huge);
    for (int i = 0; i < rounds; i++)
        require(hopeless(huge), "there is memory without end");
}

static void kinds(long rounds, bool keep)
{
    uint64_t random = 11;
    for (long i = 0; i < rounds; i++) {
        bool drop = !keep || i % 4;
        Record *record = keep_new();
        if (drop) {
            delete record;
            gave(&sites[NEW], sizeof(Record));
        }
        size_t size = 1 + scramble(&random) % 1500, count = 1 + scramble(&random) % 20;
        char *array = keep_array(size);
        if (drop) {
            delete[] array;
            gave(&sites[ARRAY], size);
        }
        Named *named = keep_cookie(count);
        if (drop) {
            delete[] named;
            gave(&sites[COOKIE], sizeof(size_t) + count * sizeof(Named));
        }
        Wide *wide = keep_aligned();
        require(reinterpret_cast<uintptr_t>(wide) % 128 == 0, "an odd address");
        if (drop) {
            delete wide;
            gave(&sites[ALIGNED], sizeof(Wide));
        }
        array = keep_nothrow(size);
        if (drop) {
            delete[] array;
            gave(&sites[NOTHROW], size);
        }
    }
}

static std::vector<long> vectors[500];
alignas(std::string) static char strings[500 * sizeof(std::string)];
static std::list<long> list;
static std::map<long, long> map;

static void containers()
{
    for (size_t i = 0; i < 500; i++) {
        keep_vector(vectors[i], 10 + i);
        keep_string(reinterpret_cast<std::string *>(strings) + i, 50 + i);
        keep_list(list);
        keep_map(map, static_cast<long>(i));
    }
}

static std::atomic<bool> ended;

static void churn()
{
    for (int round = 1; !ended; round++) {
        require(unwound(100) == 50, "an exception is lost");
        kinds(100, false);
        impossible(1);
        if (round % 50 == 0)
            say(".\n", 2);
    }
}

int main(int count, char **arguments)
{
    unwound(2); // the unwinder has set itself up
    if (count > 1 && std::string(arguments[1]) == "churn") {
        std::thread end([] {
            while (line())
                ;
            ended = true;
        });
        say("ready\n", 6);
        std::thread other(churn);
        churn();
        other.join();
        end.join();
        say("sound\n", 6);
        return 0;
    }
    for (auto &site : sites)
        site = {site.function, 0, 0, 0, 0};
    ready();
    kinds(5000, true);
    containers();
    require(unwound(20000) == 10000, "an exception is lost");
    impossible(100);
    tell(sites, SITES, ",\"live_whole\":true,\"mapped_bytes\":0");
    _exit(0);
}
