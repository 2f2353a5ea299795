/* Operations that end with a callback: on the callback thread, and in queues. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fixture.h"

/* What callbacks have seen; guarded, since they run on another thread. */
typedef struct seen {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int calls;
  kamacache_status status;
  kamacache_value *value;
  pthread_t thread;
  char message[256];
  kamacache_group *group; /* for callbacks that call back */
  kamacache_node *node;
  kamacache_status inside[6];
} seen;

static void seen_init(seen *s) {
  memset(s, 0, sizeof *s);
  pthread_mutex_init(&s->lock, NULL);
  pthread_cond_init(&s->changed, NULL);
}

static void seen_call(seen *s, kamacache_status status, kamacache_value *value, kamacache_error *error) {
  pthread_mutex_lock(&s->lock);
  s->calls++;
  s->status = status;
  kamacache_value_release(s->value);
  s->value = value;
  s->thread = pthread_self();
  if ((status == KAMACACHE_OK) != (error == NULL)) s->calls += 1000;
  snprintf(s->message, sizeof s->message, "%s", kamacache_error_message(error));
  kamacache_error_free(error);
  pthread_cond_broadcast(&s->changed);
  pthread_mutex_unlock(&s->lock);
}

static void on_get(void *user_data, kamacache_status status, kamacache_value *value, kamacache_error *error) {
  seen_call((seen *)user_data, status, value, error);
}

static void on_done(void *user_data, kamacache_status status, kamacache_error *error) {
  seen_call((seen *)user_data, status, NULL, error);
}

/* Waits until there were this many calls; false after 10 s. */
static int seen_wait(seen *s, int calls) {
  struct timespec limit;
  clock_gettime(CLOCK_REALTIME, &limit);
  limit.tv_sec += 10;
  pthread_mutex_lock(&s->lock);
  while (s->calls < calls && pthread_cond_timedwait(&s->changed, &s->lock, &limit) == 0) {
  }
  int reached = s->calls == calls;
  pthread_mutex_unlock(&s->lock);
  return reached;
}

static void seen_end(seen *s) {
  kamacache_value_release(s->value);
  pthread_cond_destroy(&s->changed);
  pthread_mutex_destroy(&s->lock);
}

static kamacache_status get_async(fixture *f, const char *key, seen *s, uint64_t *op) {
  return kamacache_group_get_async(f->group, key, strlen(key), 0, on_get, s, op, NULL);
}

static void gets_end_on_one_thread_of_the_library(void) {
  fixture f;
  seen s;
  fixture_open(&f);
  seen_init(&s);
  uint64_t op = 0;
  CHECK_STATUS(get_async(&f, "a", &s, &op), KAMACACHE_OK);
  CHECK(op != 0 && seen_wait(&s, 1) && s.status == KAMACACHE_OK);
  CHECK(is_text(kamacache_value_retain(s.value), "a"));
  pthread_t first = s.thread;
  CHECK(!pthread_equal(first, pthread_self()));
  CHECK_STATUS(kamacache_cancel(op), KAMACACHE_NOT_FOUND);
  CHECK_STATUS(get_async(&f, "a", &s, NULL), KAMACACHE_OK); /* a hit; no number wanted */
  CHECK(seen_wait(&s, 2) && s.status == KAMACACHE_OK && pthread_equal(first, s.thread));
  CHECK_STATUS(get_async(&f, "missing", &s, NULL), KAMACACHE_OK);
  CHECK(seen_wait(&s, 3) && s.status == KAMACACHE_NOT_FOUND && s.value == NULL);
  CHECK_STATUS(get_async(&f, "boom", &s, NULL), KAMACACHE_OK);
  CHECK(seen_wait(&s, 4) && s.status == KAMACACHE_GETTER_FAILED && strstr(s.message, "disk on fire"));
  CHECK(f.loads == 3);
  fixture_close(&f);
  CHECK(s.calls == 4);
  seen_end(&s);
}

