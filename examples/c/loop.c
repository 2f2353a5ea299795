/*
 * An event loop: gets are begun on the loop's thread and end on it, through a
 * queue whose descriptor epoll watches beside the program's own.
 */
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <kamacache.h>

enum { GETS = 3 };

static int pending = GETS;

/* On the loop's thread, inside kamacache_queue_dispatch. */
static void on_get(void *user_data, kamacache_status status, kamacache_value *value, kamacache_error *error) {
  const char *key = user_data;
  if (status == KAMACACHE_OK) {
    printf("%s is %.*s\n", key, (int)kamacache_value_len(value), (const char *)kamacache_value_data(value));
  } else {
    printf("%s: %s\n", key, kamacache_error_message(error));
  }
  kamacache_value_release(value); /* they are the callback's */
  kamacache_error_free(error);
  pending--;
}

/* On a thread of the library: an asynchronous get never runs it on the loop's. */
static void load(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  (void)user_data;
  if (strcmp(info->key, "nobody") == 0) {
    kamacache_load_not_found(load);
  } else {
    kamacache_load_complete(load, info->key, info->key_len, 0);
  }
}

int main(void) {
  static char keys[GETS][8] = {"Tom", "Jack", "nobody"};
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
  if (kamacache_group_open(node, "loop", &group_options, &group, NULL) != KAMACACHE_OK) return 1;
  if (kamacache_queue_new(&queue, NULL) != KAMACACHE_OK) return 1;

  int epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN};
  epoll_ctl(epoll, EPOLL_CTL_ADD, kamacache_queue_fd(queue), &event);

  for (int i = 0; i < GETS; i++) {
    if (kamacache_group_get_queued(group, queue, keys[i], strlen(keys[i]), 1000, on_get, keys[i], NULL, NULL) != KAMACACHE_OK) pending--;
  }
  while (pending > 0 && epoll_wait(epoll, &event, 1, -1) >= 0) {
    kamacache_queue_dispatch(queue, 64); /* a bounded share of the loop's time */
  }

  close(epoll);
  kamacache_queue_free(queue);
  kamacache_node_close(node, 1000, NULL);
  kamacache_group_free(group);
  kamacache_node_free(node);
  return 0;
}
