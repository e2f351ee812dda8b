// Waits for a byte, then calls twelve functions deep and back, all of them known by name; the innermost has no frame.
#include <alloca.h>
#include <unistd.h>

#define FUNCTION __attribute__((noinline)) int
static volatile int sink;

FUNCTION level_12(int n) { return n + sink; }
FUNCTION level_11(int n) { volatile char room[1000]; room[n] = 1; return level_12(n) + room[n]; }
FUNCTION level_10(int n) { volatile char *room = alloca(n * 100 + 10); room[n] = 1; return level_11(n) + room[n]; }
FUNCTION level_9(int n) { _Alignas(64) volatile char room[64]; room[n] = 1; return level_10(n) + room[n]; }
FUNCTION level_8(int a, int b, int c, int d, int e, int f, int g, int h) { return level_9(a) + b + c + d + e + f + g + h; }
FUNCTION level_7(int n) { return level_8(n, n, n, n, n, n, n, n) + sink; }
FUNCTION level_6(int n) { int r = 0; if (n) r = level_7(n) + sink; return r; }
FUNCTION level_5(int n) { int r = 0; for (int i = 0; i < n; i++) r += level_6(n) * sink; return r; }
FUNCTION level_4(int n) { return level_5(n) + 1; }
FUNCTION level_3(int n) { return level_4(n) + 1; }
FUNCTION level_2(int n) { return level_3(n) + 1; }
FUNCTION level_1(int n) { return level_2(n) + 1; }

int main(int argc, char **argv) {
  (void)argv;
  char byte = 1;
  if (write(1, &byte, 1) < 0 || read(0, &byte, 1) < 0) return 2;
  return level_1(argc) == 0;
}
