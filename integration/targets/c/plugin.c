/* A library that is loaded and unloaded by loads.c: it allocates as it is loaded, and when it is asked to. */
#include <stdlib.h>

static void *at_load;

__attribute__((constructor, noinline)) static void plugin_begins(void)
{
    at_load = malloc(48);
}

__attribute__((destructor)) static void plugin_ends(void)
{
    free(at_load);
}

__attribute__((noinline)) void *plugin_block(size_t size)
{
    void *volatile block = malloc(size);

    return block;
}
