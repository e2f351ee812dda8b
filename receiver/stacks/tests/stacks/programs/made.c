// Makes a function at run time, names it as perf wants it, and calls through it.
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void spill(void);

static const unsigned char code[] = {
    0x55,              // push %rbp
    0x48, 0x89, 0xe5,  // mov %rsp, %rbp
    0xff, 0xd7,        // call *%rdi
    0x5d,              // pop %rbp
    0xc3,              // ret
};

static __attribute__((noinline)) void called(void) { spill(); __asm__ volatile(""); }

int main(int argc, char **argv) {
  (void)argv;
  char *place = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (place == MAP_FAILED) return 2;
  memcpy(place + 64, code, sizeof code);
  if (argc > 1) {
    char name[64];
    snprintf(name, sizeof name, "/tmp/perf-%d.map", getpid());
    FILE *map = fopen(name, "w");
    fprintf(map, "nonsense\n%lx %zx LazyCompile:*serve /srv/app.js:12\n", (long)place + 64, sizeof code);
    fclose(map);
  }
  ((void (*)(void (*)(void)))(place + 64))(called);
  __asm__ volatile("");
  return 0;
}
