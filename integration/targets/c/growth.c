// Grows by about 100 kB a second, in the way that its argument names, until its input ends: beside a sawtooth of 4 MB that
// goes up and down many times a second and a file that is read into memory which is unmapped again. For each line of input
// it says by how many bytes it has grown.
#define _GNU_SOURCE
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define APART __attribute__((noinline))
#define PAGE 4096UL
#define HUGE (2UL << 20)
#define ROOM (1UL << 30)

static void *kept;
static char *room;
static int zeros;
static unsigned long grown;

static char *map(size_t size, int flags) {
    char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);
    if (at == MAP_FAILED)
        exit(3);
    return at;
}

// Small blocks of the heap.
APART static void keep_blocks(void) {
    for (int i = 0; i < 4; i++) {
        void **block = malloc(1024);
        if (!block)
            exit(3);
        memset(block, 1, 1024);
        *block = kept;
        kept = block;
        grown += malloc_usable_size(block) + sizeof(size_t);
    }
}

// Blocks that allocators do not keep in their caches.
APART static void keep_large(void) {
    void **block = malloc(12288);
    if (!block)
        exit(3);
    memset(block, 1, 12288);
    *block = kept;
    kept = block;
    grown += malloc_usable_size(block) + sizeof(size_t);
}

// Pages that the kernel touches first.
APART static void keep_read(void) {
    if (read(zeros, room, PAGE) != (ssize_t)PAGE)
        exit(3);
    room += PAGE;
    grown += PAGE;
    __asm__ volatile("");
}

// Huge pages, each by one touch.
APART static void keep_huge(void) {
    static int rounds;
    if (rounds++ % 20 == 0) {
        *(volatile char *)(room + 5 * PAGE) = 1;
        room += HUGE;
        grown += HUGE;
    }
    __asm__ volatile("");
}

// Memory that others could see.
APART static void keep_shared(void) {
    memset(room, 1, PAGE);
    room += PAGE;
    grown += PAGE;
    __asm__ volatile("");
}

APART static void sawtooth(void) {
    static char *blocks[2048];
    for (int i = 0; i < 2048; i++) {
        blocks[i] = malloc(2000);
        if (!blocks[i])
            exit(3);
        memset(blocks[i], 2, 2000);
    }
    for (int i = 2047; i >= 0; i--)
        free(blocks[i]);
}

APART static void reader(void) {
    size_t size = 1 << 20;
    char *memory = map(size, MAP_PRIVATE);
    if (read(zeros, memory, size) < 0)
        exit(3);
    munmap(memory, size);
}

static void *noise(void *unused) {
    for (;;) {
        sawtooth();
        reader();
        usleep(20000);
    }
    return unused;
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "blocks";
    void (*keep)(void) = keep_blocks;
    zeros = open("/dev/zero", O_RDONLY);
    if (strcmp(how, "read") == 0) {
        keep = keep_read;
        room = map(ROOM, MAP_PRIVATE | MAP_NORESERVE);
        madvise(room, ROOM, MADV_NOHUGEPAGE);
    } else if (strcmp(how, "large") == 0) {
        keep = keep_large;
    } else if (strcmp(how, "shared") == 0) {
        keep = keep_shared;
        room = map(ROOM, MAP_SHARED | MAP_NORESERVE);
    } else if (strcmp(how, "huge") == 0) {
        keep = keep_huge;
        room = map(ROOM, MAP_PRIVATE | MAP_NORESERVE);
        room += HUGE - (unsigned long)room % HUGE;
        madvise(room, ROOM - HUGE, MADV_HUGEPAGE);
    }
    pthread_t thread;
    if (pthread_create(&thread, NULL, noise, NULL))
        return 3;
    puts("ready");
    fflush(stdout);
    struct pollfd input = {.fd = 0, .events = POLLIN};
    for (;;) {
        char line[64];
        if (poll(&input, 1, 40) == 0) {
            keep();
            continue;
        }
        if (read(0, line, sizeof line) <= 0)
            return 0;
        printf("%lu\n", grown);
        fflush(stdout);
    }
}
