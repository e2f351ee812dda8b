// Loads a library, and unloads it once it has been told to go on.
#include <dlfcn.h>
int main(int argc, char **argv) {
  void *plugin = dlopen(argv[1], RTLD_NOW);
  if (!plugin) return 2;
  int (*entry)(int) = (int (*)(int))dlsym(plugin, "plugin_entry");
  return entry(argc) == 0;
}