static void a_refused_call_gives_no_callback(void) {
  fixture f;
  seen s;
  fixture_open(&f);
  seen_init(&s);
  uint64_t op = 99;
  CHECK_ERROR(kamacache_group_get_async(f.group, "", 0, 0, on_get, &s, &op, &err), KAMACACHE_INVALID_ARGUMENT, "4096");
  CHECK(op == 0);
  CHECK_STATUS(kamacache_group_get_async(NULL, "a", 1, 0, on_get, &s, &op, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_group_get_async(f.group, NULL, 1, 0, on_get, &s, &op, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_group_get_async(f.group, "a", 1, 0, NULL, &s, &op, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_group_get_queued(f.group, NULL, "a", 1, 0, on_get, &s, &op, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_group_set_async(f.group, NULL, "", 0, "v", 1, 0, 0, on_done, &s, &op, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_group_set_async(f.group, NULL, "a", 1, NULL, 1, 0, 0, on_done, &s, &op, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_group_set_async(f.group, NULL, "a", 1, "v", 1, 0, 0, NULL, &s, &op, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_group_delete_async(f.group, NULL, "", 0, 0, on_done, &s, &op, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_group_delete_async(NULL, NULL, "a", 1, 0, on_done, &s, &op, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_node_close(f.node, 0, NULL), KAMACACHE_OK);
  CHECK_STATUS(get_async(&f, "a", &s, &op), KAMACACHE_CLOSED);
  CHECK_STATUS(kamacache_group_set_async(f.group, NULL, "a", 1, "v", 1, 0, 0, on_done, &s, &op, NULL), KAMACACHE_CLOSED);
  CHECK_STATUS(kamacache_cancel(0), KAMACACHE_NOT_FOUND);
  CHECK_STATUS(kamacache_cancel(UINT64_MAX), KAMACACHE_NOT_FOUND);
  CHECK(kamacache_queue_fd(NULL) == -1 && kamacache_queue_dispatch(NULL, 1) == 0);
  kamacache_queue_free(NULL);
  CHECK_STATUS(kamacache_queue_new(NULL, NULL), KAMACACHE_INVALID_ARGUMENT);
  fixture_close(&f);
  CHECK(s.calls == 0);
  seen_end(&s);
}

static void writes_end_with_a_callback(void) {
  fixture f;
  seen s;
  fixture_open(&f);
  seen_init(&s);
  char data[] = "one";
  CHECK_STATUS(kamacache_group_set_async(f.group, NULL, "k", 1, data, 3, 0, 0, on_done, &s, NULL, NULL), KAMACACHE_OK);
  memset(data, 'x', 3); /* copied before the call returned */
  CHECK(seen_wait(&s, 1) && s.status == KAMACACHE_OK);
  CHECK(gets_text(&f, "k", "one"));
  CHECK_STATUS(kamacache_group_delete_async(f.group, NULL, "k", 1, 0, on_done, &s, NULL, NULL), KAMACACHE_OK);
  CHECK(seen_wait(&s, 2) && s.status == KAMACACHE_OK);
  kamacache_value *value;
  CHECK_STATUS(kamacache_group_peek(f.group, "k", 1, &value), KAMACACHE_NOT_FOUND);
  fixture_close(&f);
  seen_end(&s);
}

/* ---- cancel and close: a getter that answers when it is told to ---- */

typedef struct gate {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int entered, open;
} gate;

static gate the_gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};

static void gated_getter(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  gate *g = (gate *)user_data;
  (void)info;
  pthread_mutex_lock(&g->lock);
  g->entered++;
  pthread_cond_broadcast(&g->changed);
  while (!g->open) pthread_cond_wait(&g->changed, &g->lock);
  pthread_mutex_unlock(&g->lock);
  kamacache_load_complete(load, "gated", 5, 0);
}

static void gate_entered(gate *g) {
  pthread_mutex_lock(&g->lock);
  while (g->entered == 0) pthread_cond_wait(&g->changed, &g->lock);
  pthread_mutex_unlock(&g->lock);
}

static void gate_open(gate *g, int open) {
  pthread_mutex_lock(&g->lock);
  g->open = open;
  g->entered = 0;
  pthread_cond_broadcast(&g->changed);
  pthread_mutex_unlock(&g->lock);
}

/* The fixture, its group replaced by one behind the gate. */
static void gated_open(fixture *f) {
  fixture_open(f);
  kamacache_group_free(f->group);
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 20;
  options.getter = gated_getter;
  options.user_data = &the_gate;
  gate_open(&the_gate, 0);
  CHECK_STATUS(kamacache_group_open(f->node, "gated", &options, &f->group, NULL), KAMACACHE_OK);
}

static void s10_a_cancelled_get_leaves_the_load(void) {
  fixture f;
  seen s;
  gated_open(&f);
  seen_init(&s);
  uint64_t op;
  CHECK_STATUS(get_async(&f, "k", &s, &op), KAMACACHE_OK);
  gate_entered(&the_gate);
  CHECK_STATUS(kamacache_cancel(op), KAMACACHE_OK);
  CHECK(seen_wait(&s, 1) && s.status == KAMACACHE_CANCELLED);
  CHECK_STATUS(kamacache_cancel(op), KAMACACHE_NOT_FOUND);
  gate_open(&the_gate, 1);
  CHECK(gets_text(&f, "k", "gated")); /* joins the load, or hits what it left */
  kamacache_stats stats;
  stats.struct_size = sizeof stats;
  CHECK_STATUS(kamacache_group_stats(f.group, &stats), KAMACACHE_OK);
  CHECK(stats.loads == 1);
  fixture_close(&f);
  CHECK(s.calls == 1);
  seen_end(&s);
}

static void s11_an_async_get_ends_at_its_deadline(void) {
  fixture f;
  seen s;
  gated_open(&f);
  seen_init(&s);
  CHECK_STATUS(kamacache_group_get_async(f.group, "k", 1, 30, on_get, &s, NULL, NULL), KAMACACHE_OK);
  CHECK(seen_wait(&s, 1) && s.status == KAMACACHE_DEADLINE_EXCEEDED);
  gate_open(&the_gate, 1);
  fixture_close(&f);
  seen_end(&s);
}

static void s37_close_ends_async_gets_before_it_returns(void) {
  fixture f;
  seen s;
  gated_open(&f);
  seen_init(&s);
  for (int i = 0; i < 10; i++) CHECK_STATUS(get_async(&f, "k", &s, NULL), KAMACACHE_OK);
  gate_entered(&the_gate);
  CHECK_STATUS(kamacache_node_close(f.node, 10, NULL), KAMACACHE_DEADLINE_EXCEEDED); /* the getter runs */
  CHECK(s.calls == 10 && s.status == KAMACACHE_CLOSED);
  gate_open(&the_gate, 1);
  fixture_close(&f);
  CHECK(s.calls == 10);
  seen_end(&s);
}

/* ---- close while writes wait for an owner that says nothing ---- */

static int readable(kamacache_queue *queue, int wait_ms) {
  struct pollfd fd;
  fd.fd = kamacache_queue_fd(queue);
  fd.events = POLLIN;
  return poll(&fd, 1, wait_ms) == 1;
}

static void *close_with_long_drain(void *node) {
  CHECK_STATUS(kamacache_node_close((kamacache_node *)node, 60000, NULL), KAMACACHE_OK);
  return NULL;
}

typedef struct writer {
  kamacache_group *group;
  const char *key;
  kamacache_status status;
} writer;

static void *write_blocking(void *arg) {
  writer *w = (writer *)arg;
  w->status = kamacache_group_set(w->group, w->key, strlen(w->key), "v", 1, 0, 60000, NULL);
  return NULL;
}

/* A port that takes connections and never answers. */
static int mute_peer(char *address, size_t cap) {
  struct sockaddr_in at;
  socklen_t len = sizeof at;
  memset(&at, 0, sizeof at);
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 16) == 0);
  CHECK(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
  snprintf(address, cap, "127.0.0.1:%d", ntohs(at.sin_port));
  return fd;
}

/* A key that the member of this address owns. */
static void key_owned_by(kamacache_node *node, const char *address, char *key, size_t cap) {
  char owner[64] = "";
  size_t len;
  for (int i = 0; strcmp(owner, address) != 0; i++) {
    snprintf(key, cap, "k%d", i);
    CHECK_STATUS(kamacache_node_owner(node, key, strlen(key), owner, sizeof owner, &len), KAMACACHE_OK);
  }
}

static void s37_close_ends_writes_at_once(void) {
  seen s;
  kamacache_node *node = NULL;
  kamacache_group *group = NULL;
  kamacache_queue *queue = NULL;
  char mute[64], own[64], key[16];
  size_t len;
  int fd = mute_peer(mute, sizeof mute);
  seen_init(&s);
  kamacache_node_options node_options;
  kamacache_node_options_init(&node_options);
  node_options.listen = "127.0.0.1:0";
  node_options.connect_timeout_ms = 60000;
  node_options.suspect_after_ms = 60000;
  CHECK_STATUS(kamacache_node_open(&node_options, &node, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_node_address(node, own, sizeof own, &len), KAMACACHE_OK);
  const char *peers[] = {own, mute};
  CHECK_STATUS(kamacache_node_set_peers(node, peers, 2, NULL), KAMACACHE_OK);
  key_owned_by(node, mute, key, sizeof key);
  gate_open(&the_gate, 0);
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 20;
  options.getter = gated_getter; /* runs when the node is closed, and so holds the close up */
  options.user_data = &the_gate;
  CHECK_STATUS(kamacache_group_open(node, "g", &options, &group, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_queue_new(&queue, NULL), KAMACACHE_OK);

  char here[16];
  key_owned_by(node, own, here, sizeof here);
  seen load;
  seen_init(&load);
  CHECK_STATUS(kamacache_group_get_async(group, here, strlen(here), 60000, on_get, &load, NULL, NULL), KAMACACHE_OK);
  gate_entered(&the_gate);
  CHECK_STATUS(kamacache_group_set_async(group, queue, key, strlen(key), "v", 1, 0, 60000, on_done, &s, NULL, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_delete_async(group, NULL, key, strlen(key), 60000, on_done, &s, NULL, NULL), KAMACACHE_OK);
  writer w = {group, key, KAMACACHE_OK};
  pthread_t writing, closing;
  CHECK(pthread_create(&writing, NULL, write_blocking, &w) == 0);
  kamacache_stats stats; /* the blocking write has begun */
  stats.struct_size = sizeof stats;
  do CHECK_STATUS(kamacache_group_stats(group, &stats), KAMACACHE_OK);
  while (stats.sets < 2 && !check_broken);

  struct timespec before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  CHECK(pthread_create(&closing, NULL, close_with_long_drain, node) == 0);
  pthread_join(writing, NULL); /* while the close still waits for the getter */
  while (readable(queue, 10000) && kamacache_queue_dispatch(queue, 10) == 0) {
  }
  CHECK(seen_wait(&s, 2));
  clock_gettime(CLOCK_MONOTONIC, &after);
  long limit_ms = getenv("CHECK_SLOWLY") ? 20000 : 1000; /* beside 60 s for everything else */
  CHECK((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 < limit_ms);
  CHECK_STATUS(w.status, KAMACACHE_CLOSED);
  CHECK_STATUS(s.status, KAMACACHE_CLOSED);
  gate_open(&the_gate, 1);
  pthread_join(closing, NULL);
  CHECK(load.calls == 1 && load.status == KAMACACHE_CLOSED);
  kamacache_queue_free(queue);
  kamacache_group_free(group);
  kamacache_node_free(node);
  close(fd);
  seen_end(&load);
  seen_end(&s);
}

/* ---- inside callbacks ---- */

static void on_get_calling_back(void *user_data, kamacache_status status, kamacache_value *value, kamacache_error *error) {
  seen *s = (seen *)user_data;
  kamacache_value *other;
  s->inside[0] = kamacache_group_get(s->group, "x", 1, 0, &other, NULL);
  s->inside[1] = kamacache_group_set(s->group, "x", 1, "v", 1, 0, 0, NULL);
  s->inside[2] = kamacache_node_close(s->node, 0, NULL);
  s->inside[4] = kamacache_group_clear(s->group, 0, NULL);
  s->inside[5] = kamacache_group_delete(s->group, "x", 1, 0, NULL);
  s->inside[3] = kamacache_group_get_async(s->group, "y", 1, 0, on_get, s, NULL, NULL);
  seen_call(s, status, value, error);
}

static void callbacks_may_not_block_but_may_start_more(void) {
  fixture f;
  seen s;
  fixture_open(&f);
  seen_init(&s);
  s.group = f.group;
  s.node = f.node;
  CHECK_STATUS(kamacache_group_get_async(f.group, "a", 1, 0, on_get_calling_back, &s, NULL, NULL), KAMACACHE_OK);
  CHECK(seen_wait(&s, 2));
  CHECK_STATUS(s.inside[0], KAMACACHE_WOULD_DEADLOCK);
  CHECK_STATUS(s.inside[1], KAMACACHE_WOULD_DEADLOCK);
  CHECK_STATUS(s.inside[2], KAMACACHE_WOULD_DEADLOCK);
  CHECK_STATUS(s.inside[3], KAMACACHE_OK);
  CHECK_STATUS(s.inside[4], KAMACACHE_WOULD_DEADLOCK);
  CHECK_STATUS(s.inside[5], KAMACACHE_WOULD_DEADLOCK);
  fixture_close(&f);
  seen_end(&s);
}

static void on_get_freeing(void *user_data, kamacache_status status, kamacache_value *value, kamacache_error *error) {
  seen *s = (seen *)user_data;
  kamacache_group_free(s->group);
  kamacache_node_free(s->node);
  seen_call(s, status, value, error);
}

static void count_free(void *user_data) {
  seen *s = (seen *)user_data;
  pthread_mutex_lock(&s->lock);
  s->calls += 10;
  pthread_cond_broadcast(&s->changed);
  pthread_mutex_unlock(&s->lock);
}

static void echo_getter(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  (void)user_data;
  kamacache_load_complete(load, info->key, info->key_len, 0);
}

static void freeing_the_last_references_in_a_completion_is_safe(void) {
  seen s;
  seen_init(&s);
  kamacache_node_options node;
  kamacache_node_options_init(&node);
  CHECK_STATUS(kamacache_node_open(&node, &s.node, NULL), KAMACACHE_OK);
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 20;
  options.getter = echo_getter;
  options.user_data = &s;
  options.free_user_data = count_free;
  CHECK_STATUS(kamacache_group_open(s.node, "g", &options, &s.group, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_get_async(s.group, "a", 1, 0, on_get_freeing, &s, NULL, NULL), KAMACACHE_OK);
  CHECK(seen_wait(&s, 11)); /* the callback, and the free */
  seen_end(&s);
}

/* ---- queues ---- */

static void a_queue_delivers_on_the_thread_that_dispatches(void) {
  fixture f;
  seen s;
  fixture_open(&f);
  seen_init(&s);
  kamacache_queue *queue = NULL;
  CHECK_STATUS(kamacache_queue_new(&queue, NULL), KAMACACHE_OK);
  CHECK(!readable(queue, 0) && kamacache_queue_dispatch(queue, 10) == 0);
  for (int i = 0; i < 3; i++) {
    CHECK_STATUS(kamacache_group_get_queued(f.group, queue, "a", 1, 0, on_get, &s, NULL, NULL), KAMACACHE_OK);
  }
  CHECK_STATUS(kamacache_group_set_async(f.group, queue, "b", 1, "v", 1, 0, 0, on_done, &s, NULL, NULL), KAMACACHE_OK);
  CHECK(s.calls == 0);
  CHECK(readable(queue, 10000));
  CHECK(kamacache_queue_dispatch(queue, 1) == 1 && s.calls == 1 && pthread_equal(s.thread, pthread_self()));
  while (s.calls < 4 && readable(queue, 10000)) kamacache_queue_dispatch(queue, SIZE_MAX);
  CHECK(s.calls == 4 && s.status == KAMACACHE_OK && !readable(queue, 0));
  kamacache_queue_free(queue);
  fixture_close(&f);
  seen_end(&s);
}

static void the_end_of_a_queue_cancels_what_it_has_not_delivered(void) {
  fixture f;
  seen s;
  gated_open(&f);
  seen_init(&s);
  kamacache_queue *queue = NULL;
  uint64_t op = 0;
  CHECK_STATUS(kamacache_queue_new(&queue, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_set(f.group, "hit", 3, "v", 1, 0, 0, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_get_queued(f.group, queue, "hit", 3, 0, on_get, &s, NULL, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_get_queued(f.group, queue, "slow", 4, 0, on_get, &s, &op, NULL), KAMACACHE_OK);
  CHECK(s.calls == 0);
  kamacache_queue_free(queue);
  CHECK(s.calls == 2 && s.status == KAMACACHE_CANCELLED && pthread_equal(s.thread, pthread_self()));
  CHECK_STATUS(kamacache_cancel(op), KAMACACHE_NOT_FOUND);
  gate_open(&the_gate, 1);
  fixture_close(&f);
  CHECK(s.calls == 2);
  seen_end(&s);
}

static kamacache_queue *freed_inside;

static void on_get_freeing_queue(void *user_data, kamacache_status status, kamacache_value *value, kamacache_error *error) {
  kamacache_queue *queue = freed_inside;
  freed_inside = NULL;
  kamacache_queue_free(queue);
  seen_call((seen *)user_data, status, value, error);
}

static void a_queue_may_be_freed_by_a_callback_that_it_runs(void) {
  fixture f;
  seen s;
  fixture_open(&f);
  seen_init(&s);
  CHECK_STATUS(kamacache_queue_new(&freed_inside, NULL), KAMACACHE_OK);
  kamacache_queue *queue = freed_inside;
  CHECK_STATUS(kamacache_group_set(f.group, "a", 1, "v", 1, 0, 0, NULL), KAMACACHE_OK);
  for (int i = 0; i < 3; i++) {
    CHECK_STATUS(kamacache_group_get_queued(f.group, queue, "a", 1, 0, on_get_freeing_queue, &s, NULL, NULL), KAMACACHE_OK);
  }
  kamacache_queue_dispatch(queue, SIZE_MAX);
  CHECK(s.calls == 3);
  fixture_close(&f);
  seen_end(&s);
}

int main(void) {
  RUN(gets_end_on_one_thread_of_the_library);
  RUN(a_refused_call_gives_no_callback);
  RUN(writes_end_with_a_callback);
  RUN(s10_a_cancelled_get_leaves_the_load);
  RUN(s11_an_async_get_ends_at_its_deadline);
  RUN(s37_close_ends_async_gets_before_it_returns);
  RUN(s37_close_ends_writes_at_once);
  RUN(callbacks_may_not_block_but_may_start_more);
  RUN(freeing_the_last_references_in_a_completion_is_safe);
  RUN(a_queue_delivers_on_the_thread_that_dispatches);
  RUN(the_end_of_a_queue_cancels_what_it_has_not_delivered);
  RUN(a_queue_may_be_freed_by_a_callback_that_it_runs);
  return check_report();
}
