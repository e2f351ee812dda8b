/*
 * What a pair of malloc and free costs: for each line `SIZE MILLISECONDS` it does pairs for so long and prints the
 * nanoseconds of one, and their number.
 */
#include "truth.h"

#include <time.h>

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

SITE_FUNCTION static void pair(size_t size)
{
    void *block = malloc(size);

    HIDE(block);
    free(block);
}

int main(void)
{
    char order[100], answer[100];
    size_t length = 0, size;
    double milliseconds;

    say("ready\n", 6);
    while (read(0, &order[length], 1) == 1) {
        if (order[length] != '\n') {
            length++;
            require(length < sizeof(order), "such an order is too long");
            continue;
        }
        order[length] = 0;
        length = 0;
        require(sscanf(order, "%zu %lf", &size, &milliseconds) == 2, "such an order makes no sense");
        double begin = now(), end = begin;
        long pairs = 0;
        for (; end - begin < milliseconds * 1e6; end = now())
            for (int i = 0; i < 100; i++, pairs++)
                pair(size);
        int used = snprintf(answer, sizeof(answer), "%.2f %ld\n", (end - begin) / (double)pairs, pairs);
        say(answer, (size_t)used);
    }
    return 0;
}
