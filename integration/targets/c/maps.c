/*
 * What can be done to an address space, 10,000 times each: mappings that lose their middle, that are mapped over, that
 * grow where they are or elsewhere; memory that is given back without being unmapped; the end of the heap moved up and
 * down. Each way has a function that does all of it, so that what is still mapped is its own whoever is blamed for a
 * mapping that another call has changed. The argument is a pause every hundred rounds, in milliseconds, for whoever
 * looks to keep up.
 */
#define _GNU_SOURCE
#include "truth.h"

#include <sys/mman.h>

enum { ROUNDS = 10000, KEPT = 500 };

static const size_t page = 4096;

/* Bytes still mapped. */
static long plain, partial, over, resized, heap;

/* Not functions: whoever is on the stack below is to blame. */
#define MAP(at, pages, flags)                                                                                          \
    mapped(mmap(at, (pages)*page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (flags), -1, 0))

static char *mapped(void *address)
{
    require(address != MAP_FAILED, "mmap fails");
    return address;
}

static void unmap(char *address, size_t pages)
{
    require(munmap(address, pages * page) == 0, "munmap fails");
}

/* Whole mappings, also those that fail. */
SITE_FUNCTION static void map_plain(int round)
{
    char *address = MAP(NULL, 3, 0);

    plain += 3 * (long)page;
    if (round >= KEPT) {
        unmap(address, 3);
        plain -= 3 * (long)page;
    }
    require(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED, "nothing is mapped");
    require(munmap(address + 1, page) == -1, "an odd address is unmapped");
}

/* The middle is unmapped, later the rest at one go, hole and all. */
SITE_FUNCTION static void map_partial(int round)
{
    char *address = MAP(NULL, 6, 0);

    unmap(address + 2 * page, 3);
    partial += 3 * (long)page;
    if (round >= KEPT) {
        unmap(address, 6);
        partial -= 3 * (long)page;
    }
}

/* Something else is mapped over a part of it: the length of neither counts twice. */
SITE_FUNCTION static void map_over(int round)
{
    char *address = MAP(NULL, 8, 0);

    MAP(address + 5 * page, 3, MAP_FIXED);
    MAP(address + page, 2, MAP_FIXED);
    over += 8 * (long)page;
    if (round >= KEPT) {
        unmap(address, 8);
        over -= 8 * (long)page;
    }
}

/* It grows, moves, and shrinks. */
SITE_FUNCTION static void map_resized(int round)
{
    char *address = MAP(NULL, 2, 0), *wall = MAP(NULL, 1, 0);
    char *grown = mremap(address, 2 * page, 9 * page, MREMAP_MAYMOVE);

    require(grown != MAP_FAILED, "mremap fails");
    require(mremap(grown, 9 * page, (size_t)1 << 46, MREMAP_MAYMOVE) == MAP_FAILED, "mremap knows no end");
    grown = mremap(grown, 9 * page, 5 * page, 0);
    require(grown != MAP_FAILED, "mremap does not shrink");
    char *place = MAP(NULL, 5, 0);
    grown = mremap(grown, 5 * page, 5 * page, MREMAP_MAYMOVE | MREMAP_FIXED, place);
    require(grown == place, "mremap does not move");
    unmap(wall, 1);
    resized += 5 * (long)page;
    if (round >= KEPT) {
        unmap(grown, 5);
        resized -= 5 * (long)page;
    }
}

/* Given back to the kernel, and mapped still. */
SITE_FUNCTION static void advise(char *address)
{
    memset(address, 1, 4 * page);
    require(madvise(address + page, 2 * page, MADV_DONTNEED) == 0, "madvise fails");
}

SITE_FUNCTION static void heap_up(int round)
{
    require(sbrk(3 * (intptr_t)page) != (void *)-1, "the heap does not grow");
    heap += 3 * (long)page;
    if (round % 10) {
        require(sbrk(-3 * (intptr_t)page) != (void *)-1, "the heap does not shrink");
        heap -= 3 * (long)page;
    }
}

int main(int count, char **arguments)
{
    static char more[1000];
    useconds_t pause = count > 1 ? (useconds_t)atoi(arguments[1]) * 1000 : 0;
    char *from_before = MAP(NULL, 20, 0);

    require(sbrk((intptr_t)page) != (void *)-1, "no heap");
    ready();
    for (int round = 0; round < ROUNDS; round++) {
        map_plain(round);
        map_partial(round);
        map_over(round);
        map_resized(round);
        advise(from_before);
        heap_up(round);
        if (pause && round % 100 == 0)
            usleep(pause);
    }
    /* what was there before counts for nothing when it goes */
    unmap(from_before, 20);
    snprintf(more, sizeof(more),
             ",\"whole\":true,\"mapped_bytes\":%ld,\"mapped\":["
             "{\"function\":\"map_plain\",\"live_bytes\":%ld},{\"function\":\"map_partial\",\"live_bytes\":%ld},"
             "{\"function\":\"map_over\",\"live_bytes\":%ld},{\"function\":\"map_resized\",\"live_bytes\":%ld},"
             "{\"function\":\"heap_up\",\"live_bytes\":%ld}]",
             plain + partial + over + resized + heap, plain, partial, over, resized, heap);
    tell(NULL, 0, more);
    return 0;
}
