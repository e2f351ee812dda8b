/* What services in C and C++ have in common: arguments, and the pace at which they work. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline double number(int argc, char **argv, const char *name, double fallback)
{
    for (int i = 1; i + 1 < argc; i++)
        if (!strcmp(argv[i], name))
            return atof(argv[i + 1]);
    return fallback;
}

static inline int is_given(int argc, char **argv, const char *name)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], name))
            return 1;
    return 0;
}

/* Seconds. */
static inline double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* Waits until more than that many are due, at `rate` a second since `start`. */
static inline void keep_pace(double start, long done, double rate)
{
    double pause = done / rate - (now() - start);
    if (pause > 0) {
        struct timespec t = {(time_t)pause, (long)((pause - (time_t)pause) * 1e9)};
        nanosleep(&t, NULL);
    }
}
