/*
 * Processes that each keep a block of 20,000 bytes ten times a second, in a function of their own: the first one, its
 * child, what the child's sibling becomes by exec. With the argument `stranger` one that is not of the family. They
 * end with the first one's input.
 */
#include "truth.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>

enum { SIZE = 20000 };

#define MEMBER(name)                                                                                                   \
    SITE_FUNCTION static void *keep_##name(size_t size)                                                                \
    {                                                                                                                  \
        void *block = malloc(size);                                                                                    \
        HIDE(block);                                                                                                   \
        return block;                                                                                                  \
    }

MEMBER(parent)
MEMBER(child)
MEMBER(executed)
MEMBER(stranger)

static void live(void *(*keep)(size_t))
{
    struct pollfd input = {.fd = 0, .events = POLLIN};
    char bytes[64];

    for (;;) {
        require(keep(SIZE) != NULL, "no memory");
        if (poll(&input, 1, 100) > 0 && read(0, bytes, sizeof(bytes)) <= 0)
            _exit(0);
    }
}

static void await_parent(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

int main(int count, char **arguments)
{
    const char *role = count > 1 ? arguments[1] : "parent";

    if (strcmp(role, "stranger") == 0)
        live(keep_stranger);
    if (strcmp(role, "executed") == 0) {
        await_parent();
        live(keep_executed);
    }
    /* only when somebody looks: what comes later must be found by itself */
    if (strcmp(role, "late") == 0)
        require(line(), "no order to begin");
    if (fork() == 0) {
        await_parent();
        live(keep_child);
    }
    if (fork() == 0) {
        execl("/proc/self/exe", arguments[0], "executed", (char *)NULL);
        _exit(2);
    }
    live(keep_parent);
    return 0;
}
