// A heap whose truth is known: for each line of input it does what its first word says, and answers with the bytes of all chunks
// that it holds.
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOTS 2000

static unsigned long live;
static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;
static volatile int stop;

static void count(void *block, int sign) {
    pthread_mutex_lock(&counting);
    live += sign * (long)(malloc_usable_size(block) + 8);
    pthread_mutex_unlock(&counting);
}

static void *keep(size_t size) {
    void *block = malloc(size);
    if (!block)
        exit(3);
    memset(block, 1, size);
    count(block, 1);
    return block;
}

static void let_go(void *block) {
    count(block, -1);
    free(block);
}

// Blocks of many sizes, of which every third is freed: into caches, fast bins and what is merged.
static void fill(int number) {
    void **blocks = malloc(number * sizeof *blocks);
    count(blocks, 1);
    for (int i = 0; i < number; i++)
        blocks[i] = keep(16 + i % 700);
    for (int i = 0; i < number; i += 3)
        let_go(blocks[i]);
}

// The same, and then the thread stays as it is.
static void *fills(void *done) {
    fill(10000);
    pthread_barrier_wait(done);
    pause();
    return NULL;
}

// Comes up with blocks of random sizes and lets go of them, for ever.
static void *churns(void *seed) {
    unsigned state = (unsigned)(unsigned long)seed;
    void **slots = calloc(SLOTS, sizeof *slots);
    while (!stop) {
        int at = rand_r(&state) % SLOTS;
        free(slots[at]);
        slots[at] = malloc(16 + rand_r(&state) % 2000);
        if (!slots[at])
            exit(3);
        memset(slots[at], 2, 16);
    }
    return NULL;
}

// Takes 20 MB in small blocks and gives all but a few of them back: an arena keeps the memory.
static void *retains(void *done) {
    static __thread void *blocks[20000];
    for (int i = 0; i < 20000; i++)
        blocks[i] = keep(1000);
    for (int i = 0; i < 20000; i++)
        if (i % 1000 != 999)
            let_go(blocks[i]);
    pthread_barrier_wait(done);
    pause();
    return NULL;
}

static void begin(void *(*what)(void *), void *with) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, what, with))
        exit(3);
}

static void begin_and_wait(void *(*what)(void *)) {
    pthread_barrier_t done;
    pthread_barrier_init(&done, NULL, 2);
    begin(what, &done);
    pthread_barrier_wait(&done);
}

int main(void) {
    char line[64], what[16];
    void *one = NULL;
    setvbuf(stdout, NULL, _IONBF, 0);
    setvbuf(stdin, NULL, _IONBF, 0); // what follows "become" is for the next program
    do {
        int number = 0;
        if (!fgets(line, sizeof line, stdin) || sscanf(line, "%15s %d", what, &number) < 1)
            break;
        if (!strcmp(what, "fill"))
            fill(number);
        if (!strcmp(what, "large"))
            for (int i = 0; i < number; i++)
                keep(1 << 20);
        if (!strcmp(what, "leak"))
            for (int i = 0; i < number; i++)
                keep(1024);
        for (int i = 0; i < number; i++) {
            if (!strcmp(what, "fills"))
                begin_and_wait(fills);
            if (!strcmp(what, "retains"))
                begin_and_wait(retains);
            if (!strcmp(what, "churns"))
                begin(churns, (void *)(unsigned long)(i + 1));
        }
#ifdef __GLIBC__
        if (!strcmp(what, "trim"))
            malloc_trim(0);
#endif
        if (!strcmp(what, "block")) {
            one = malloc(number);
            printf("%lu\n", (unsigned long)one);
            continue;
        }
        if (!strcmp(what, "free"))
            free(one);
        if (!strcmp(what, "become"))
            execl("/bin/cat", "cat", (char *)NULL);
        printf("%lu\n", live);
    } while (1);
    return 0;
}
