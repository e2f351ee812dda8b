/*
 * The whole malloc family, each member from a function of its own: 50,000 blocks that stay, 10,000 reallocs that
 * fail, 10,000 that move, reallocs to nothing, requests that overflow, blocks from before. What the C library has
 * beyond the standard is there if HAVE_REALLOCARRAY, HAVE_PVALLOC, HAVE_VALLOC, HAVE_CFREE are defined.
 */
#define _GNU_SOURCE
#include "truth.h"

#include <errno.h>
#include <malloc.h>

enum { MALLOC, CALLOC, START, GROW, NONE, ARRAY, POSIX, ALIGNED, MEMALIGN, VALLOC, PVALLOC, LARGE, SITES };

static struct site sites[SITES] = {
    [MALLOC] = {.function = "keep_malloc"},
    [CALLOC] = {.function = "keep_calloc"},
    [START] = {.function = "start_block"},
    [GROW] = {.function = "grow_block"},
    [NONE] = {.function = "from_nothing"},
    [ARRAY] = {.function = "keep_reallocarray"},
    [POSIX] = {.function = "keep_posix_memalign"},
    [ALIGNED] = {.function = "keep_aligned_alloc"},
    [MEMALIGN] = {.function = "keep_memalign"},
    [VALLOC] = {.function = "keep_valloc"},
    [PVALLOC] = {.function = "keep_pvalloc"},
    [LARGE] = {.function = "keep_large"},
};

static long failed, from_before, moved;

struct block {
    void *at;
    size_t size;
};

static struct block kept[50000], some[1000];
static void *before[1000];

/* Books an allocation, or its failure. */
static struct block booked(int site, void *at, size_t size)
{
    if (at)
        took(&sites[site], size);
    else
        failed++;
    return (struct block){at, size};
}

SITE_FUNCTION static struct block keep_malloc(size_t size)
{
    void *at = malloc(size);
    return booked(MALLOC, at, size);
}

SITE_FUNCTION static struct block keep_calloc(size_t count, size_t size)
{
    void *at = calloc(count, size);
    return booked(CALLOC, at, count * size);
}

SITE_FUNCTION static struct block start_block(size_t size)
{
    void *at = malloc(size);
    return booked(START, at, size);
}

/* The block of `start_block`, or one that was grown before (`site`), to another size. */
SITE_FUNCTION static struct block grow_block(struct block old, int site, size_t size)
{
    uintptr_t address = (uintptr_t)old.at;
    void *at = realloc(old.at, size);

    if (!at && size) {
        failed++;
        return old;
    }
    gave(&sites[site], old.size);
    moved += at && (uintptr_t)at != address;
    if (at)
        took(&sites[GROW], size);
    return (struct block){at, size};
}

SITE_FUNCTION static struct block from_nothing(size_t size)
{
    void *at = realloc(NULL, size);
    return booked(NONE, at, size);
}

#ifdef HAVE_REALLOCARRAY
SITE_FUNCTION static struct block keep_reallocarray(size_t count, size_t size)
{
    void *at = reallocarray(NULL, count, size);
    return booked(ARRAY, at, count * size);
}
#endif

SITE_FUNCTION static struct block keep_posix_memalign(size_t alignment, size_t size)
{
    void *at = NULL;
    int error = posix_memalign(&at, alignment, size);
    return booked(POSIX, error ? NULL : at, size);
}

SITE_FUNCTION static struct block keep_aligned_alloc(size_t alignment, size_t size)
{
    void *at = aligned_alloc(alignment, size);
    return booked(ALIGNED, at, size);
}

SITE_FUNCTION static struct block keep_memalign(size_t alignment, size_t size)
{
    void *at = memalign(alignment, size);
    return booked(MEMALIGN, at, size);
}

#ifdef HAVE_VALLOC
SITE_FUNCTION static struct block keep_valloc(size_t size)
{
    void *at = valloc(size);
    return booked(VALLOC, at, size);
}
#endif

#ifdef HAVE_PVALLOC
SITE_FUNCTION static struct block keep_pvalloc(size_t size)
{
    void *at = pvalloc(size);
    return booked(PVALLOC, at, size);
}
#endif

SITE_FUNCTION static struct block keep_large(size_t size)
{
    void *at = malloc(size);
    return booked(LARGE, at, size);
}

static void drop(struct block block, int site)
{
    if (!block.at)
        return;
#ifdef HAVE_CFREE
    extern void cfree(void *);
    if (site == CALLOC) {
        cfree(block.at);
        gave(&sites[site], block.size);
        return;
    }
#endif
    free(block.at);
    gave(&sites[site], block.size);
}

