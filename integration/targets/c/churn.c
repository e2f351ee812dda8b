/*
 * Works without end on blocks whose contents it checks, in two threads, and prints a dot now and then; at the end of
 * its input it says so and ends with success. With the argument `seccomp` it has first forbidden itself all system
 * calls but those that it needs: any other one is its death.
 */
#define _GNU_SOURCE
#include "truth.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { SLOTS = 64, DOT = 20000 };

static int ended, warm;

/* A block begins with its size and is full of its own low byte. */
struct block {
    size_t size;
    unsigned char bytes[];
};

static struct block *filled(struct block *block, size_t size)
{
    require(block != NULL, "no memory");
    block->size = size;
    memset(block->bytes, (int)(size & 0xff), size);
    return block;
}

static void check(const struct block *block, size_t until)
{
    for (size_t i = 0; i < until; i++)
        require(block->bytes[i] == (block->size & 0xff), "a block is not as it was");
}

static struct block *made(uint64_t *random)
{
    size_t size = scramble(random) % 3000, whole = sizeof(struct block) + size;
    void *at = NULL;

    switch (scramble(random) % 4) {
    case 0:
        at = calloc(1, whole);
        for (size_t i = 0; at && i < whole; i++)
            require(((unsigned char *)at)[i] == 0, "calloc gives used memory");
        break;
    case 1:
        require(posix_memalign(&at, 64, whole) == 0 && (uintptr_t)at % 64 == 0, "an odd address");
        break;
    default:
        at = malloc(whole);
    }
    return filled(at, size);
}

static struct block *resized(struct block *block, uint64_t *random)
{
    size_t old = block->size, size = scramble(random) % 5000;
    struct block *moved = realloc(block, sizeof(struct block) + size);

    require(moved != NULL, "no memory");
    check(moved, old < size ? old : size);
    return filled(moved, size);
}

static void mapping(void)
{
    char *at = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    require(at != MAP_FAILED, "no mapping");
    memset(at, 7, 16384);
    at = mremap(at, 16384, 32768, MREMAP_MAYMOVE);
    require(at != MAP_FAILED && at[16383] == 7 && at[16384] == 0, "mremap has lost something");
    require(munmap(at, 32768) == 0, "munmap fails");
}

static void *work(void *seed)
{
    static const char dot[] = ".\n";
    struct block *slots[SLOTS] = {0};
    uint64_t random = (uint64_t)(uintptr_t)seed;

    for (unsigned long round = 1; !__atomic_load_n(&ended, __ATOMIC_RELAXED); round++) {
        struct block **slot = &slots[scramble(&random) % SLOTS];
        if (!*slot) {
            *slot = made(&random);
        } else if (scramble(&random) % 3 == 0) {
            *slot = resized(*slot, &random);
        } else {
            check(*slot, (*slot)->size);
            free(*slot);
            *slot = NULL;
        }
        if (round % 100 == 0)
            mapping();
        if (round % DOT == 0) {
            __atomic_store_n(&warm, 1, __ATOMIC_RELAXED);
            say(dot, 2);
        }
    }
    return NULL;
}

static void *wait_for_end(void *nothing)
{
    while (line())
        ;
    __atomic_store_n(&ended, 1, __ATOMIC_RELAXED);
    return nothing;
}

#define ALLOW(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void forbid(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(read),
        ALLOW(write),
        ALLOW(mmap),
        ALLOW(munmap),
        ALLOW(mremap),
        ALLOW(mprotect),
        ALLOW(brk),
        ALLOW(madvise),
        ALLOW(futex),
        ALLOW(exit),
        ALLOW(exit_group),
        ALLOW(rt_sigprocmask),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

    require(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
    require(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0, "seccomp");
}

int main(int count, char **arguments)
{
    pthread_t other, end;

    require(pthread_create(&end, NULL, wait_for_end, NULL) == 0, "no thread");
    require(pthread_create(&other, NULL, work, (void *)99) == 0, "no thread");
    if (count > 1 && strcmp(arguments[1], "seccomp") == 0) {
        /* an allocator asks the system a few things as it sets itself up */
        while (!__atomic_load_n(&warm, __ATOMIC_RELAXED))
            usleep(1000);
        forbid();
    }
    say("ready\n", 6);
    work((void *)1);
    pthread_join(other, NULL);
    say("sound\n", 6);
    return 0;
}
