// Stands for an allocator under observation: tells its caller's registers and stack, then waits.
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MOST = 16 * 1024, PIECE = 1024 };

static struct {
  uint64_t ip, sp, bp, length;
  unsigned char stack[MOST];
} told;

__attribute__((used)) void spill_registers(uint64_t ip, uint64_t sp, uint64_t bp) {
  static int once;
  if (once++) return;
  told.ip = ip, told.sp = sp, told.bp = bp;
  while (told.length < MOST) {
    uint64_t from = sp + told.length;
    uint64_t piece = PIECE - from % PIECE;
    if (piece > MOST - told.length) piece = MOST - told.length;
    struct iovec to = {told.stack + told.length, piece}, at = {(void *)from, piece};
    if (process_vm_readv(getpid(), &to, 1, &at, 1, 0) != (ssize_t)piece) break;
    told.length += piece;
  }
  size_t size = 32 + told.length, done = 0;
  while (done < size) {
    ssize_t now = write(1, (char *)&told + done, size - done);
    if (now <= 0) _exit(1);
    done += now;
  }
  char go;
  if (read(0, &go, 1) < 0) _exit(1);
}

__asm__(
    ".text\n"
    ".globl spill\n"
    ".type spill, @function\n"
    "spill:\n"
    "  mov (%rsp), %rdi\n"
    "  lea 8(%rsp), %rsi\n"
    "  mov %rbp, %rdx\n"
    "  jmp spill_registers\n"
    ".size spill, .-spill\n"
    ".section .note.GNU-stack,\"\",@progbits\n"
    ".text\n");
