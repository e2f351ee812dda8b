/*
 * Twenty functions that each keep some hundred blocks of 1 to 20 KiB and free others, and one that keeps a few of more
 * than 1 MiB: for estimates from samples, which must hold as often as they say. Blocks below the first argument, in
 * bytes, are allocated and do not count.
 */
#include "truth.h"

enum { FUNCTIONS = 20, LARGE = FUNCTIONS, SITES, EACH = 600 };

#define EVERY(do)                                                                                                      \
    do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7) do(8) do(9) do(10) do(11) do(12) do(13) do(14) do(15) do(16)      \
        do(17) do(18) do(19)

#define NAMED(number) [number] = {.function = "keep_" #number},

static size_t least;
static struct site sites[SITES] = {EVERY(NAMED)[LARGE] = {.function = "keep_large"}};

#define KEEPER(number)                                                                                                 \
    SITE_FUNCTION static void *keep_##number(size_t size)                                                              \
    {                                                                                                                  \
        void *block = malloc(size);                                                                                    \
        if (size >= least)                                                                                             \
            took(&sites[number], size);                                                                                \
        return block;                                                                                                  \
    }

EVERY(KEEPER)

SITE_FUNCTION static void *keep_large(size_t size)
{
    void *block = malloc(size);

    took(&sites[LARGE], size);
    return block;
}

#define ADDRESS(number) keep_##number,

static void *(*const keep[FUNCTIONS])(size_t) = {EVERY(ADDRESS)};

int main(int count, char **arguments)
{
    uint64_t random = 5;

    require(count == 2, "from how many bytes on?");
    least = strtoul(arguments[1], NULL, 10);
    ready();
    for (int i = 0; i < EACH; i++)
        for (int function = 0; function < FUNCTIONS; function++) {
            size_t size = 1024 + scramble(&random) % (19 << 10);
            void *block = keep[function](size);
            if (i % 3 == 0) {
                free(block);
                if (size >= least)
                    gave(&sites[function], size);
            }
        }
    for (int i = 0; i < 20; i++) {
        size_t size = (1 << 20) + scramble(&random) % 5000;
        void *block = keep_large(size);
        if (i % 2) {
            free(block);
            gave(&sites[LARGE], size);
        }
    }
    tell(sites, SITES, "");
    return 0;
}
