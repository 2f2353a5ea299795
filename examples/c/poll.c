/*
 * A loop of poll(2) alone: lines from stdin are keys, and each is answered when
 * its value is there, while the loop goes on reading. It ends at the end of stdin,
 * once every get that was begun has ended.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <kamacache.h>

static int pending;

/* In kamacache_queue_dispatch, so on the loop's thread: no lock is needed. */
static void on_get(void *user_data, kamacache_status status, kamacache_value *value, kamacache_error *error) {
  char *key = user_data;
  if (status == KAMACACHE_OK) {
    printf("%s is %.*s\n", key, (int)kamacache_value_len(value), (const char *)kamacache_value_data(value));
  } else {
    printf("%s: %s\n", key, kamacache_status_name(status));
  }
  kamacache_value_release(value);
  kamacache_error_free(error);
  free(key);
  pending--;
}

static void on_line(kamacache_group *group, kamacache_queue *queue, const char *line) {
  char *key = strdup(line);
  if (key == NULL) return;
  pending++;
  if (kamacache_group_get_queued(group, queue, key, strlen(key), 1000, on_get, key, NULL, NULL) != KAMACACHE_OK) {
    printf("%s: refused\n", key); /* an empty key, say: then there is no callback */
    free(key);
    pending--;
  }
}

/* Takes the whole lines out of what was read so far; what is left moves to the front. */
static size_t take_lines(kamacache_group *group, kamacache_queue *queue, char *text, size_t len) {
  char *line = text, *end;
  while ((end = memchr(line, '\n', len - (size_t)(line - text))) != NULL) {
    *end = '\0';
    on_line(group, queue, line);
    line = end + 1;
  }
  size_t rest = len - (size_t)(line - text);
  memmove(text, line, rest);
  return rest;
}

/* The length of a key; none for "nobody". */
static void load(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  char value[32];
  (void)user_data;
  if (info->key_len == 6 && memcmp(info->key, "nobody", 6) == 0) {
    kamacache_load_not_found(load);
    return;
  }
  int len = snprintf(value, sizeof value, "%zu", info->key_len);
  kamacache_load_complete(load, value, (size_t)len, 0);
}

int main(void) {
  kamacache_node *node;
  kamacache_group *group;
  kamacache_queue *queue;
  kamacache_node_options node_options;
  kamacache_group_options group_options;
  kamacache_node_options_init(&node_options);
  kamacache_group_options_init(&group_options);
  group_options.max_bytes = 1 << 20;
  group_options.getter = load;
  if (kamacache_node_open(&node_options, &node, NULL) != KAMACACHE_OK) return 1;
  if (kamacache_group_open(node, "lengths", &group_options, &group, NULL) != KAMACACHE_OK) return 1;
  if (kamacache_queue_new(&queue, NULL) != KAMACACHE_OK) return 1;

  char text[4096];
  size_t len = 0;
  struct pollfd fds[2] = {{kamacache_queue_fd(queue), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
  while ((fds[1].fd >= 0 || pending > 0) && poll(fds, 2, -1) > 0) {
    if (fds[0].revents != 0) kamacache_queue_dispatch(queue, 64);
    if (fds[1].revents != 0) {
      ssize_t n = read(STDIN_FILENO, text + len, sizeof text - len);
      if (n > 0) len = take_lines(group, queue, text, len + (size_t)n);
      if (n <= 0 || len == sizeof text) fds[1].fd = -1; /* poll leaves it out from now on */
    }
  }

  kamacache_queue_free(queue);
  kamacache_node_close(node, 1000, NULL);
  kamacache_group_free(group);
  kamacache_node_free(node);
  return 0;
}
