/* What the header promises beside the calls themselves: alignment, structs that
 * are written, timeouts by name, results of calls that fail, queues that wait and
 * that deliver loads, calls of many keys that end with a callback. */
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "fixture.h"

/* ---- values ---- */

static int is_aligned(const kamacache_value *value) { return (uintptr_t)kamacache_value_data(value) % 16 == 0; }

static void values_are_aligned_on_a_miss_and_on_a_hit(void) {
  fixture f;
  fixture_open(&f);
  char key[64], data[5000];
  memset(data, 'x', sizeof data);
  for (size_t n = 1; n <= 40; n++) {
    memset(key, 'k', n);
    for (size_t len = 0; len < sizeof data; len = len * 3 + 1) {
      kamacache_value *value = NULL;
      CHECK_STATUS(kamacache_group_set(f.group, key, n, data, len, 0, 0, NULL), KAMACACHE_OK);
      CHECK_STATUS(kamacache_group_get(f.group, key, n, 0, &value, NULL), KAMACACHE_OK);
      CHECK(is_aligned(value) && kamacache_value_len(value) == len && memcmp(kamacache_value_data(value), data, len) == 0);
      kamacache_value_release(value);
      CHECK_STATUS(kamacache_group_peek(f.group, key, n, &value), KAMACACHE_OK);
      CHECK(is_aligned(value));
      kamacache_value_release(value);
    }
    CHECK_STATUS(kamacache_group_delete(f.group, key, n, 0, NULL), KAMACACHE_OK);
    kamacache_value *loaded = NULL;
    CHECK_STATUS(kamacache_group_get(f.group, key, n, 0, &loaded, NULL), KAMACACHE_OK);
    CHECK(is_aligned(loaded) && kamacache_value_len(loaded) == n);
    kamacache_value_release(loaded);
  }
  fixture_close(&f);
}

/* A key is key_len bytes, NULs among them. */
static void a_key_may_hold_a_nul(void) {
  fixture f;
  fixture_open(&f);
  kamacache_value *value = NULL;
  CHECK_STATUS(kamacache_group_get(f.group, "Tom\0Jack", 8, 0, &value, NULL), KAMACACHE_OK);
  CHECK(kamacache_value_len(value) == 8 && memcmp(kamacache_value_data(value), "Tom\0Jack", 8) == 0);
  kamacache_value_release(value);
  CHECK(gets_text(&f, "Tom", "Tom"));
  fixture_close(&f);
}

/* ---- structs ---- */

static void a_newer_callers_struct_is_zeroed_where_the_library_knows_nothing(void) {
  fixture f;
  fixture_open(&f);
  CHECK(gets_text(&f, "Tom", "Tom"));
  struct {
    kamacache_stats known;
    uint64_t newer[4];
  } stats;
  memset(&stats, 0xaa, sizeof stats);
  stats.known.struct_size = sizeof stats;
  CHECK_STATUS(kamacache_group_stats(f.group, &stats.known), KAMACACHE_OK);
  CHECK(stats.known.struct_size == sizeof stats.known && stats.known.gets == 1);
  for (int i = 0; i < 4; i++) CHECK(stats.newer[i] == 0);
  struct {
    uint32_t struct_size, reserved;
    uint64_t gets;
    uint64_t beyond;
  } older = {16, 1, 0, 77};
  CHECK_STATUS(kamacache_group_stats(f.group, (kamacache_stats *)&older), KAMACACHE_OK);
  CHECK(older.struct_size == 16 && older.gets == 1 && older.beyond == 77);
  kamacache_latency latency;
  memset(&latency, 0xaa, sizeof latency);
  latency.struct_size = sizeof latency;
  CHECK_STATUS(kamacache_group_latency(f.group, 1, &latency), KAMACACHE_OK);
  CHECK(latency.struct_size == sizeof latency && latency.count == 1);
  latency.struct_size = 100000;
  CHECK_STATUS(kamacache_group_latency(f.group, 1, &latency), KAMACACHE_INVALID_ARGUMENT);
  fixture_close(&f);
}

