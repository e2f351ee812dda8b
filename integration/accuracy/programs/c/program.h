/*
 * What the C and C++ programs share: arguments, time, chance, and what they say of themselves. A line of JSON at the start tells
 * whether the program leaks, by which function and how fast; one more follows for every MiB that has leaked.
 */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define APART __attribute__((noinline))
#define KIB 1024UL
#define MIB (1024UL * 1024UL)
/* How often a second the programs work. */
#define BEATS 20

static uint64_t chance = 1;

static inline const char *argument(int argc, char **argv, const char *name, const char *fallback)
{
    for (int i = 1; i + 1 < argc; i++)
        if (!strcmp(argv[i], name))
            return argv[i + 1];
    return fallback;
}

/* From 0 to 1. The low bits of such a generator repeat early, so the high ones are taken. */
static inline double drawn(void)
{
    chance = chance * 6364136223846793005u + 1442695040888963407u;
    return (double)(chance >> 11) / (double)(1ULL << 53);
}

static inline double between(double low, double high)
{
    return low + (high - low) * drawn();
}

/* Who asks a cache for something: what is in it has been asked for, or it would not be there, and will be again. */
#define READS_A_WRITE 20

/* The place of what is asked for next among so many, the newest at 0: three readers in five ask for the newest fifth. */
static inline size_t asked_for(size_t count)
{
    double chosen = drawn();

    return (size_t)((double)count * chosen * chosen * chosen);
}

static inline void seed(int argc, char **argv)
{
    chance = strtoull(argument(argc, argv, "--seed", "1"), NULL, 10) * 0x9E3779B97F4A7C15u + 1;
    for (int i = 0; i < 8; i++)
        drawn();
}

static inline double seconds(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Since the first call. */
static inline double elapsed(void)
{
    static double begin;

    if (begin == 0)
        begin = seconds(CLOCK_MONOTONIC);
    return seconds(CLOCK_MONOTONIC) - begin;
}

static inline void require(int holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "%s\n", what);
    _exit(2);
}

/*
 * Memory that is there: every page is written, by something else than nought. A macro, so that whoever keeps the memory is the one
 * who allocates it, and no helper can be blamed.
 */
#define filled(bytes)                                                                                                  \
    __extension__({                                                                                                    \
        size_t filled_size = (bytes);                                                                                  \
        char *filled_block = (char *)malloc(filled_size);                                                              \
        require(filled_block != NULL, "no memory");                                                                    \
        (char *)memset(filled_block, 1, filled_size);                                                                  \
    })

static inline void pause_for(double time)
{
    struct timespec t;

    if (time <= 0)
        return;
    t.tv_sec = (time_t)time;
    t.tv_nsec = (long)((time - (double)t.tv_sec) * 1e9);
    nanosleep(&t, NULL);
}

static inline void say_leaks(const char *function, double mb_per_min)
{
    printf("{\"at\":%.3f,\"leaks\":true,\"functions\":[\"%s\"],\"mb_per_min\":%.3f}\n", seconds(CLOCK_REALTIME),
           function, mb_per_min);
    fflush(stdout);
}

static inline void say_calm(void)
{
    printf("{\"at\":%.3f,\"leaks\":false}\n", seconds(CLOCK_REALTIME));
    fflush(stdout);
}

/* Notes what has leaked, by one thread. */
static inline void leaked(double bytes)
{
    static double sum, told;

    sum += bytes;
    if (sum < told + MIB)
        return;
    told = sum;
    printf("{\"at\":%.3f,\"leaked\":%.0f}\n", seconds(CLOCK_REALTIME), sum);
    fflush(stdout);
}

/* Ends the process with its input, so that it does not outlive who started it. */
static inline void *until_input_ends(void *unused)
{
    char bytes[64];

    while (read(0, bytes, sizeof(bytes)) > 0)
        ;
    _exit(0);
    return unused;
}

static inline void start_thread(void *(*run)(void *), void *with)
{
    pthread_t thread;

    require(pthread_create(&thread, NULL, run, with) == 0, "no thread");
}

#endif
