/*
 * Forks workers that write to what their parent has left them, so many bytes a second each: `workers MIB WORKERS BYTES_PER_SECOND`.
 * Each page becomes a copy, and nobody allocates anything.
 */
#include "truth.h"

#include <sys/mman.h>
#include <time.h>

enum { PAGE = 4096 };

static void copy(char *heap, size_t bytes, long rate)
{
    const struct timespec tenth = {0, 100000000};
    size_t at = 0;
    long owed = 0;

    for (;;) {
        for (owed += rate / 10; owed >= PAGE && at < bytes; owed -= PAGE, at += PAGE)
            heap[at]++;
        nanosleep(&tenth, NULL);
    }
}

int main(int argc, char **argv)
{
    size_t bytes = argc > 1 ? strtoul(argv[1], NULL, 10) << 20 : 0;
    long workers = argc > 2 ? atol(argv[2]) : 0;
    long rate = argc > 3 ? atol(argv[3]) : 0;
    char *heap = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    require(bytes > 0 && rate > 0, "how many MiB, workers, and bytes a second?");
    require(heap != MAP_FAILED, "no memory");
    /* where huge pages may not be, they are not */
    madvise(heap, bytes, MADV_NOHUGEPAGE);
    memset(heap, 1, bytes);
    while (workers-- > 0)
        if (!fork())
            copy(heap, bytes, rate);
    for (;;)
        pause();
}