static void the_many(uint64_t *random)
{
    for (size_t i = 0; i < 60000; i++) {
        struct block block = keep_malloc(1 + scramble(random) % 900);
        if (i < 50000)
            kept[i] = block;
        else
            drop(block, MALLOC);
    }
    for (size_t i = 0; i < 5000; i++) {
        struct block block = keep_calloc(1 + scramble(random) % 30, 1 + scramble(random) % 90);
        if (i % 2)
            drop(block, CALLOC);
    }
}

static void the_growing(uint64_t *random)
{
    /* each into the one before, so that it moves sooner or later */
    for (int i = 0; i < 10000; i++) {
        struct block block = start_block(16 + scramble(random) % 100);
        block = grow_block(block, START, 2000 + scramble(random) % 3000);
        if (i % 10 == 0)
            keep_malloc(24); /* in the way of growing in place */
        block = grow_block(block, GROW, 6000 + scramble(random) % 3000);
        block = grow_block(block, GROW, 1 + scramble(random) % 500);
        if (i % 20)
            drop(block, GROW);
    }
    for (int i = 0; i < 1000; i++) {
        struct block block = from_nothing(40 + scramble(random) % 400);
        if (i % 3)
            drop(block, NONE);
    }
}

static void the_failing(void)
{
    size_t huge = (size_t)PTRDIFF_MAX - 100000, half = SIZE_MAX / 2;

    HIDE(huge);
    HIDE(half);
    struct block block = start_block(333);
    for (int i = 0; i < 10000; i++) {
        struct block same = grow_block(block, START, huge);
        require(same.at == block.at, "a failed realloc moved the block");
    }
    for (int i = 0; i < 100; i++) {
        keep_malloc(huge);
        keep_calloc(half, 3);
        keep_calloc(huge, 1);
        keep_posix_memalign(24, 64); /* not a power of two */
        keep_posix_memalign(64, huge);
#ifdef HAVE_REALLOCARRAY
        keep_reallocarray(half, 3);
#endif
    }
}

static void the_vanishing(void)
{
    for (int i = 0; i < 1000; i++) {
        size_t nothing = 0;
        HIDE(nothing);
        some[i] = grow_block(start_block(50 + (size_t)i % 50), START, nothing);
    }
    /* a library that gives a block of no bytes counts it, and gets it back */
    for (int i = 0; i < 1000; i++)
        drop(some[i], GROW);
    for (int i = 0; i < 100; i++) {
        size_t nothing = 0;
        HIDE(nothing);
        keep_malloc(nothing);
        free(NULL);
    }
}

static void the_aligned(uint64_t *random)
{
    for (int i = 0; i < 500; i++) {
        struct block block = keep_posix_memalign((size_t)16 << scramble(random) % 6, 1 + scramble(random) % 3000);
        if (i % 2)
            drop(block, POSIX);
        size_t alignment = (size_t)16 << scramble(random) % 6;
        block = keep_aligned_alloc(alignment, alignment * (1 + scramble(random) % 9));
        if (i % 3)
            drop(block, ALIGNED);
        block = keep_memalign((size_t)16 << scramble(random) % 8, 1 + scramble(random) % 3000);
        if (i % 5)
            drop(block, MEMALIGN);
#ifdef HAVE_VALLOC
        block = keep_valloc(1 + scramble(random) % 5000);
        if (i % 7)
            drop(block, VALLOC);
#endif
#ifdef HAVE_PVALLOC
        block = keep_pvalloc(1 + scramble(random) % 5000);
        if (i % 7)
            drop(block, PVALLOC);
#endif
#ifdef HAVE_REALLOCARRAY
        block = keep_reallocarray(1 + scramble(random) % 9, 1 + scramble(random) % 300);
        if (i % 2)
            drop(block, ARRAY);
#endif
    }
}

/* Those that an allocator maps one by one. */
static void the_large(uint64_t *random)
{
    for (int i = 0; i < 64; i++) {
        struct block block = keep_large((1 << 20) + scramble(random) % (1 << 20));
        if (i % 2)
            drop(block, LARGE);
    }
}

int main(void)
{
    static char more[200];
    uint64_t random = 7;

    for (size_t i = 0; i < 1000; i++)
        before[i] = malloc(100 + i); /* the allocator has set itself up, too */
    ready();
    the_many(&random);
    the_growing(&random);
    the_failing();
    the_vanishing();
    the_aligned(&random);
    the_large(&random);
    for (size_t i = 0; i < 50000; i += 5)
        drop(kept[i], MALLOC);
    for (size_t i = 0; i < 1000; i++, from_before++)
        free(before[i]);
    require(moved > 1000, "hardly a realloc has moved its block");
    snprintf(more, sizeof(more), ",\"whole\":true,\"failed\":%ld,\"from_before\":%ld,\"mapped_bytes\":0", failed,
             from_before);
    tell(sites, SITES, more);
    return 0;
}
