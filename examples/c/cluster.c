/*
 * A node of a cluster, whole:
 *
 *   cluster 10.0.0.1:8001 10.0.0.1:8001 10.0.0.2:8001 10.0.0.3:8001
 *
 * is the node at the first address in a ring of the three that follow. Each line
 * on stdin is a key to get; "peers A B" is a new list of members. The data source
 * is a stand-in that knows every key which begins with a capital letter.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <kamacache.h>

enum { MAX_PEERS = 64 };

/* Called on the one node that owns the key, when no node has its value. */
static void load(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  const char *me = user_data;
  char value[256];
  if (!isupper((unsigned char)info->key[0])) {
    kamacache_load_not_found(load);
    return;
  }
  int len = snprintf(value, sizeof value, "%.100s as %s read it", info->key, me);
  kamacache_load_complete(load, value, (size_t)len, 0); /* copied; lives as long as the group says */
}

/* Prints and frees an error; whether there was one. */
static int failed(kamacache_error *err) {
  if (err == NULL) return 0;
  fprintf(stderr, "cluster: %s: %s\n", kamacache_status_name(kamacache_error_code(err)), kamacache_error_message(err));
  kamacache_error_free(err);
  return 1;
}

static void show(kamacache_group *group, const char *key) {
  kamacache_value *value;
  kamacache_error *err;
  switch (kamacache_group_get(group, key, strlen(key), 1000, &value, &err)) {
    case KAMACACHE_OK:
      printf("%.*s\n", (int)kamacache_value_len(value), (const char *)kamacache_value_data(value));
      kamacache_value_release(value);
      break;
    case KAMACACHE_NOT_FOUND: /* an answer, no failure */
      printf("no %s\n", key);
      kamacache_error_free(err);
      break;
    default:
      failed(err);
  }
  fflush(stdout);
}

static void set_peers(kamacache_node *node, char *list) {
  const char *peers[MAX_PEERS];
  size_t n = 0;
  kamacache_error *err;
  for (char *peer = strtok(list, " "); peer != NULL && n < MAX_PEERS; peer = strtok(NULL, " ")) peers[n++] = peer;
  kamacache_node_set_peers(node, peers, n, &err);
  failed(err);
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fputs("usage: cluster ADDRESS [MEMBER...]\n", stderr);
    return 2;
  }
  kamacache_node *node;
  kamacache_group *group;
  kamacache_error *err;
  char me[128], line[512];
  size_t len;

  kamacache_node_options node_options;
  kamacache_node_options_init(&node_options);
  node_options.listen = argv[1];
  node_options.peers = (const char *const *)argv + 2; /* the same list on every node, this one in it */
  node_options.peers_len = (size_t)argc - 2;
  kamacache_node_open(&node_options, &node, &err);
  if (failed(err)) return 1;
  kamacache_node_address(node, me, sizeof me, &len);

  kamacache_group_options group_options;
  kamacache_group_options_init(&group_options);
  group_options.max_bytes = 64 << 20; /* the one option without a default */
  group_options.ttl_ms = 60000;
  group_options.getter = load;
  group_options.user_data = me;
  kamacache_group_open(node, "names", &group_options, &group, &err);
  if (failed(err)) return 1;

  printf("%s\n", me);
  fflush(stdout);
  while (fgets(line, sizeof line, stdin) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "peers ", 6) == 0) set_peers(node, line + 6);
    else if (line[0] != '\0') show(group, line);
  }

  kamacache_node_close(node, 5000, &err); /* after this no getter runs, so what it uses may go */
  if (failed(err)) return 1;
  kamacache_group_free(group);
  kamacache_node_free(node);
  return 0;
}
