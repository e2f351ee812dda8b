/* Calls functions of the C library, each from a function of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OWN __attribute__((noinline, noclone)) static
#define STAY() __asm__ volatile("" ::: "memory")

enum { SIZE = 300 };

static char from[SIZE];
static void *volatile kept;

OWN void inner_memset(void) { memset(kept, 1, SIZE); STAY(); }
OWN void inner_memcpy(void) { memcpy(kept, from, SIZE); STAY(); }
OWN void inner_memmove(void) { memmove(kept, from, SIZE - 1); STAY(); }
OWN void inner_malloc(void) { kept = malloc(SIZE); STAY(); }
OWN void inner_large(void) { kept = malloc(SIZE * 1000); STAY(); }
OWN void inner_calloc(void) { kept = calloc(SIZE, 2); STAY(); }
OWN void inner_realloc(void) { kept = realloc(kept, SIZE * 3); STAY(); }
OWN void inner_free(void) { free(kept); STAY(); }
OWN void inner_strdup(void) { kept = strdup("as long as that"); STAY(); }

OWN void outer(int nth)
{
    static void (*const inner[])(void) = {inner_malloc, inner_memset, inner_memcpy, inner_memmove, inner_realloc,
                                          inner_large, inner_free, inner_calloc, inner_strdup};
    inner[nth % (sizeof inner / sizeof *inner)]();
    STAY();
}

int main(void)
{
    write(1, "x", 1);
    read(0, from, 1);
    for (int nth = 0; nth < 18; nth++)
        outer(nth);
    return 0;
}
