/*
 * Programs whose memory grows or moves, and that leak nothing: calm SHAPE [--size MIB] --seed N
 *
 * The seed moves sizes and times by up to a third.
 */
#define _GNU_SOURCE
#include "program.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

static double size_of_it; /* bytes */
static double pace;       /* about 1 */

/* Entries that live until as many newer ones have come, and are read meanwhile: the size is reached after so long. */
static void ring(double reached_after)
{
    enum { ENTRY = 1000 };
    size_t room = (size_t)(size_of_it / ENTRY), at = 0, count = 0;
    volatile char sum = 0;
    char **entries = (char **)calloc(room, sizeof(char *));
    double owed = 0;

    require(entries != NULL, "no memory");
    for (;;) {
        for (owed += (double)room / reached_after / BEATS; owed >= 1; owed--) {
            free(entries[at]);
            entries[at] = filled((size_t)between(ENTRY / 2, ENTRY * 1.5));
            at = (at + 1) % room;
            count = count < room ? count + 1 : room;
            for (int i = 0; i < READS_A_WRITE; i++)
                sum = (char)(sum + *entries[(at + room - 1 - asked_for(count)) % room]);
        }
        pause_for(1.0 / BEATS);
    }
}

/* Full after half a minute, and at work ever since. */
static void cache(void) { ring(30 * pace); }

/* Fills for four minutes. */
static void lru(void) { ring(240 * pace); }

/* Tables that come with the first requests of each kind, and serve the later ones: quick in the beginning, then less and less. */
static void warm_up(void)
{
    enum { TABLE = 4096, ASKED = 200 };
    size_t count = 0;
    volatile char sum = 0;
    char **tables = (char **)calloc((size_t)(size_of_it / TABLE) + 1, sizeof(char *));

    require(tables != NULL, "no memory");
    for (;;) {
        size_t due = (size_t)(size_of_it / TABLE * (1 - exp(-elapsed() / (20 * pace))));
        while (count < due)
            tables[count++] = filled(TABLE - 16);
        for (int i = 0; i < ASKED && count > 0; i++)
            sum = (char)(sum + *tables[asked_for(count)]);
        free(filled(100000));
        pause_for(1.0 / BEATS);
    }
}

/* Results are kept until the batch is full. */
static void batch(void)
{
    enum { COUNT = 4000 };
    static char *results[COUNT];
    double length = 40 * pace;

    for (;;) {
        double begin = elapsed();
        for (int i = 0; i < COUNT; i++) {
            results[i] = filled((size_t)(size_of_it / COUNT));
            pause_for(begin + length * (i + 1) / COUNT - elapsed());
        }
        for (int i = 0; i < COUNT; i++)
            free(results[i]);
        pause_for(5 * pace);
    }
}

/* Connections with their buffers, all of which carry something now and then: more than ever before now and then, until the busiest
   moment has been. */
static void pool(void)
{
    enum { MOST = 40 };
    char *buffers[MOST];
    int most = MOST, open = 0;
    size_t each = (size_t)(size_of_it / most);

    for (;;) {
        /* the peak comes after about three minutes */
        int wanted = (int)(most * fmin(1, elapsed() / (180 * pace)) * between(0.5, 1));
        for (; open < wanted; open++)
            buffers[open] = filled(each);
        for (int i = 0; i < open / 4 + 1 && open > 0; i++)
            memset(buffers[(int)between(0, open)], 2, each);
        free(filled(50000));
        pause_for(1);
    }
}

/* A log that is written and read again: pages of the file are the kernel's. */
static void page_cache(void)
{
    char name[] = "/var/tmp/mlh-accuracy-XXXXXX";
    char line[64 * KIB];
    int file = mkstemp(name);

    require(file >= 0, "no file");
    unlink(name);
    memset(line, 'x', sizeof(line));
    for (off_t length = 0;;) {
        require(write(file, line, sizeof(line)) == (ssize_t)sizeof(line), "no room for the file");
        length += (off_t)sizeof(line);
        if (pread(file, line, sizeof(line), length / 2) < 0)
            require(0, "the file cannot be read");
        if (length > (off_t)size_of_it * 8) {
            require(ftruncate(file, 0) == 0 && lseek(file, 0, SEEK_SET) == 0, "the file cannot be cut");
            length = 0;
        }
        pause_for(1.0 / BEATS);
    }
}

/* A file that is mapped, and read further and further. */
static void mapped_read(void)
{
    char name[] = "/var/tmp/mlh-accuracy-XXXXXX";
    int file = mkstemp(name);
    size_t length = (size_t)size_of_it * 4;
    volatile char sum = 0;

    require(file >= 0, "no file");
    unlink(name);
    char *block = filled(MIB);
    for (size_t at = 0; at < length; at += MIB)
        require(write(file, block, MIB) == (ssize_t)MIB, "no room for the file");
    free(block);
    char *map = (char *)mmap(NULL, length, PROT_READ, MAP_SHARED, file, 0);
    require(map != MAP_FAILED, "no mapping");
    for (size_t at = 0;; at = (at + 4096) % length) {
        sum = (char)(sum + map[at]);
        pause_for(0.002 * pace);
    }
}

