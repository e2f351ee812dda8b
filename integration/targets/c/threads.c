/*
 * Thread storms: 10,000 threads that live for a moment, eight at a time, and free each other's blocks; then eight that
 * go on together. A thread's own stack and tables are the C library's: the sums over the whole process are not known.
 */
#include "truth.h"

#include <pthread.h>

enum { SHORT, LONG, SITES };

static struct site sites[SITES] = {
    [SHORT] = {.function = "short_lived"},
    [LONG] = {.function = "long_lived"},
};

enum { AT_ONCE = 8, STORM = 10000, ROUNDS = 5000, SLOTS = 64 };

/* A block knows its size and its site. */
struct block {
    size_t size;
    long site;
};

static struct block *slots[SLOTS];

SITE_FUNCTION static struct block *short_lived(size_t size)
{
    struct block *block = malloc(size);
    took(&sites[SHORT], size);
    return block;
}

SITE_FUNCTION static struct block *long_lived(size_t size)
{
    struct block *block = calloc(1, size);
    took(&sites[LONG], size);
    return block;
}

static void drop(struct block *block)
{
    if (!block)
        return;
    gave(&sites[block->site], block->size);
    free(block);
}

static struct block *made(int site, uint64_t *random)
{
    size_t size = sizeof(struct block) + scramble(random) % 2000;
    struct block *block = site == SHORT ? short_lived(size) : long_lived(size);

    require(block != NULL, "no memory");
    block->size = size;
    block->site = site;
    return block;
}

/* Into a slot that all threads share; what was there is freed by whoever finds it. */
static void exchange(struct block *block, uint64_t *random)
{
    drop(__atomic_exchange_n(&slots[scramble(random) % SLOTS], block, __ATOMIC_ACQ_REL));
}

static void *moment(void *number)
{
    uint64_t random = (uint64_t)(uintptr_t)number;

    exchange(made(SHORT, &random), &random);
    drop(made(SHORT, &random));
    if ((uintptr_t)number % 10 == 0)
        made(SHORT, &random); /* leaks */
    return NULL;
}

static void *worker(void *number)
{
    uint64_t random = (uint64_t)(uintptr_t)number + 1000003;

    for (int i = 0; i < ROUNDS; i++) {
        exchange(made(LONG, &random), &random);
        if (i % 100 == 0)
            made(LONG, &random); /* leaks */
    }
    return NULL;
}

static void run(void *(*work)(void *), uintptr_t first)
{
    pthread_t threads[AT_ONCE];

    for (uintptr_t i = 0; i < AT_ONCE; i++)
        require(pthread_create(&threads[i], NULL, work, (void *)(first + i)) == 0, "no thread");
    for (int i = 0; i < AT_ONCE; i++)
        require(pthread_join(threads[i], NULL) == 0, "a thread is lost");
}

int main(void)
{
    ready();
    for (uintptr_t first = 0; first < STORM; first += AT_ONCE)
        run(moment, first);
    run(worker, 0);
    tell(sites, SITES, "");
    return 0;
}
