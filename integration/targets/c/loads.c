/*
 * 10,000 rounds of loading a library (the first argument), having it allocate, and unloading it; the last one stays.
 * What the dynamic linker allocates for itself is not known here.
 */
#include "truth.h"

#include <dlfcn.h>

enum { BEGIN, BLOCK, MAIN, SITES, ROUNDS = 10000 };

static struct site sites[SITES] = {
    [BEGIN] = {.function = "plugin_begins"},
    [BLOCK] = {.function = "plugin_block"},
    [MAIN] = {.function = "own_block"},
};

SITE_FUNCTION static void *own_block(size_t size)
{
    void *block = malloc(size);

    took(&sites[MAIN], size);
    return block;
}

int main(int count, char **arguments)
{
    uint64_t random = 3;

    require(count == 2, "which library?");
    ready();
    for (int round = 0; round < ROUNDS; round++) {
        void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
        require(library != NULL, "dlopen fails");
        took(&sites[BEGIN], 48);
        void *(*plugin_block)(size_t);
        *(void **)&plugin_block = dlsym(library, "plugin_block");
        require(plugin_block != NULL, "no such function");
        size_t size = 1 + scramble(&random) % 700;
        void *block = plugin_block(size);
        took(&sites[BLOCK], size);
        if (round % 10) {
            free(block);
            gave(&sites[BLOCK], size);
        }
        block = own_block(size);
        if (round % 20) {
            free(block);
            gave(&sites[MAIN], size);
        }
        if (round + 1 < ROUNDS) {
            require(dlclose(library) == 0, "dlclose fails");
            gave(&sites[BEGIN], 48);
        }
    }
    tell(sites, SITES, "");
    return 0;
}
