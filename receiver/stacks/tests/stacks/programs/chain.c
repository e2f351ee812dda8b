// Twelve functions deep, frames of all sorts; one is inlined.
#include <alloca.h>
#include <stdio.h>

void spill(void);

#define FUNCTION __attribute__((noinline)) int
static volatile int sink;

static inline __attribute__((always_inline)) int in_between(int n) {
  spill();
  return n + sink;
}

FUNCTION level_12(int n) { return in_between(n) + 1; }
FUNCTION level_11(int n) { volatile char room[1000]; room[n] = 1; return level_12(n) + room[n]; }
FUNCTION level_10(int n) { volatile char *room = alloca(n * 100 + 10); room[n] = 1; return level_11(n) + room[n]; }
FUNCTION level_9(int n) { int r = level_10(n); for (int i = 0; i < n; i++) r += sink * level_9(0 * i) ; return r; }
FUNCTION level_8(int n) { _Alignas(64) volatile char room[64]; room[n] = 1; return level_10(n) + room[n]; }
FUNCTION level_7(int a, int b, int c, int d, int e, int f, int g, int h) { return level_8(a) + b + c + d + e + f + g + h; }
FUNCTION level_6(int n) { return level_7(n, n, n, n, n, n, n, n) + sink; }
FUNCTION level_5(int n) { return level_6(n) + 1; }
FUNCTION level_4(int n) { return level_5(n) + 1; }
FUNCTION level_3(int n) { return level_4(n) + 1; }
FUNCTION level_2(int n) { return level_3(n) + 1; }
FUNCTION level_1(int n) { return level_2(n) + 1; }

int main(int argc, char **argv) { (void)argv; return level_1(argc) == 0; }