static void a_forgotten_init_frees_the_user_data(void) {
  fixture f, other;
  fixture_open(&f);
  memset(&other, 0, sizeof other);
  kamacache_group_options options;
  kamacache_group *group = NULL;
  memset(&options, 0, sizeof options); /* no init */
  options.max_bytes = 1 << 20;
  options.user_data = &other;
  options.free_user_data = fixture_freed;
  CHECK_ERROR(kamacache_group_open(f.node, "h", &options, &group, &err), KAMACACHE_INVALID_ARGUMENT, "_init");
  CHECK(group == NULL && other.frees == 1);
  fixture_close(&f);
}

/* ---- errors, names, versions ---- */

static void the_detail_of_calls_without_err_can_be_had(void) {
  fixture f;
  fixture_open(&f);
  char buf[8];
  size_t len;
  CHECK_STATUS(kamacache_node_owner(f.node, "", 0, buf, sizeof buf, &len), KAMACACHE_INVALID_ARGUMENT);
  CHECK(kamacache_error_code(kamacache_last_error()) == KAMACACHE_INVALID_ARGUMENT);
  CHECK(strstr(kamacache_error_message(kamacache_last_error()), "4096") != NULL);
  CHECK_STATUS(kamacache_node_address(f.node, NULL, 5, &len), KAMACACHE_INVALID_ARGUMENT);
  CHECK(strstr(kamacache_error_message(kamacache_last_error()), "buf is NULL") != NULL);
  fixture_close(&f);
}

static void a_handle_knows_its_group(void) {
  fixture f;
  fixture_open(&f);
  kamacache_group *again = NULL;
  CHECK_STATUS(kamacache_node_group(f.node, "g", &again, NULL), KAMACACHE_OK);
  CHECK(strcmp(kamacache_group_name(again), "g") == 0 && kamacache_group_user_data(again) == &f);
  CHECK(kamacache_group_name(NULL) == NULL && kamacache_group_user_data(NULL) == NULL);
  CHECK(gets_text(&f, "Tom", "Tom"));
  CHECK_STATUS(kamacache_node_close(f.node, 5000, NULL), KAMACACHE_OK);
  CHECK(strcmp(kamacache_group_name(again), "g") == 0 && kamacache_group_user_data(again) == NULL);
  kamacache_stats last;
  last.struct_size = sizeof last;
  CHECK_STATUS(kamacache_group_stats(again, &last), KAMACACHE_OK); /* the last counts */
  CHECK(last.gets == 1 && last.loaded == 1);
  kamacache_group_free(again);
  fixture_close(&f);
}

static void the_version_is_a_number(void) {
  CHECK(kamacache_version_number() == KAMACACHE_VERSION_NUMBER);
#if KAMACACHE_VERSION_NUMBER < 1000
#error "the preprocessor can compare it"
#endif
}

/* ---- timeouts ---- */

static void silent_getter(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  (void)user_data, (void)info, (void)load; /* answers never */
}

