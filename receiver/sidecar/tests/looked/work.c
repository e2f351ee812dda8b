/* Allocates on a line of input, and says what it has done; begins anew on an x. Writes without the C library's buffers, which would be
   allocations of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define APART __attribute__((noinline))

static unsigned long leaked, leaked_bytes, freed;

static void say(const char *text) {
    if (write(1, text, strlen(text)) < 0)
        _exit(1);
}

static void wait_for_line(char **arguments) {
    char byte;
    do {
        if (read(0, &byte, 1) != 1)
            _exit(0);
        if (byte == 'x')
            execv("/proc/self/exe", arguments);
    } while (byte != '\n');
}

APART static void leak(size_t size) {
    char *block = malloc(size);
    *(volatile char *)block = 1;
    leaked++;
    leaked_bytes += size;
}

APART static void give_back(size_t size) {
    char *block = calloc(1, size);
    *(volatile char *)block = 1;
    free(block);
    freed++;
}

APART static void map_half(void) {
    char *block = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *(volatile char *)block = 1;
    munmap(block, 1 << 19);
    asm volatile("" ::: "memory"); /* no tail call: the caller is this function */
}

int main(int count, char **arguments) {
    char line[128];
    (void)count;
    say("ready\n");
    wait_for_line(arguments);
    for (int i = 0; i < 5000; i++) {
        leak(100 + (size_t)i);
        give_back(3000);
    }
    map_half();
    snprintf(line, sizeof line, "%lu %lu %lu\n", leaked, leaked_bytes, freed);
    say(line);
    wait_for_line(arguments);
    return 0;
}
