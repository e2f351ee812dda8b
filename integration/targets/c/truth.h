/*
 * What the programs share that know exactly what they allocate.
 *
 * Such a program prints `ready`, waits for a line on its standard input, does its work, prints one line of JSON that
 * tells what each of its functions has allocated and what of it is alive, and stays as it is until its input ends.
 * Between the two lines it allocates nothing that it does not count: no stdio.
 */
#ifndef TRUTH_H
#define TRUTH_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __clang__
#define SITE_FUNCTION __attribute__((noinline))
#else
#define SITE_FUNCTION __attribute__((noinline, noclone))
#endif

/* A function, and what was allocated by it. Bytes are those asked for. */
struct site {
    const char *function;
    long allocated, bytes, freed, freed_bytes;
};

static inline void took(struct site *site, size_t bytes)
{
    __atomic_add_fetch(&site->allocated, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&site->bytes, (long)bytes, __ATOMIC_RELAXED);
}

static inline void gave(struct site *site, size_t bytes)
{
    __atomic_add_fetch(&site->freed, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&site->freed_bytes, (long)bytes, __ATOMIC_RELAXED);
}

/* A number that differs from call to call, and is the same in each run. */
static inline unsigned long scramble(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned long)(*state >> 33);
}

/* Keeps the compiler from reasoning about a size or a pointer. */
#define HIDE(value) __asm__ volatile("" : "+r"(value))

static inline void say(const char *text, size_t length)
{
    while (length > 0) {
        ssize_t written = write(1, text, length);
        if (written <= 0)
            _exit(3);
        text += written;
        length -= (size_t)written;
    }
}

/* True once a line has come, false at the end of the input. */
static inline int line(void)
{
    char byte;

    while (read(0, &byte, 1) == 1)
        if (byte == '\n')
            return 1;
    return 0;
}

static inline void ready(void)
{
    say("ready\n", 6);
    if (!line())
        _exit(0);
}

/* The line of truth. `more`: further members, each led by a comma. */
static inline void tell(const struct site *sites, size_t count, const char *more)
{
    static char text[16384];
    size_t used = (size_t)snprintf(text, sizeof(text), "{\"sites\":[");

    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(
            text + used, sizeof(text) - used,
            "%s{\"function\":\"%s\",\"allocated\":%ld,\"bytes\":%ld,\"live\":%ld,\"live_bytes\":%ld}", i ? "," : "",
            sites[i].function, sites[i].allocated, sites[i].bytes, sites[i].allocated - sites[i].freed,
            sites[i].bytes - sites[i].freed_bytes);
    used += (size_t)snprintf(text + used, sizeof(text) - used, "]%s}\n", more);
    say(text, used);
    while (line())
        ;
}

/* A program that cannot do its work ends with a reason. */
static inline void require(int holds, const char *what)
{
    if (holds)
        return;
    (void)!write(2, what, strlen(what));
    (void)!write(2, "\n", 1);
    _exit(2);
}

#endif
