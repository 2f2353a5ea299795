/* dlopen and dlclose around a live node: this program is not linked with the
 * library. Its threads go on after dlclose, and the process ends as it chooses. */
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include <stdio.h>

#include <kamacache.h>

#define LOAD(library, name) (*(void **)&name##_ = dlsym(library, #name))

static void (*kamacache_node_options_init_sized_)(kamacache_node_options *, size_t);
static kamacache_status (*kamacache_node_open_)(const kamacache_node_options *, kamacache_node **, kamacache_error **);
static kamacache_status (*kamacache_node_close_)(kamacache_node *, uint64_t, kamacache_error **);
static void (*kamacache_node_free_)(kamacache_node *);

static void *load(void) {
  void *library = dlopen("libkamacache.so.0", RTLD_NOW | RTLD_LOCAL);
  if (library == NULL || LOAD(library, kamacache_node_options_init_sized) == NULL || LOAD(library, kamacache_node_open) == NULL ||
      LOAD(library, kamacache_node_close) == NULL || LOAD(library, kamacache_node_free) == NULL) {
    printf("  %s\n", dlerror());
    return NULL;
  }
  return library;
}

int main(void) {
  kamacache_node *nodes[3] = {NULL, NULL, NULL};
  for (int i = 0; i < 3; i++) {
    void *library = load();
    if (library == NULL) return 1;
    kamacache_node_options options;
    kamacache_node_options_init_sized_(&options, sizeof options);
    options.listen = "127.0.0.1:0";
    if (kamacache_node_open_(&options, &nodes[i], NULL) != 0) return 1;
    if (dlclose(library) != 0) return 1;
  }
  /* The code is still there: the node whose library was closed can be ended. */
  if (kamacache_node_close_(nodes[0], 1000, NULL) != 0) return 1;
  kamacache_node_free_(nodes[0]);
  puts("1 passed, 0 failed"); /* and the others live on past main */
  return 0;
}
