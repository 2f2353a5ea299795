/*
 * The same in libuv: its loop watches the queue's descriptor beside its own
 * handles, here a timer, and completions run on the loop's thread.
 */
#include <stdio.h>
#include <string.h>

#include <kamacache.h>
#include <uv.h>

enum { GETS = 3 };

static int pending;
static uv_poll_t ready;
static uv_timer_t timer;
static kamacache_group *group;
static kamacache_queue *queue;

static void stop_when_done(void) {
  if (pending > 0) return;
  uv_close((uv_handle_t *)&ready, NULL); /* before the queue is freed: the descriptor is the queue's */
  uv_close((uv_handle_t *)&timer, NULL);
}

static void on_get(void *user_data, kamacache_status status, kamacache_value *value, kamacache_error *error) {
  const char *key = user_data;
  if (status == KAMACACHE_OK) {
    printf("%s is %.*s\n", key, (int)kamacache_value_len(value), (const char *)kamacache_value_data(value));
  } else {
    printf("%s: %s\n", key, kamacache_error_message(error));
  }
  kamacache_value_release(value);
  kamacache_error_free(error);
  pending--;
}

static void on_ready(uv_poll_t *handle, int status, int events) {
  (void)handle, (void)status, (void)events;
  kamacache_queue_dispatch(queue, 64);
  stop_when_done();
}

static void on_timer(uv_timer_t *handle) {
  static char keys[GETS][8] = {"Tom", "Jack", "nobody"};
  (void)handle;
  for (int i = 0; i < GETS; i++) {
    pending += kamacache_group_get_queued(group, queue, keys[i], strlen(keys[i]), 1000, on_get, keys[i], NULL, NULL) == KAMACACHE_OK;
  }
  stop_when_done();
}

static void load(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  (void)user_data;
  if (strcmp(info->key, "nobody") == 0) {
    kamacache_load_not_found(load);
  } else {
    kamacache_load_complete(load, info->key, info->key_len, 0);
  }
}

int main(void) {
  kamacache_node *node;
  kamacache_node_options node_options;
  kamacache_group_options group_options;
  kamacache_node_options_init(&node_options);
  kamacache_group_options_init(&group_options);
  group_options.max_bytes = 1 << 20;
  group_options.getter = load;
  if (kamacache_node_open(&node_options, &node, NULL) != KAMACACHE_OK) return 1;
  if (kamacache_group_open(node, "uv", &group_options, &group, NULL) != KAMACACHE_OK) return 1;
  if (kamacache_queue_new(&queue, NULL) != KAMACACHE_OK) return 1;

  uv_loop_t *loop = uv_default_loop();
  uv_poll_init(loop, &ready, kamacache_queue_fd(queue));
  uv_poll_start(&ready, UV_READABLE, on_ready);
  uv_timer_init(loop, &timer);
  uv_timer_start(&timer, on_timer, 10, 0);
  uv_run(loop, UV_RUN_DEFAULT);
  uv_loop_close(loop);

  kamacache_queue_free(queue);
  kamacache_node_close(node, 1000, NULL);
  kamacache_group_free(group);
  kamacache_node_free(node);
  return 0;
}
