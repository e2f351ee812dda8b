/*
 * Leaks in one function, reached through three others, beside requests that give back what they take: 250 times a second,
 * from the line `go` to the next line, which it answers with what it has leaked. With -DINLINED the function that leaks is
 * inlined into the one that calls it.
 */
#include "../c/truth.h"

#include <poll.h>
#include <stdint.h>
#include <sys/mman.h>

/* The small blocks fit into the thread cache: freed, they are taken again as they are, and never border on what leaks. */
enum { LEAK = 20000, SCRATCH = 500, BATCH = 1 << 20, PAUSE_MS = 4 };

#ifdef INLINED
#define LEAKING_FUNCTION static inline __attribute__((always_inline))
#else
#define LEAKING_FUNCTION SITE_FUNCTION static
#endif

/* What leaks is kept in a list that takes no memory of its own. */
struct block {
    struct block *next;
};

static struct block *kept;
static struct site leaked = {.function = "leak_site"};

/* What stands behind a call keeps the compiler from leaving the function before it. */
#define STAY() __asm__ volatile("" ::: "memory")

LEAKING_FUNCTION void leak_site(void)
{
    struct block *block = malloc(LEAK);

    require(block != NULL, "no memory");
    memset(block, 1, LEAK);
    block->next = kept;
    kept = block;
    took(&leaked, LEAK);
    STAY();
}

SITE_FUNCTION static void give_back(size_t size)
{
    char *block = malloc(size);

    require(block != NULL, "no memory");
    memset(block, 2, size);
    HIDE(block);
    free(block);
    STAY();
}

/* As from an allocator that keeps its addresses: what is freed here is never mapped by somebody else. */
SITE_FUNCTION static void give_back_much(void)
{
    static char *room;

    if (room == NULL)
        room = mmap(NULL, BATCH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(room != MAP_FAILED, "no memory");
    memset(room, 2, BATCH);
    require(madvise(room, BATCH, MADV_DONTNEED) == 0, "it is not given back");
    STAY();
}

SITE_FUNCTION static void remember(int number)
{
    give_back(SCRATCH + (size_t)number % 7 * 50);
    leak_site();
    STAY();
}

SITE_FUNCTION static void log_in(int number)
{
    remember(number);
    STAY();
}

SITE_FUNCTION static void search(int number)
{
    if (number % 25 == 0)
        give_back_much();
    remember(number);
    STAY();
}

SITE_FUNCTION static void upload(int number)
{
    give_back(SCRATCH);
    remember(number);
    STAY();
}

SITE_FUNCTION static void route(int number)
{
    static void (*const handlers[])(int) = {log_in, search, upload};

    handlers[number % 3](number);
    STAY();
}

int main(void)
{
    struct pollfd input = {.fd = 0, .events = POLLIN};

    give_back_much();
    give_back(SCRATCH);
    ready();
    for (int number = 0; poll(&input, 1, PAUSE_MS) == 0; number++)
        route(number);
    require(line(), "no end");
    tell(&leaked, 1, "");
    return 0;
}
