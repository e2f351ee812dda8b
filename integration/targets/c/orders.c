/*
 * Does as it is told, a line at a time, and answers each with `done`: `FUNCTION COUNT SIZE` has one of its functions
 * a, b, c or d allocate blocks that stay, `free FUNCTION` frees all that the function has, `churn COUNT SIZE` has
 * e allocate and free that often.
 */
#include "truth.h"

enum { MOST = 200000 };

static struct {
    void **blocks;
    long count;
} held[4];

#define KEEPER(name)                                                                                                   \
    SITE_FUNCTION static void *keep_##name(size_t size)                                                                \
    {                                                                                                                  \
        void *block = malloc(size);                                                                                    \
        HIDE(block);                                                                                                   \
        return block;                                                                                                  \
    }

KEEPER(a)
KEEPER(b)
KEEPER(c)
KEEPER(d)

SITE_FUNCTION static void churn_e(size_t size)
{
    void *block = malloc(size);
    HIDE(block);
    free(block);
}

static void *(*const keep[4])(size_t) = {keep_a, keep_b, keep_c, keep_d};

static void obey(const char *order)
{
    char letter = 0;
    long count = 0;
    size_t size = 0;

    if (sscanf(order, "churn %ld %zu", &count, &size) == 2) {
        for (long i = 0; i < count; i++)
            churn_e(size);
    } else if (sscanf(order, "free %c", &letter) == 1) {
        require(letter >= 'a' && letter <= 'd', "free what?");
        for (long *left = &held[letter - 'a'].count; *left > 0; --*left)
            free(held[letter - 'a'].blocks[*left - 1]);
    } else if (sscanf(order, "%c %ld %zu", &letter, &count, &size) == 3) {
        require(letter >= 'a' && letter <= 'd', "who is that?");
        for (long i = 0; i < count && held[letter - 'a'].count < MOST; i++)
            held[letter - 'a'].blocks[held[letter - 'a'].count++] = keep[letter - 'a'](size);
    } else {
        require(0, "such an order makes no sense");
    }
}

int main(void)
{
    static void *blocks[4][MOST];
    char order[100];
    size_t length = 0;

    for (int i = 0; i < 4; i++)
        held[i].blocks = blocks[i];
    say("ready\n", 6);
    while (read(0, &order[length], 1) == 1) {
        if (order[length] != '\n') {
            length++;
            require(length < sizeof(order), "such an order is too long");
            continue;
        }
        order[length] = 0;
        obey(order);
        say("done\n", 5);
        length = 0;
    }
    return 0;
}