static void *arena(void *unused)
{
    enum { BLOCKS = 300 };
    char *blocks[BLOCKS];
    size_t each = (size_t)(size_of_it / 8 / BLOCKS);

    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = filled(each);
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    return unused;
}

/* Requests on threads of their own: the C library keeps the free pages of up to so many arenas. */
static void arenas(void)
{
    for (int most = 1;; most = most < 8 ? most + 1 : 8) {
        for (int round = 0; round < 20; round++) {
            pthread_t threads[8];
            for (int i = 0; i < most; i++)
                require(pthread_create(&threads[i], NULL, arena, NULL) == 0, "no thread");
            for (int i = 0; i < most; i++)
                pthread_join(threads[i], NULL);
            pause_for(1 * pace);
        }
    }
}

/* Sessions follow the load, and that rises and falls with the time of day: one that lasts ten minutes. Who has one asks for it. */
static void day_and_night(void)
{
    enum { SESSIONS = 20000, ASKED = 500 };
    static char *sessions[SESSIONS];
    int open = 0;
    volatile char sum = 0;

    for (;;) {
        double load = 0.5 - 0.5 * cos(2 * M_PI * elapsed() / (600 * pace));
        int wanted = (int)(SESSIONS * (0.1 + 0.85 * load) + between(-200, 200));
        for (; open < wanted; open++)
            sessions[open] = filled((size_t)(size_of_it / SESSIONS));
        while (open > 0 && open > wanted)
            free(sessions[--open]);
        for (int i = 0; i < ASKED && open > 0; i++)
            sum = (char)(sum + *sessions[open - 1 - (int)asked_for((size_t)open)]);
        pause_for(1.0 / BEATS);
    }
}

/* Requests of all sizes, given back at once. */
static void churn(void)
{
    enum { BLOCKS = 500 };
    char *blocks[BLOCKS];

    for (;;) {
        int count = (int)between(50, BLOCKS);
        for (int i = 0; i < count; i++)
            blocks[i] = filled((size_t)between(16, size_of_it / BLOCKS * 2));
        pause_for(0.1);
        for (int i = 0; i < count; i++)
            free(blocks[i]);
        pause_for(0.2);
    }
}

/* A queue that is longer and shorter by chance, and never longer than it may be. */
static void queue(void)
{
    enum { MOST = 8000 };
    static char *waiting[MOST];
    int count = MOST / 4;

    for (int i = 0; i < count; i++)
        waiting[i] = filled((size_t)(size_of_it / MOST));
    for (;;) {
        int wanted = count + (int)between(-120, 120);
        wanted = wanted < 0 ? 0 : wanted > MOST ? MOST : wanted;
        for (; count < wanted; count++)
            waiting[count] = filled((size_t)(size_of_it / MOST));
        while (count > wanted)
            free(waiting[--count]);
        pause_for(1.0 / BEATS);
    }
}

/* A table that doubles when it is full, of as many entries as there are customers. */
static void doubling(void)
{
    size_t length = 4096, used = 0, most = (size_t)size_of_it;
    char *table = (char *)malloc(length);

    for (;;) {
        used += (size_t)((double)(most - used) / (40 * pace) / BEATS);
        while (used > length) {
            length *= 2;
            table = (char *)realloc(table, length);
        }
        require(table != NULL, "no memory");
        memset(table, 1, used);
        pause_for(1.0 / BEATS);
    }
}

/* Shared memory written round and round. */
static void shared_ring(void)
{
    size_t length = (size_t)size_of_it / 4096 * 4096;
    char *ring = (char *)mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    require(ring != MAP_FAILED, "no mapping");
    for (size_t at = 0;; at = (at + 4096) % length) {
        ring[at] = 1;
        pause_for(60 * pace / (double)(length / 4096));
    }
}

/* Workers that are replaced after some work. */
static void recycled(void)
{
    for (;;) {
        pid_t worker = fork();
        require(worker >= 0, "no process");
        if (worker == 0) {
            for (int i = 0; i < 200; i++) {
                filled((size_t)(size_of_it / 200));
                pause_for(0.1 * pace);
            }
            _exit(0);
        }
        waitpid(worker, NULL, 0);
    }
}

/* A service without customers. */
static void idle(void)
{
    for (;;)
        pause_for(1);
}

static const struct shape {
    const char *name;
    void (*run)(void);
} shapes[] = {
    {"cache", cache},
    {"lru", lru},
    {"warm-up", warm_up},
    {"batch", batch},
    {"pool", pool},
    {"page-cache", page_cache},
    {"mapped-read", mapped_read},
    {"arenas", arenas},
    {"day-and-night", day_and_night},
    {"churn", churn},
    {"queue", queue},
    {"doubling", doubling},
    {"shared-ring", shared_ring},
    {"recycled", recycled},
    {"idle", idle},
};

int main(int argc, char **argv)
{
    require(argc > 1, "calm SHAPE ...");
    seed(argc, argv);
    size_of_it = atof(argument(argc, argv, "--size", "12")) * MIB * between(0.75, 1.33);
    pace = between(0.75, 1.33);
    start_thread(until_input_ends, NULL);
    say_calm();
    elapsed();
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        if (!strcmp(argv[1], shapes[i].name))
            shapes[i].run();
    require(0, "SHAPE is unknown");
    return 0;
}
