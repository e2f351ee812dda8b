/*
 * What a page that is touched, or a block that is allocated, costs deep in the stack: for each line `KIND BYTES COUNT` it does
 * that so often, with at least so many bytes of stack in use, and prints the middle of the nanoseconds that one took. KIND is
 * `touch`, with pauses between as long as a fault sampler's shortest interval, or `allocate`, each time from another call site
 * until there are no more.
 */
#include "../c/truth.h"

#include <alloca.h>
#include <sys/mman.h>
#include <time.h>

enum { MOST = 1024, PAGE = 4096, FRAME = 256, PLACES = 16, DEPTHS = 16, PAUSE_NS = 1500000 };

static double taken[MOST];

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int by_size(const void *left, const void *right)
{
    double difference = *(const double *)left - *(const double *)right;

    return (difference > 0) - (difference < 0);
}

SITE_FUNCTION static void touch(long count)
{
    char *pages = mmap(NULL, (size_t)count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    require(pages != MAP_FAILED, "no memory");
    /* one fault a page */
    madvise(pages, (size_t)count * PAGE, MADV_NOHUGEPAGE);
    for (long i = 0; i < count; i++) {
        double before = now() + PAUSE_NS;

        while (now() < before)
            ;
        before = now();
        *(volatile char *)(pages + i * PAGE) = 1;
        taken[i] = now() - before;
    }
    munmap(pages, (size_t)count * PAGE);
}

#define PLACE(number)                                                                                                  \
    case number:                                                                                                       \
        block = malloc(64);                                                                                            \
        __asm__ volatile("nop # place " #number ::: "memory");                                                         \
        break;

/* At a place and from a depth of the stack that are not the last one's. */
SITE_FUNCTION static double allocate_once(long turn)
{
    volatile char *room = alloca(16 * (1 + (size_t)turn / PLACES % DEPTHS));
    void *block = NULL;

    room[0] = 0;
    double before = now();
    switch (turn % PLACES) {
        PLACE(0) PLACE(1) PLACE(2) PLACE(3) PLACE(4) PLACE(5) PLACE(6) PLACE(7)
        PLACE(8) PLACE(9) PLACE(10) PLACE(11) PLACE(12) PLACE(13) PLACE(14) PLACE(15)
    }
    double took = now() - before;
    HIDE(block);
    free(block);
    return took;
}

SITE_FUNCTION static void allocate(long count)
{
    for (long i = 0; i < count; i++)
        taken[i] = allocate_once(i);
}

/* Calls itself until so many bytes are in use. */
SITE_FUNCTION static void descend(long bytes, void (*work)(long), long count)
{
    volatile char frame[FRAME];

    frame[0] = 1;
    if (bytes > FRAME)
        descend(bytes - FRAME - 48, work, count);
    else
        work(count);
    frame[FRAME - 1] = frame[0];
}

static void obey(const char *order)
{
    char answer[64], kind[16];
    long bytes, count;

    require(sscanf(order, "%15s %ld %ld", kind, &bytes, &count) == 3 && count > 0 && count <= MOST, "what is that?");
    descend(bytes, strcmp(kind, "touch") == 0 ? touch : allocate, count);
    qsort(taken, (size_t)count, sizeof(*taken), by_size);
    int used = snprintf(answer, sizeof(answer), "%.1f\n", taken[count / 2]);
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
