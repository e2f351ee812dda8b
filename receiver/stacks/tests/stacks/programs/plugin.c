// A library to be loaded at run time.
void spill(void);
static __attribute__((noinline)) int inside(int n) { spill(); return n + 1; }
int plugin_entry(int n) { return inside(n) + 1; }
