/*
 * What a pair of malloc and free costs: for each line `SIZE MILLISECONDS [KIND]` it does pairs for so long and prints the
 * nanoseconds of CPU time of one, and their number. KIND is one of the below; `malloc` unless said otherwise.
 */
#include "truth.h"

#include <alloca.h>
#include <time.h>

static double now(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

SITE_FUNCTION static void pair(size_t size)
{
    void *block = malloc(size);

    HIDE(block);
    free(block);
}

SITE_FUNCTION static void pair_of_zeros(size_t size)
{
    void *block = calloc(1, size);

    HIDE(block);
    free(block);
}

/* One of many blocks, of any size up to the one given, is replaced. */
SITE_FUNCTION static void replaced(size_t size)
{
    static void *blocks[4096];
    static uint64_t state = 1;
    void **block = &blocks[scramble(&state) % 4096];

    free(*block);
    *block = malloc(16 + scramble(&state) % size);
    HIDE(*block);
}

#define PLACES 16
#define DEPTHS 48
#define PLACE(number) \
    case number: \
        block = malloc(size); \
        __asm__ volatile("nop # place " #number ::: "memory"); \
        break;

/* At a place and from a depth of the stack that are not the last one's: each is another call site. */
SITE_FUNCTION static void elsewhere(size_t size)
{
    static unsigned int turn;
    volatile char *room = alloca(128 * (1 + turn / PLACES % DEPTHS));
    void *block = NULL;

    room[0] = 0;
    switch (turn++ % PLACES) {
        PLACE(0) PLACE(1) PLACE(2) PLACE(3) PLACE(4) PLACE(5) PLACE(6) PLACE(7)
        PLACE(8) PLACE(9) PLACE(10) PLACE(11) PLACE(12) PLACE(13) PLACE(14) PLACE(15)
    }
    HIDE(block);
    free(block);
}

static const struct kind {
    const char *name;
    void (*once)(size_t size);
    /* 0: until the time is up */
    long most;
} kinds[] = {
    {"malloc", pair, 0},
    {"calloc", pair_of_zeros, 0},
    {"replaced", replaced, 0},
    {"elsewhere", elsewhere, PLACES * DEPTHS},
};

static void obey(const char *order)
{
    char answer[100], name[16] = "malloc";
    const struct kind *kind = NULL;
    size_t size;
    double milliseconds;

    require(sscanf(order, "%zu %lf %15s", &size, &milliseconds, name) >= 2, "such an order makes no sense");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
        if (strcmp(kinds[i].name, name) == 0)
            kind = &kinds[i];
    require(kind != NULL, "there is no such kind of pair");
    long pairs = 0;
    /* time ends it, and CPU time is what it costs: what others do meanwhile does not count */
    double end = now(CLOCK_MONOTONIC) + milliseconds * 1e6, before = now(CLOCK_THREAD_CPUTIME_ID);
    while (kind->most ? pairs < kind->most : now(CLOCK_MONOTONIC) < end)
        for (int i = 0; i < (kind->most ? 1 : 100); i++, pairs++)
            kind->once(size);
    double took = now(CLOCK_THREAD_CPUTIME_ID) - before;
    int used = snprintf(answer, sizeof(answer), "%.2f %ld\n", took / (double)pairs, pairs);
    say(answer, (size_t)used);
}

int main(void)
{
    char order[100];
    size_t length = 0;

    say("ready\n", 6);
    while (read(0, &order[length], 1) == 1) {
        if (order[length] != '\n') {
            length++;
            require(length < sizeof(order), "such an order is too long");
            continue;
        }
        order[length] = 0;
        length = 0;
        obey(order);
    }
    return 0;
}
