/*
 * The timed loop of P4, as a C program has it: linked with libkamacache.so, one
 * call of kamacache_group_peek_into a request. Called by c.rs.
 */
#include <string.h>

#include <kamacache.h>

enum { VALUE_BYTES = 128 };

/* A group without a getter that holds n keys of key_len bytes each, one after the other in keys. */
kamacache_group *p4_open(const char *keys, size_t n, size_t key_len, uint64_t max_bytes) {
  static const char value[VALUE_BYTES] = {0x5a};
  kamacache_node *node;
  kamacache_group *group;
  kamacache_node_options node_options;
  kamacache_group_options group_options;
  kamacache_node_options_init(&node_options);
  kamacache_group_options_init(&group_options);
  group_options.max_bytes = max_bytes;
  if (kamacache_node_open(&node_options, &node, NULL) != KAMACACHE_OK) return NULL;
  if (kamacache_group_open(node, "bench", &group_options, &group, NULL) != KAMACACHE_OK) return NULL;
  for (size_t i = 0; i < n; i++) {
    if (kamacache_group_set(group, keys + i * key_len, key_len, value, sizeof value, 0, 0, NULL) != KAMACACHE_OK) return NULL;
  }
  return group; /* the node lives until the process ends */
}

/* Looks n keys up, one after the other in requests; how many bytes came, all told. */
size_t p4_block(kamacache_group *group, const char *requests, size_t n, size_t key_len) {
  char buf[VALUE_BYTES];
  size_t bytes = 0, len;
  for (size_t i = 0; i < n; i++) {
    if (kamacache_group_peek_into(group, requests + i * key_len, key_len, buf, sizeof buf, &len) == KAMACACHE_OK) bytes += len;
    __asm__ volatile("" : : "r"(buf) : "memory"); /* the copy is wanted */
  }
  return bytes;
}
