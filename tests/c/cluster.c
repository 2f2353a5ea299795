/* Two nodes in one process, and many threads: who runs the getter, and where. */
#include "fixture.h"

enum { THREADS = 64 };

typedef struct member {
  kamacache_node *node;
  kamacache_group *group;
  char address[64];
  pthread_mutex_t lock;
  int loads;
  pthread_t loaded_on; /* the thread of the last load */
  int hold;            /* the getter waits until this is 0 again */
  pthread_cond_t released;
} member;

static void member_getter(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  member *m = (member *)user_data;
  pthread_mutex_lock(&m->lock);
  m->loads++;
  m->loaded_on = pthread_self();
  while (m->hold) pthread_cond_wait(&m->released, &m->lock);
  pthread_mutex_unlock(&m->lock);
  if (starts_with(info->key, "missing")) kamacache_load_not_found(load);
  else if (starts_with(info->key, "boom")) kamacache_load_fail(load, -42, "disk on fire");
  else kamacache_load_complete(load, m->address, strlen(m->address), 0);
}

/* limit: at most so many getters at a time; 0: any number. */
static void member_open_with(member *m, uint32_t limit) {
  size_t len;
  memset(m, 0, sizeof *m);
  pthread_mutex_init(&m->lock, NULL);
  pthread_cond_init(&m->released, NULL);
  kamacache_node_options node;
  kamacache_node_options_init(&node);
  node.listen = "127.0.0.1:0";
  node.default_timeout_ms = 60000; /* a slow machine under valgrind is no failure */
  node.connect_timeout_ms = 30000;
  node.suspect_after_ms = 30000;
  CHECK_STATUS(kamacache_node_open(&node, &m->node, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_node_address(m->node, m->address, sizeof m->address, &len), KAMACACHE_OK);
  kamacache_group_options group;
  kamacache_group_options_init(&group);
  group.max_bytes = 1 << 20;
  group.max_concurrent_loads = limit;
  group.getter = member_getter;
  group.user_data = m;
  CHECK_STATUS(kamacache_group_open(m->node, "g", &group, &m->group, NULL), KAMACACHE_OK);
}

static void member_open(member *m) { member_open_with(m, 0); }

static void member_close(member *m) {
  CHECK_STATUS(kamacache_node_close(m->node, 5000, NULL), KAMACACHE_OK);
  kamacache_group_free(m->group);
  kamacache_node_free(m->node);
  pthread_cond_destroy(&m->released);
  pthread_mutex_destroy(&m->lock);
}

static void cluster_open_with(member *a, member *b, uint32_t limit) {
  member_open_with(a, limit);
  member_open_with(b, limit);
  const char *peers[] = {a->address, b->address};
  CHECK_STATUS(kamacache_node_set_peers(a->node, peers, 2, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_node_set_peers(b->node, peers, 2, NULL), KAMACACHE_OK);
}

static void cluster_open(member *a, member *b) { cluster_open_with(a, b, 0); }

/* Makes a key that this member owns, of this kind. */
static const char *key_owned_by(const member *m, const char *kind) {
  static char key[64];
  char owner[64] = "";
  size_t len;
  for (int i = 0; i < 1000 && strcmp(owner, m->address) != 0; i++) {
    snprintf(key, sizeof key, "%s%d", kind, i);
    CHECK_STATUS(kamacache_node_owner(m->node, key, strlen(key), owner, sizeof owner, &len), KAMACACHE_OK);
  }
  CHECK(strcmp(owner, m->address) == 0);
  return key;
}

static void the_owner_loads_on_a_thread_of_the_library(void) {
  member a, b;
  cluster_open(&a, &b);
  const char *key = key_owned_by(&b, "k");
  kamacache_value *value = NULL;
  CHECK_STATUS(kamacache_group_get(a.group, key, strlen(key), 0, &value, NULL), KAMACACHE_OK);
  CHECK(is_text(value, b.address));
  CHECK(a.loads == 0 && b.loads == 1 && !pthread_equal(b.loaded_on, pthread_self()));
  CHECK_STATUS(kamacache_group_get(b.group, key, strlen(key), 0, &value, NULL), KAMACACHE_OK);
  CHECK(is_text(value, b.address) && b.loads == 1);
  key = key_owned_by(&a, "k");
  CHECK_STATUS(kamacache_group_get(a.group, key, strlen(key), 0, &value, NULL), KAMACACHE_OK);
  CHECK(is_text(value, a.address));
  CHECK(a.loads == 1 && pthread_equal(a.loaded_on, pthread_self()));
  member_close(&a);
  member_close(&b);
}

static void s13_the_owner_s_error_travels_with_its_code(void) {
  member a, b;
  cluster_open(&a, &b);
  const char *key = key_owned_by(&b, "boom");
  kamacache_value *value = NULL;
  kamacache_error *err = NULL;
  CHECK_STATUS(kamacache_group_get(a.group, key, strlen(key), 0, &value, &err), KAMACACHE_GETTER_FAILED);
  CHECK(kamacache_error_app_code(err) == -42 && strstr(kamacache_error_message(err), "disk on fire") != NULL);
  kamacache_error_free(err);
  key = key_owned_by(&b, "missing");
  CHECK_STATUS(kamacache_group_get(a.group, key, strlen(key), 0, &value, NULL), KAMACACHE_NOT_FOUND);
  CHECK(a.loads == 0 && b.loads == 2);
  member_close(&a);
  member_close(&b);
}

static void s18_a_write_is_seen_through_both_nodes(void) {
  member a, b;
  cluster_open(&a, &b);
  const char *key = key_owned_by(&b, "k");
  kamacache_value *value = NULL;
  CHECK_STATUS(kamacache_group_set(a.group, key, strlen(key), "one", 3, 0, 0, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_get(b.group, key, strlen(key), 0, &value, NULL), KAMACACHE_OK);
  CHECK(is_text(value, "one"));
  CHECK_STATUS(kamacache_group_get(a.group, key, strlen(key), 0, &value, NULL), KAMACACHE_OK);
  CHECK(is_text(value, "one"));
  CHECK_STATUS(kamacache_group_delete(a.group, key, strlen(key), 0, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_peek(b.group, key, strlen(key), &value), KAMACACHE_NOT_FOUND);
  CHECK(a.loads == 0 && b.loads == 0);
  member_close(&a);
  member_close(&b);
}

typedef struct call {
  pthread_t thread;
  kamacache_group *group;
  const char *key;
  uint64_t timeout_ms;
  kamacache_status status;
  kamacache_value *value;
} call;

static void *call_get(void *arg) {
  call *c = (call *)arg;
  c->status = kamacache_group_get(c->group, c->key, strlen(c->key), c->timeout_ms, &c->value, NULL);
  return NULL;
}

static void wait_for_gets(member *m, uint64_t wanted) {
  kamacache_stats stats;
  struct timespec pause = {0, 1000000};
  stats.struct_size = sizeof stats;
  for (int i = 0; i < 10000; i++) { /* at most 10 s */
    CHECK_STATUS(kamacache_group_stats(m->group, &stats), KAMACACHE_OK);
    if (stats.gets >= wanted) return;
    nanosleep(&pause, NULL);
  }
  CHECK(!"the gets have begun");
}

static void release(member *m) {
  pthread_mutex_lock(&m->lock);
  m->hold = 0;
  pthread_cond_broadcast(&m->released);
  pthread_mutex_unlock(&m->lock);
}

static void s09_many_threads_on_two_nodes_load_once(void) {
  member a, b;
  call calls[THREADS];
  cluster_open(&a, &b);
  const char *key = key_owned_by(&b, "k");
  b.hold = 1;
  for (int i = 0; i < THREADS; i++) {
    calls[i].group = i % 2 ? a.group : b.group;
    calls[i].key = key;
    calls[i].timeout_ms = KAMACACHE_FOREVER;
    pthread_create(&calls[i].thread, NULL, call_get, &calls[i]);
  }
  wait_for_gets(&a, THREADS / 2);
  wait_for_gets(&b, THREADS / 2);
  release(&b);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(calls[i].thread, NULL);
    CHECK_STATUS(calls[i].status, KAMACACHE_OK);
    CHECK(is_text(calls[i].value, b.address));
  }
  CHECK(a.loads == 0 && b.loads == 1);
  member_close(&a);
  member_close(&b);
}

static void wait_for_loads(member *m, int wanted) {
  struct timespec pause = {0, 1000000};
  int loads = 0;
  for (int i = 0; i < 10000 && loads < wanted; i++) { /* at most 10 s */
    pthread_mutex_lock(&m->lock);
    loads = m->loads;
    pthread_mutex_unlock(&m->lock);
    nanosleep(&pause, NULL);
  }
  CHECK(loads >= wanted);
}

typedef struct batch {
  pthread_t thread;
  kamacache_group *group;
  kamacache_slice keys[2];
  kamacache_result out[2];
} batch;

static void *call_get_many(void *arg) {
  batch *b = (batch *)arg;
  CHECK_STATUS(kamacache_group_get_many(b->group, b->keys, 2, KAMACACHE_FOREVER, b->out, NULL), KAMACACHE_OK);
  return NULL;
}

/* The batch waits for "slow" of the other member, and for a load whose leader gives up in the queue for the only permit. */
static void a_promoted_load_of_a_batch_begins_at_once(void) {
  member a, b;
  char slow[64], first[64], queued[64];
  cluster_open_with(&a, &b, 1);
  a.hold = b.hold = 1;
  snprintf(slow, sizeof slow, "%s", key_owned_by(&b, "slow"));
  snprintf(first, sizeof first, "%s", key_owned_by(&a, "first"));
  snprintf(queued, sizeof queued, "%s", key_owned_by(&a, "queued"));
  call holder = {0, a.group, first, KAMACACHE_FOREVER, 0, NULL}, leader = {0, a.group, queued, 500, 0, NULL};
  batch many = {0, a.group, {{slow, strlen(slow)}, {queued, strlen(queued)}}, {{0, 0, NULL, NULL}, {0, 0, NULL, NULL}}};
  pthread_create(&holder.thread, NULL, call_get, &holder);
  wait_for_loads(&a, 1);
  pthread_create(&leader.thread, NULL, call_get, &leader);
  wait_for_gets(&a, 2);
  pthread_create(&many.thread, NULL, call_get_many, &many);
  wait_for_gets(&a, 4);
  pthread_join(leader.thread, NULL);
  CHECK(leader.status == KAMACACHE_DEADLINE_EXCEEDED || leader.status == KAMACACHE_OVERLOADED);
  release(&a);
  wait_for_loads(&a, 2); /* while "slow" is still held */
  release(&b);
  pthread_join(many.thread, NULL);
  CHECK(is_text(kamacache_value_retain(many.out[0].value), b.address));
  CHECK(is_text(kamacache_value_retain(many.out[1].value), a.address));
  kamacache_results_clear(many.out, 2);
  pthread_join(holder.thread, NULL);
  CHECK(is_text(holder.value, a.address) && a.loads == 2 && b.loads == 1);
  member_close(&a);
  member_close(&b);
}

static void s37_close_ends_the_waits_and_says_what_still_runs(void) {
  member a;
  call leader, waiter;
  member_open(&a);
  a.hold = 1;
  leader.group = waiter.group = a.group;
  leader.key = waiter.key = "k";
  leader.timeout_ms = waiter.timeout_ms = KAMACACHE_FOREVER;
  pthread_create(&leader.thread, NULL, call_get, &leader);
  wait_for_gets(&a, 1);
  pthread_create(&waiter.thread, NULL, call_get, &waiter);
  wait_for_gets(&a, 2);
  CHECK_ERROR(kamacache_node_close(a.node, 10, &err), KAMACACHE_DEADLINE_EXCEEDED, "closed after 10ms with 1 getter still running");
  pthread_join(waiter.thread, NULL);
  CHECK_STATUS(waiter.status, KAMACACHE_CLOSED);
  release(&a);
  pthread_join(leader.thread, NULL);
  CHECK(leader.status == KAMACACHE_CLOSED || leader.status == KAMACACHE_OK);
  kamacache_value_release(leader.value);
  member_close(&a);
}

/* ---- a getter that returns first and answers later, from a thread of its own ---- */

static kamacache_load *later;
static pthread_mutex_t later_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t later_set = PTHREAD_COND_INITIALIZER;

static void later_getter(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  (void)user_data, (void)info;
  pthread_mutex_lock(&later_lock);
  later = load;
  pthread_cond_signal(&later_set);
  pthread_mutex_unlock(&later_lock);
}

static void *answer_later(void *unused) {
  pthread_mutex_lock(&later_lock);
  while (later == NULL) pthread_cond_wait(&later_set, &later_lock);
  kamacache_load *load = later;
  later = NULL;
  pthread_mutex_unlock(&later_lock);
  CHECK_STATUS(kamacache_load_complete(load, "later", 5, 0), KAMACACHE_OK);
  return unused;
}

static void answers_from_another_thread(const char *where) {
  member a, b;
  cluster_open(&a, &b);
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 20;
  options.getter = later_getter;
  kamacache_group *groups[2];
  CHECK_STATUS(kamacache_group_open(a.node, "later", &options, &groups[0], NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_open(b.node, "later", &options, &groups[1], NULL), KAMACACHE_OK);
  const char *key = key_owned_by(strcmp(where, "here") == 0 ? &a : &b, "k");
  pthread_t thread;
  kamacache_value *value = NULL;
  pthread_create(&thread, NULL, answer_later, NULL);
  CHECK_STATUS(kamacache_group_get(groups[0], key, strlen(key), 0, &value, NULL), KAMACACHE_OK);
  CHECK(is_text(value, "later"));
  pthread_join(thread, NULL);
  kamacache_group_free(groups[0]);
  kamacache_group_free(groups[1]);
  member_close(&a);
  member_close(&b);
}

static void a_load_of_this_node_is_answered_later(void) { answers_from_another_thread("here"); }
static void a_load_for_a_peer_is_answered_later(void) { answers_from_another_thread("there"); }

/* ---- library threads ---- */

static sigset_t seen;

static void masked_getter(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  (void)user_data, (void)info;
  pthread_sigmask(SIG_SETMASK, NULL, &seen);
  kamacache_load_complete(load, "v", 1, 0);
}

static void s46_library_threads_take_no_signal(void) {
  member a, b;
  cluster_open(&a, &b);
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 20;
  options.getter = masked_getter;
  kamacache_group *groups[2];
  CHECK_STATUS(kamacache_group_open(a.node, "mask", &options, &groups[0], NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_open(b.node, "mask", &options, &groups[1], NULL), KAMACACHE_OK);
  const char *key = key_owned_by(&b, "k");
  kamacache_value *value = NULL;
  sigemptyset(&seen);
  CHECK_STATUS(kamacache_group_get(groups[0], key, strlen(key), 0, &value, NULL), KAMACACHE_OK);
  CHECK(sigismember(&seen, SIGTERM) && sigismember(&seen, SIGPIPE) && sigismember(&seen, SIGCHLD));
  CHECK(!sigismember(&seen, SIGSEGV));
  sigset_t mine;
  pthread_sigmask(SIG_SETMASK, NULL, &mine);
  CHECK(!sigismember(&mine, SIGTERM)); /* the caller's own mask is as it was */
  kamacache_value_release(value);
  kamacache_group_free(groups[0]);
  kamacache_group_free(groups[1]);
  member_close(&a);
  member_close(&b);
}

int main(void) {
  RUN(the_owner_loads_on_a_thread_of_the_library);
  RUN(s13_the_owner_s_error_travels_with_its_code);
  RUN(s18_a_write_is_seen_through_both_nodes);
  RUN(s09_many_threads_on_two_nodes_load_once);
  RUN(a_promoted_load_of_a_batch_begins_at_once);
  RUN(s37_close_ends_the_waits_and_says_what_still_runs);
  RUN(a_load_of_this_node_is_answered_later);
  RUN(a_load_for_a_peer_is_answered_later);
  RUN(s46_library_threads_take_no_signal);
  return check_report();
}
