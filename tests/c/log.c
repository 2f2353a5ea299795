/* The logger: what it hears, on which thread, and when its data is freed. */
#include "fixture.h"

typedef struct heard {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int messages, freed, worst; /* worst: the highest level number */
  char started[256];
  kamacache_status blocked;
  kamacache_group *group;
} heard;

static void on_log(void *user_data, int32_t level, const char *target, const char *message) {
  heard *h = (heard *)user_data;
  kamacache_value *value;
  pthread_mutex_lock(&h->lock);
  h->messages++;
  if (level > h->worst) h->worst = level;
  if (strstr(message, "node started") != NULL && starts_with(target, "kamacache")) {
    snprintf(h->started, sizeof h->started, "%s", message);
  }
  if (h->group != NULL) h->blocked = kamacache_group_get(h->group, "k", 1, 0, &value, NULL);
  pthread_cond_broadcast(&h->changed);
  pthread_mutex_unlock(&h->lock);
}

static void on_free(void *user_data) {
  heard *h = (heard *)user_data;
  pthread_mutex_lock(&h->lock);
  h->freed++;
  pthread_cond_broadcast(&h->changed);
  pthread_mutex_unlock(&h->lock);
}

static heard new_heard(void) {
  heard h;
  memset(&h, 0, sizeof h);
  pthread_mutex_init(&h.lock, NULL);
  pthread_cond_init(&h.changed, NULL);
  return h;
}

/* Waits until what `is` says, for at most 10 s. */
static void wait_until(heard *h, int (*is)(const heard *)) {
  struct timespec limit;
  clock_gettime(CLOCK_REALTIME, &limit);
  limit.tv_sec += 10;
  pthread_mutex_lock(&h->lock);
  while (!is(h) && pthread_cond_timedwait(&h->changed, &h->lock, &limit) == 0) {
  }
  CHECK(is(h));
  pthread_mutex_unlock(&h->lock);
}

static int has_started(const heard *h) { return h->started[0] != '\0'; }
static int is_freed(const heard *h) { return h->freed == 1; }

static kamacache_node *open_node(void) {
  kamacache_node_options options;
  kamacache_node_options_init(&options);
  options.listen = "127.0.0.1:0";
  kamacache_node *node = NULL;
  CHECK_STATUS(kamacache_node_open(&options, &node, NULL), KAMACACHE_OK);
  return node;
}

static void a_logger_hears_the_node_start(void) {
  heard h = new_heard();
  CHECK_STATUS(kamacache_set_logger(KAMACACHE_LOG_INFO, on_log, &h, on_free), KAMACACHE_OK);
  kamacache_node *node = open_node();
  char address[64];
  size_t len;
  CHECK_STATUS(kamacache_node_address(node, address, sizeof address, &len), KAMACACHE_OK);
  wait_until(&h, has_started);
  CHECK(strstr(h.started, address) != NULL && h.worst <= KAMACACHE_LOG_INFO);
  kamacache_node_free(node);
  CHECK_STATUS(kamacache_set_logger(0, NULL, NULL, NULL), KAMACACHE_OK);
  wait_until(&h, is_freed);
  int before = h.messages;
  kamacache_node_free(open_node());
  CHECK(h.messages == before && h.freed == 1);
}

static void a_level_keeps_out_what_is_less_important(void) {
  heard errors = new_heard(), all = new_heard();
  CHECK_STATUS(kamacache_set_logger(KAMACACHE_LOG_ERROR, on_log, &errors, on_free), KAMACACHE_OK);
  kamacache_node_free(open_node());
  CHECK_STATUS(kamacache_set_logger(KAMACACHE_LOG_TRACE, on_log, &all, on_free), KAMACACHE_OK); /* replaces */
  wait_until(&errors, is_freed);
  CHECK(errors.messages == 0);
  kamacache_node_free(open_node());
  wait_until(&all, has_started);
  CHECK_STATUS(kamacache_set_logger(0, NULL, NULL, NULL), KAMACACHE_OK);
  wait_until(&all, is_freed);
}

static void a_wrong_level_is_refused_and_the_data_freed(void) {
  heard h = new_heard();
  CHECK_STATUS(kamacache_set_logger(0, on_log, &h, on_free), KAMACACHE_INVALID_ARGUMENT);
  CHECK(h.freed == 1);
  CHECK_STATUS(kamacache_set_logger(6, on_log, &h, on_free), KAMACACHE_INVALID_ARGUMENT);
  CHECK(h.freed == 2);
}

static void a_logger_must_not_block(void) {
  fixture f;
  heard h = new_heard();
  fixture_open(&f);
  h.group = f.group;
  CHECK_STATUS(kamacache_set_logger(KAMACACHE_LOG_INFO, on_log, &h, on_free), KAMACACHE_OK);
  kamacache_node_free(open_node());
  wait_until(&h, has_started);
  CHECK_STATUS(kamacache_set_logger(0, NULL, NULL, NULL), KAMACACHE_OK);
  wait_until(&h, is_freed);
  CHECK_STATUS(h.blocked, KAMACACHE_WOULD_DEADLOCK);
  fixture_close(&f);
}

int main(void) {
  RUN(a_logger_hears_the_node_start);
  RUN(a_level_keeps_out_what_is_less_important);
  RUN(a_wrong_level_is_refused_and_the_data_freed);
  RUN(a_logger_must_not_block);
  return check_report();
}