static void no_wait_does_not_wait(void) {
  kamacache_node_options node_options;
  kamacache_group_options options;
  kamacache_node *node = NULL;
  kamacache_group *group = NULL;
  kamacache_value *value = NULL;
  kamacache_node_options_init(&node_options);
  kamacache_group_options_init(&options);
  node_options.default_timeout_ms = KAMACACHE_FOREVER; /* so that a wait is a hang */
  options.max_bytes = 1 << 20;
  options.getter = silent_getter;
  CHECK_STATUS(kamacache_node_open(&node_options, &node, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_open(node, "g", &options, &group, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_get(group, "k", 1, KAMACACHE_NO_WAIT, &value, NULL), KAMACACHE_DEADLINE_EXCEEDED);
  CHECK_STATUS(kamacache_group_set(group, "h", 1, "v", 1, 0, KAMACACHE_DEFAULT_TIMEOUT, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_get(group, "h", 1, KAMACACHE_NO_WAIT, &value, NULL), KAMACACHE_OK);
  CHECK(is_text(value, "v"));
  kamacache_slice keys[] = {{"h", 1}, {"k", 1}, {"l", 1}};
  kamacache_result out[3];
  CHECK_STATUS(kamacache_group_get_many(group, keys, 3, KAMACACHE_NO_WAIT, out, NULL), KAMACACHE_OK);
  CHECK(out[0].status == KAMACACHE_OK && out[1].status == KAMACACHE_DEADLINE_EXCEEDED && out[2].status == KAMACACHE_DEADLINE_EXCEEDED);
  kamacache_results_clear(out, 3);
  kamacache_node_close(node, 0, NULL);
  kamacache_group_free(group);
  kamacache_node_free(node);
}

/* ---- results of calls that fail ---- */

static void a_failed_call_of_many_marks_every_key(void) {
  fixture f;
  fixture_open(&f);
  kamacache_slice keys[] = {{"a", 1}, {"b", 1}};
  kamacache_result out[2];
  memset(out, 0xaa, sizeof out);
  CHECK_STATUS(kamacache_group_get_many(f.group, NULL, 2, 0, out, NULL), KAMACACHE_INVALID_ARGUMENT);
  for (int i = 0; i < 2; i++) CHECK(out[i].status == KAMACACHE_INVALID_ARGUMENT && out[i].value == NULL && out[i].error == NULL);
  memset(out, 0xaa, sizeof out);
  CHECK_STATUS(kamacache_group_set_many(f.group, keys, NULL, 2, 0, 0, out, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK(out[0].status == KAMACACHE_INVALID_ARGUMENT && out[1].status == KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_node_close(f.node, 5000, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_get_many(f.group, keys, 2, 0, out, NULL), KAMACACHE_CLOSED);
  CHECK(out[0].status == KAMACACHE_CLOSED && out[1].status == KAMACACHE_CLOSED && out[1].error == NULL);
  CHECK_STATUS(kamacache_group_set_many(f.group, keys, keys, 2, 0, 0, out, NULL), KAMACACHE_CLOSED);
  CHECK(out[0].status == KAMACACHE_CLOSED && out[1].status == KAMACACHE_CLOSED);
  kamacache_results_clear(out, 2);
  CHECK_STATUS(kamacache_group_get_many(f.group, keys, (size_t)-1, 0, out, NULL), KAMACACHE_INVALID_ARGUMENT);
  fixture_close(&f);
}

/* ---- queues ---- */

typedef struct counted {
  int calls;
  kamacache_status status;
  pthread_t thread;
} counted;

static void count_get(void *user_data, kamacache_status status, kamacache_value *value, kamacache_error *error) {
  counted *c = (counted *)user_data;
  c->calls++;
  c->status = status;
  c->thread = pthread_self();
  kamacache_value_release(value);
  kamacache_error_free(error);
}

static void count_done(void *user_data, kamacache_status status, kamacache_error *error) { count_get(user_data, status, NULL, error); }

static void an_edge_triggered_loop_hears_of_what_a_dispatch_leaves(void) {
  fixture f;
  counted c = {0, -1, 0};
  fixture_open(&f);
  kamacache_queue *queue = NULL;
  CHECK_STATUS(kamacache_queue_new(&queue, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_set(f.group, "k", 1, "v", 1, 0, 0, NULL), KAMACACHE_OK);
  for (int i = 0; i < 10; i++) CHECK_STATUS(kamacache_group_get_queued(f.group, queue, "k", 1, 0, count_get, &c, NULL, NULL), KAMACACHE_OK);
  CHECK(kamacache_queue_len(queue) == 10);
  struct epoll_event event = {EPOLLIN | EPOLLET, {0}};
  int loop = epoll_create1(EPOLL_CLOEXEC);
  CHECK(epoll_ctl(loop, EPOLL_CTL_ADD, kamacache_queue_fd(queue), &event) == 0);
  int turns = 0;
  while (c.calls < 10 && epoll_wait(loop, &event, 1, 5000) == 1) {
    kamacache_queue_dispatch(queue, 3); /* a share of the loop's time: once for each edge */
    turns++;
  }
  CHECK(c.calls == 10 && turns == 4 && kamacache_queue_len(queue) == 0);
  close(loop);
  fixture_close(&f);
  kamacache_queue_free(queue);
}

static void a_thread_may_wait_for_a_queue(void) {
  fixture f;
  counted c = {0, -1, 0};
  size_t ran = 77;
  fixture_open(&f);
  kamacache_queue *queue = NULL;
  CHECK_STATUS(kamacache_queue_new(&queue, NULL), KAMACACHE_OK);
  CHECK_ERROR(kamacache_queue_wait(queue, 10, KAMACACHE_NO_WAIT, &ran, &err), KAMACACHE_DEADLINE_EXCEEDED, "ready");
  CHECK(ran == 0);
  CHECK_STATUS(kamacache_queue_wait(queue, 10, 1, NULL, NULL), KAMACACHE_DEADLINE_EXCEEDED);
  CHECK_STATUS(kamacache_group_get_queued(f.group, queue, "Tom", 3, 0, count_get, &c, NULL, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_queue_wait(queue, 10, KAMACACHE_FOREVER, &ran, NULL), KAMACACHE_OK);
  CHECK(ran == 1 && c.calls == 1 && c.status == KAMACACHE_OK);
  CHECK_STATUS(kamacache_queue_wait(NULL, 10, 0, &ran, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK(kamacache_queue_len(NULL) == 0);
  fixture_close(&f);
  kamacache_queue_free(queue);
}

static void after_a_close_a_queue_delivers_what_it_has(void) {
  fixture f;
  counted c = {0, -1, 0};
  fixture_open(&f);
  kamacache_queue *queue = NULL;
  CHECK_STATUS(kamacache_queue_new(&queue, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_get_queued(f.group, queue, "Tom", 3, 0, count_get, &c, NULL, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_node_close(f.node, 5000, NULL), KAMACACHE_OK);
  CHECK(c.calls == 0); /* on no thread but the one that dispatches */
  CHECK_STATUS(kamacache_queue_wait(queue, 10, 10000, NULL, NULL), KAMACACHE_OK);
  CHECK(c.calls == 1 && (c.status == KAMACACHE_OK || c.status == KAMACACHE_CLOSED) && pthread_equal(c.thread, pthread_self()));
  fixture_close(&f);
  kamacache_queue_free(queue);
}

/* ---- loads in a queue ---- */

typedef struct pulled {
  pthread_t puller;
  kamacache_group *group;
  int loads, elsewhere;
  kamacache_status blocking;
} pulled;

static void pulled_getter(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  pulled *p = (pulled *)user_data;
  kamacache_value *value = NULL;
  p->loads++;
  p->elsewhere += !pthread_equal(p->puller, pthread_self());
  p->blocking = kamacache_group_get(p->group, "another", 7, 0, &value, NULL);
  kamacache_load_complete(load, info->key, info->key_len, 0);
}

static void *get_ten(void *group) {
  size_t good = 0;
  for (int i = 0; i < 10; i++) {
    char key[8];
    kamacache_value *value = NULL;
    snprintf(key, sizeof key, "k%d", i);
    good += kamacache_group_get((kamacache_group *)group, key, strlen(key), 20000, &value, NULL) == KAMACACHE_OK && is_text(value, key);
  }
  return (void *)good;
}

static void open_pulled(pulled *p, kamacache_queue *queue, kamacache_node **node, kamacache_batch_getter batch) {
  kamacache_node_options node_options;
  kamacache_group_options options;
  kamacache_node_options_init(&node_options);
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 20;
  options.getter = batch == NULL ? pulled_getter : NULL;
  options.batch_getter = batch;
  options.user_data = p;
  options.getter_queue = queue;
  memset(p, 0, sizeof *p);
  p->puller = pthread_self();
  CHECK_STATUS(kamacache_node_open(&node_options, node, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_open(*node, "g", &options, &p->group, NULL), KAMACACHE_OK);
}

static void loads_are_pulled_by_the_thread_that_dispatches(void) {
  pulled p;
  counted c = {0, -1, 0};
  kamacache_queue *queue = NULL;
  kamacache_node *node = NULL;
  pthread_t getter;
  void *good = NULL;
  CHECK_STATUS(kamacache_queue_new(&queue, NULL), KAMACACHE_OK);
  open_pulled(&p, queue, &node, NULL);
  pthread_create(&getter, NULL, get_ten, p.group);
  while (p.loads < 10) CHECK_STATUS(kamacache_queue_wait(queue, 1, 20000, NULL, NULL), KAMACACHE_OK);
  pthread_join(getter, &good);
  CHECK((size_t)good == 10 && p.elsewhere == 0 && p.blocking == KAMACACHE_WOULD_DEADLOCK);
  /* Loads and completions in one queue. */
  CHECK_STATUS(kamacache_group_get_queued(p.group, queue, "async", 5, 20000, count_get, &c, NULL, NULL), KAMACACHE_OK);
  while (c.calls == 0 && kamacache_queue_wait(queue, 1, 20000, NULL, NULL) == KAMACACHE_OK) {
  }
  CHECK(c.calls == 1 && c.status == KAMACACHE_OK && p.loads == 11 && p.elsewhere == 0);
  CHECK_STATUS(kamacache_node_close(node, 5000, NULL), KAMACACHE_OK);
  kamacache_group_free(p.group);
  kamacache_node_free(node);
  kamacache_queue_free(queue);
}

static void pulled_batch(void *user_data, const kamacache_load_info *const *infos, kamacache_load *const *loads, size_t n) {
  pulled *p = (pulled *)user_data;
  p->loads += 100 + (int)n;
  p->elsewhere += !pthread_equal(p->puller, pthread_self());
  for (size_t i = 0; i < n; i++) kamacache_load_complete(loads[i], infos[i]->key, infos[i]->key_len, 0);
}

static void count_many(void *user_data, kamacache_status status, kamacache_result *results, size_t n, kamacache_error *error) {
  counted *c = (counted *)user_data;
  c->calls++;
  c->status = status;
  for (size_t i = 0; i < n; i++) c->calls += results[i].status == KAMACACHE_OK ? 10 : 1000;
  if (n > 0) { /* one is kept by the callee */
    kamacache_value_release(results[0].value);
    results[0].value = NULL;
  }
  kamacache_error_free(error);
}

static void a_batch_is_pulled_whole(void) {
  pulled p;
  counted c = {0, -1, 0};
  kamacache_queue *queue = NULL;
  kamacache_node *node = NULL;
  kamacache_slice keys[] = {{"a", 1}, {"b", 1}, {"c", 1}};
  CHECK_STATUS(kamacache_queue_new(&queue, NULL), KAMACACHE_OK);
  open_pulled(&p, queue, &node, pulled_batch);
  CHECK_STATUS(kamacache_group_get_many_async(p.group, queue, keys, 3, 20000, count_many, &c, NULL, NULL), KAMACACHE_OK);
  while (c.calls == 0 && kamacache_queue_wait(queue, 1, 20000, NULL, NULL) == KAMACACHE_OK) {
  }
  CHECK(c.calls == 31 && c.status == KAMACACHE_OK && p.loads == 103 && p.elsewhere == 0);
  CHECK_STATUS(kamacache_node_close(node, 5000, NULL), KAMACACHE_OK);
  kamacache_group_free(p.group);
  kamacache_node_free(node);
  kamacache_queue_free(queue);
}

static void loads_fail_when_their_queue_is_freed(void) {
  pulled p;
  counted c = {0, -1, 0};
  kamacache_queue *queue = NULL, *other = NULL;
  kamacache_node *node = NULL;
  kamacache_value *value = NULL;
  CHECK_STATUS(kamacache_queue_new(&queue, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_queue_new(&other, NULL), KAMACACHE_OK);
  open_pulled(&p, queue, &node, NULL);
  CHECK_STATUS(kamacache_group_get_queued(p.group, other, "k", 1, 20000, count_get, &c, NULL, NULL), KAMACACHE_OK);
  kamacache_queue_free(queue);
  CHECK_STATUS(kamacache_queue_wait(other, 1, 20000, NULL, NULL), KAMACACHE_OK);
  CHECK(c.calls == 1 && c.status == KAMACACHE_CLOSED && p.loads == 0);
  CHECK_STATUS(kamacache_group_get(p.group, "l", 1, 20000, &value, NULL), KAMACACHE_CLOSED);
  CHECK_STATUS(kamacache_node_close(node, 5000, NULL), KAMACACHE_OK);
  kamacache_group_free(p.group);
  kamacache_node_free(node);
  kamacache_queue_free(other);
}

/* ---- many, all and close with a callback ---- */

static void wait_for(counted *c, kamacache_queue *queue) {
  c->calls = 0;
  while (c->calls == 0 && kamacache_queue_wait(queue, 1, 20000, NULL, NULL) == KAMACACHE_OK) {
  }
}

static void many_keys_all_keys_and_the_close_end_with_a_callback(void) {
  fixture f;
  counted c = {0, -1, 0};
  kamacache_queue *queue = NULL;
  fixture_open(&f);
  CHECK_STATUS(kamacache_queue_new(&queue, NULL), KAMACACHE_OK);
  kamacache_slice keys[] = {{"a", 1}, {"\xff", 1}, {"missing", 7}}, values[] = {{"1", 1}, {"2", 1}, {"3", 1}};
  uint64_t op = 0;
  CHECK_STATUS(kamacache_group_set_many_async(f.group, queue, keys, values, 2, 0, 0, count_many, &c, &op, NULL), KAMACACHE_OK);
  CHECK(op != 0);
  wait_for(&c, queue);
  CHECK(c.status == KAMACACHE_OK && c.calls == 1011); /* one stored, one no key */
  CHECK_STATUS(kamacache_group_get_many_async(f.group, queue, keys, 3, 0, count_many, &c, NULL, NULL), KAMACACHE_OK);
  wait_for(&c, queue);
  CHECK(c.status == KAMACACHE_OK && c.calls == 2011);
  CHECK_STATUS(kamacache_group_get_many_async(f.group, queue, NULL, 0, 0, count_many, &c, NULL, NULL), KAMACACHE_OK);
  wait_for(&c, queue);
  CHECK(c.status == KAMACACHE_OK && c.calls == 1);
  CHECK_STATUS(kamacache_group_clear_async(f.group, queue, 0, count_done, &c, NULL, NULL), KAMACACHE_OK);
  wait_for(&c, queue);
  kamacache_value *value = NULL;
  CHECK(c.status == KAMACACHE_OK && kamacache_group_peek(f.group, "a", 1, &value) == KAMACACHE_NOT_FOUND);
  CHECK_STATUS(kamacache_group_get_many_async(f.group, queue, keys, 3, 0, NULL, &c, NULL, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_group_get_many_async(f.group, queue, NULL, 3, 0, count_many, &c, NULL, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_group_get_many_async(NULL, queue, keys, 3, 0, count_many, &c, NULL, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_group_set_many_async(NULL, queue, keys, keys, 3, 0, 0, count_many, &c, NULL, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_group_clear_async(NULL, queue, 0, count_done, &c, NULL, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_node_close_async(NULL, queue, 0, count_done, &c, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_node_close_async(f.node, queue, 0, NULL, &c, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_node_close_async(f.node, queue, 5000, count_done, &c, NULL), KAMACACHE_OK);
  wait_for(&c, queue);
  CHECK(c.calls == 1 && c.status == KAMACACHE_OK && f.frees == 1);
  CHECK_STATUS(kamacache_group_clear_async(f.group, queue, 0, count_done, &c, NULL, NULL), KAMACACHE_CLOSED);
  c.calls = 0; /* once more, on a thread of the library */
  CHECK_STATUS(kamacache_node_close_async(f.node, NULL, 5000, count_done, &c, NULL), KAMACACHE_OK);
  while (__atomic_load_n(&c.calls, __ATOMIC_SEQ_CST) == 0) sched_yield();
  fixture_close(&f);
  kamacache_queue_free(queue);
}

int main(void) {
  RUN(values_are_aligned_on_a_miss_and_on_a_hit);
  RUN(a_key_may_hold_a_nul);
  RUN(a_newer_callers_struct_is_zeroed_where_the_library_knows_nothing);
  RUN(a_forgotten_init_frees_the_user_data);
  RUN(the_detail_of_calls_without_err_can_be_had);
  RUN(a_handle_knows_its_group);
  RUN(the_version_is_a_number);
  RUN(no_wait_does_not_wait);
  RUN(a_failed_call_of_many_marks_every_key);
  RUN(an_edge_triggered_loop_hears_of_what_a_dispatch_leaves);
  RUN(a_thread_may_wait_for_a_queue);
  RUN(after_a_close_a_queue_delivers_what_it_has);
  RUN(loads_are_pulled_by_the_thread_that_dispatches);
  RUN(a_batch_is_pulled_whole);
  RUN(loads_fail_when_their_queue_is_freed);
  RUN(many_keys_all_keys_and_the_close_end_with_a_callback);
  return check_report();
}
