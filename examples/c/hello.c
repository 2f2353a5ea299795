/* The smallest use: a cache in this process, without a network. */
#include <stdio.h>
#include <string.h>

#include <kamacache.h>

/* Called when a key is in no cache. A real one asks a database. */
static void load(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  (void)user_data;
  printf("loading %s\n", info->key);
  if (info->key_len == 3 && memcmp(info->key, "Tom", 3) == 0) {
    kamacache_load_complete(load, "630", 3, 0);
  } else {
    kamacache_load_not_found(load);
  }
}

static void show(kamacache_group *group, const char *key) {
  kamacache_value *value;
  kamacache_error *err;
  if (kamacache_group_get(group, key, strlen(key), 0, &value, &err) == KAMACACHE_OK) {
    printf("%s is %.*s\n", key, (int)kamacache_value_len(value), (const char *)kamacache_value_data(value));
  } else {
    printf("%s: %s\n", key, kamacache_error_message(err));
  }
  kamacache_value_release(value); /* both accept NULL */
  kamacache_error_free(err);
}

int main(void) {
  kamacache_node_options node_options;
  kamacache_node_options_init(&node_options); /* listen is NULL: no network */
  kamacache_node *node;
  kamacache_error *err;
  if (kamacache_node_open(&node_options, &node, &err) != KAMACACHE_OK) {
    fprintf(stderr, "hello: %s\n", kamacache_error_message(err));
    kamacache_error_free(err);
    return 1;
  }

  kamacache_group_options group_options;
  kamacache_group_options_init(&group_options);
  group_options.max_bytes = 1 << 20;
  group_options.getter = load;
  kamacache_group *group;
  if (kamacache_group_open(node, "scores", &group_options, &group, &err) != KAMACACHE_OK) {
    fprintf(stderr, "hello: %s\n", kamacache_error_message(err));
    kamacache_error_free(err);
    return 1;
  }

  show(group, "Tom"); /* loads */
  show(group, "Tom"); /* does not */
  show(group, "nobody");

  kamacache_node_close(node, 1000, NULL);
  kamacache_group_free(group);
  kamacache_node_free(node);
  return 0;
}
