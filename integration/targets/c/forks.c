/*
 * Fork trees of 10,000 processes, and 10,000 processes one after the other that all have the same pid where that may
 * be chosen: each frees what it has inherited and leaks blocks of its own, none of which is its parent's business.
 */
#define _GNU_SOURCE
#include "truth.h"

#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { PARENT, CHILD, SITES, EACH = 10000, FANOUT = 3 };

static struct site sites[SITES] = {
    [PARENT] = {.function = "of_the_parent"},
    [CHILD] = {.function = "of_a_child"},
};

static void *inherited;

SITE_FUNCTION static void *of_the_parent(size_t size)
{
    void *block = malloc(size);

    took(&sites[PARENT], size);
    return block;
}

/* Counted nowhere: the counters that it would change are the child's own. */
SITE_FUNCTION static void of_a_child(size_t size)
{
    void *block = malloc(size);

    require(block != NULL, "no memory in a child");
}

static void child(void)
{
    free(inherited);
    of_a_child(123);
}

static pid_t copy(pid_t wanted)
{
    struct clone_args how = {.exit_signal = SIGCHLD};

    if (wanted) {
        how.set_tid = (uintptr_t)&wanted;
        how.set_tid_size = 1;
    }
    return (pid_t)syscall(SYS_clone3, &how, sizeof(how));
}

static void await(pid_t pid)
{
    int status = 0;

    require(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child has failed");
}

/* A child with children of its own. */
static void tree(void)
{
    pid_t top = copy(0);

    require(top >= 0, "fork fails");
    if (top == 0) {
        pid_t pids[FANOUT];
        child();
        for (int i = 0; i < FANOUT; i++) {
            pids[i] = copy(0);
            if (pids[i] == 0) {
                of_a_child(77);
                _exit(0);
            }
        }
        for (int i = 0; i < FANOUT; i++)
            await(pids[i]);
        _exit(0);
    }
    await(top);
}

/* True if the child has got that pid. */
static int reuse(pid_t pid)
{
    pid_t got = copy(pid);

    if (got < 0)
        return 0;
    if (got == 0) {
        child();
        _exit(0);
    }
    await(got);
    return 1;
}

int main(void)
{
    static char more[100];
    long reused = 0;

    inherited = malloc(4000);
    ready();
    for (int i = 0; i < EACH / (FANOUT + 1); i++) {
        void *block = of_the_parent(200 + (size_t)i % 100);
        tree();
        if (i % 10) {
            gave(&sites[PARENT], 200 + (size_t)i % 100);
            free(block);
        }
    }
    pid_t pid = copy(0);
    if (pid == 0)
        _exit(0);
    await(pid);
    for (int i = 0; i < EACH; i++)
        reused += reuse(pid);
    of_the_parent(31);
    snprintf(more, sizeof(more), ",\"whole\":true,\"reused\":%ld,\"mapped_bytes\":0", reused);
    /* children have none in the ledger */
    tell(sites, 1, more);
    return 0;
}
