// Says of one of its functions that its frame is undone by a program that never ends, and describes in its debug
// information functions that are inlined into each other without an end.
void spill(void);

__attribute__((noinline)) int honest(int n) { spill(); return n + 1; }
int endless(int n);

__asm__(
    ".text\n"
    ".globl endless\n"
    ".type endless, @function\n"
    "endless:\n"
    "  .cfi_startproc\n"
    "  sub $8, %rsp\n"
    "  .cfi_escape 0x0f, 3, 0x2f, 0xfd, 0xff\n"
    "  call honest\n"
    "  add $8, %rsp\n"
    "  ret\n"
    "  .cfi_endproc\n"
    ".size endless, .-endless\n"
    ".Lend:\n"
    ".section .debug_abbrev,\"\",@progbits\n"
    "  .uleb128 1, 0x11\n"  // unit, with children
    "  .byte 1\n"
    "  .uleb128 0x11, 0x01, 0x12, 0x07, 0, 0\n"
    "  .uleb128 2, 0x2e\n"  // function, with children
    "  .byte 1\n"
    "  .uleb128 0x11, 0x01, 0x12, 0x07, 0, 0\n"
    "  .uleb128 3, 0x1d\n"  // inlined, with children
    "  .byte 1\n"
    "  .uleb128 0, 0\n"
    "  .uleb128 0\n"
    ".section .debug_info,\"\",@progbits\n"
    "  .long .Linfo_end - .Linfo\n"
    ".Linfo:\n"
    "  .short 4\n"
    "  .long 0\n"
    "  .byte 8\n"
    "  .uleb128 1\n"
    "  .quad endless\n"
    "  .quad .Lend - endless\n"
    "  .uleb128 2\n"
    "  .quad endless\n"
    "  .quad .Lend - endless\n"
    "  .fill 2000000, 1, 3\n"
    ".Linfo_end:\n"
    ".text\n");

int main(int argc, char **argv) { (void)argv; return endless(argc) == 0; }
