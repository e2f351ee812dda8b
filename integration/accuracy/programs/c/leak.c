/*
 * Leaks: leak HOW WHEN [--in main|thread|worker] [--rate MB_PER_MIN] [--churn MIB] --seed N
 *
 * HOW is the way in which memory stays, WHEN the time course. The seed moves the rate by up to a third, and what else is left to chance.
 */
#define _GNU_SOURCE
#include "program.h"

#include <errno.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static size_t block_size;

/* Each way keeps some memory for ever and says how much. */

APART static double keep_block(void)
{
    static void *kept;
    size_t size = (size_t)between((double)block_size / 2, (double)block_size * 1.5);
    void **block = (void **)filled(size < 16 ? 16 : size);

    *block = kept;
    kept = block;
    return (double)malloc_usable_size(block) + 8;
}

#define mapped(bytes, flags)                                                                                           \
    __extension__({                                                                                                    \
        char *at = mmap(NULL, (bytes), PROT_READ | PROT_WRITE, MAP_ANONYMOUS | (flags), -1, 0);                        \
        require(at != MAP_FAILED, "no mapping");                                                                       \
        (char *)memset(at, 1, (bytes));                                                                                \
    })

APART static double keep_mapping(void)
{
    mapped(64 * KIB, MAP_PRIVATE);
    return 64 * KIB;
}

APART static double keep_shared(void)
{
    mapped(64 * KIB, MAP_SHARED);
    return 64 * KIB;
}

/* The memory is written out as it leaks: it is in swap space that the process grows. */
APART static double keep_swapped(void)
{
    char *written = mapped(256 * KIB, MAP_PRIVATE);

    require(madvise(written, 256 * KIB, MADV_PAGEOUT) == 0, "no swap space");
    return 256 * KIB;
}

static void *wait_for_ever(void *unused)
{
    volatile char frame[48 * KIB];

    for (size_t at = 0; at < sizeof(frame); at += 1024)
        frame[at] = 1;
    for (;;)
        pause();
    return unused;
}

/* A thread for a request that never ends. */
APART static double keep_thread(void)
{
    pthread_attr_t small;
    pthread_t thread;

    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 128 * KIB);
    require(pthread_create(&thread, &small, wait_for_ever, NULL) == 0, "no thread");
    pthread_attr_destroy(&small);
    return 56 * KIB;
}

/* Of each block a little stays, and what is given back between them is too small for the blocks that come later. */
APART static double keep_fragments(void)
{
    static size_t size = 600;
    static void *pins;
    enum { COUNT = 16 };
    void *blocks[COUNT];
    double held = 0;

    for (int i = 0; i < COUNT; i++) {
        blocks[i] = filled(size);
        held += (double)malloc_usable_size(blocks[i]) + 8;
    }
    for (int i = 0; i < COUNT; i++) {
        void **pin = (void **)realloc(blocks[i], 24);
        require(pin != NULL, "no memory");
        *pin = pins;
        pins = pin;
    }
    size += 16;
    return held;
}

/* One buffer that is made longer and longer. */
APART static double keep_longer(void)
{
    static char *buffer;
    static size_t length;

    buffer = (char *)realloc(buffer, length + 32 * KIB);
    require(buffer != NULL, "no memory");
    memset(buffer + length, 1, 32 * KIB);
    length += 32 * KIB;
    return 32 * KIB;
}

static const struct way {
    const char *name, *function;
    double (*keep)(void);
    size_t block;
} ways[] = {
    {"small", "keep_block", keep_block, 96},
    {"blocks", "keep_block", keep_block, 2000},
    {"large", "keep_block", keep_block, 300 * KIB},
    {"mmap", "keep_mapping", keep_mapping, 0},
    {"shared", "keep_shared", keep_shared, 0},
    {"swapped", "keep_swapped", keep_swapped, 0},
    {"threads", "keep_thread", keep_thread, 0},
    {"fragments", "keep_fragments", keep_fragments, 0},
    {"longer", "keep_longer", keep_longer, 0},
};

/* How much of the mean rate flows at a moment. */
static double share(const char *when, double now)
{
    static double until, next;

    if (!strcmp(when, "steady"))
        return 1;
    if (!strcmp(when, "load"))
        return 1 + 0.8 * sin(2 * M_PI * now / 240) + between(-0.2, 0.2);
    if (!strcmp(when, "accelerating"))
        return 0.5 + now / 300;
    if (!strcmp(when, "late"))
        return now < 120 ? 0 : 1;
    if (!strcmp(when, "bursts")) {
        /* 3 s of every 30 on average */
        if (now >= next) {
            until = now + 3;
            next = now + between(20, 40);
        }
        return now < until ? 10 : 0;
    }
    if (!strcmp(when, "steps")) {
        if (now < next)
            return 0;
        next = now + 25;
        return 25.0 * BEATS;
    }
    require(0, "WHEN is none of: steady load accelerating late bursts steps");
    return 0;
}

struct task {
    const struct way *way;
    const char *when;
    double rate;
};

static void *leak(void *with)
{
    const struct task *task = (const struct task *)with;
    double owed = 0, last = elapsed();

    for (;;) {
        double now = elapsed();
        /* with a beat that is too long a step would be more than a step */
        double beat = strcmp(task->when, "steps") ? now - last : 1.0 / BEATS;
        owed += task->rate * MIB / 60 * share(task->when, now) * beat;
        last = now;
        while (owed > 0) {
            double kept = task->way->keep();
            owed -= kept;
            leaked(kept);
        }
        pause_for(1.0 / BEATS);
    }
    return NULL;
}

/* Requests that give back all they take: so many MiB go up and down. */
static void *churn(void *with)
{
    enum { BLOCKS = 4096 };
    static char *blocks[BLOCKS];
    size_t size = *(const size_t *)with / BLOCKS;

    for (unsigned now = 7;; now = now * 1664525 + 1013904223) {
        for (int i = 0; i < BLOCKS; i++)
            blocks[i] = filled(size / 2 + now % size);
        pause_for(0.2);
        for (int i = BLOCKS - 1; i >= 0; i--)
            free(blocks[i]);
        pause_for(0.5);
    }
    return NULL;
}

static void *idle(void *unused)
{
    for (;;) {
        free(filled(20000));
        pause_for(0.25);
    }
    return unused;
}

int main(int argc, char **argv)
{
    require(argc > 2, "leak HOW WHEN ...");
    seed(argc, argv);
    struct task task = {NULL, argv[2], atof(argument(argc, argv, "--rate", "3")) * between(0.75, 1.33)};
    for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
        if (!strcmp(argv[1], ways[i].name))
            task.way = &ways[i];
    require(task.way != NULL, "HOW is unknown");
    block_size = (size_t)((double)task.way->block * between(0.7, 1.4));
    say_leaks(task.way->function, task.rate);
    elapsed();

    const char *in = argument(argc, argv, "--in", "main");
    size_t churned = strtoul(argument(argc, argv, "--churn", "0"), NULL, 10) * MIB;
    if (!strcmp(in, "worker")) {
        pid_t worker = fork();
        require(worker >= 0, "no process");
        if (worker > 0)
            until_input_ends(NULL);
        /* the input is the parent's: its death is what ends this one */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    } else {
        start_thread(until_input_ends, NULL);
    }
    if (churned)
        start_thread(churn, &churned);
    if (!strcmp(in, "thread")) {
        for (int i = 0; i < 12; i++)
            start_thread(idle, NULL);
        start_thread(leak, &task);
        for (;;)
            pause();
    }
    leak(&task);
    return 0;
}
