// Memory of four kinds: says where each is, then does as it is told until its input ends.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE (2UL << 20)
#define PAGES 64

static char *map(size_t size, int flags) {
    char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        exit(3);
    return at;
}

int main(int argc, char **argv) {
    char *small = map(PAGES * 4096, MAP_PRIVATE), *shared = map(4096, MAP_SHARED);
    char *around = map(3 * HUGE, MAP_PRIVATE);
    char *huge = (char *)(((unsigned long)around + HUGE - 1) & ~(HUGE - 1));
    madvise(small, PAGES * 4096, MADV_NOHUGEPAGE);
    madvise(huge, HUGE, MADV_HUGEPAGE);
    for (int i = 0; i < PAGES; i += 2)
        small[i * 4096] = 1;
    shared[0] = huge[4096 * 77] = 1;
    printf("%p %p %p\n", (void *)small, (void *)shared, (void *)huge);
    fflush(stdout);
    for (char command; read(0, &command, 1) == 1;) {
        if (command == 'g')
            madvise(small, PAGES * 4096, MADV_DONTNEED);
        if (command == 's')
            madvise(huge + 4096, 4096, MADV_DONTNEED);
        if (command == 'x' && argc > 1)
            execl(argv[1], argv[1], (char *)NULL);
        putchar(command);
        fflush(stdout);
    }
    return 0;
}
