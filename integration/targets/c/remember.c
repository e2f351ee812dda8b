/*
 * Keeps a block of every kind of request it serves, so many bytes a second: `remember BYTES_PER_SECOND`. With `calm` as a second
 * argument it frees each before the next; with `locked` its memory is there before it is touched, and nobody takes a page fault for it.
 * A third argument is the size of a block. Other memory comes and goes beside it.
 */
#include "truth.h"

#include <sys/mman.h>
#include <time.h>

enum { BLOCK = 1000, ANSWER = 100000 };

struct kept {
    struct kept *next;
    char data[];
};

static struct kept *sessions;
static size_t block = BLOCK;

SITE_FUNCTION static void remember_session(int calm)
{
    struct kept *kept = malloc(sizeof *kept + block);

    require(kept != NULL, "no memory");
    memset(kept->data, 1, block);
    kept->next = sessions;
    if (calm)
        free(kept);
    else
        sessions = kept;
}

SITE_FUNCTION static void serve_and_forget(void)
{
    /* not of the heap: whoever touches its end first would be taken for who keeps it */
    char *answer = mmap(NULL, ANSWER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    require(answer != MAP_FAILED, "no memory");
    memset(answer, 2, ANSWER);
    HIDE(answer);
    munmap(answer, ANSWER);
}

int main(int argc, char **argv)
{
    const struct timespec tenth = {0, 100000000};
    long rate = argc > 1 ? atol(argv[1]) : 0;
    int calm = argc > 2 && !strcmp(argv[2], "calm");
    long owed = 0;

    require(rate > 0, "how many bytes a second?");
    if (argc > 3)
        block = strtoul(argv[3], NULL, 10);
    if (argc > 2 && !strcmp(argv[2], "locked"))
        require(!mlockall(MCL_CURRENT | MCL_FUTURE), "memory cannot be locked");
    for (;;) {
        for (owed += rate / 10; owed >= (long)block; owed -= (long)block)
            remember_session(calm);
        serve_and_forget();
        nanosleep(&tenth, NULL);
    }
}
