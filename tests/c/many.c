/* Many keys in one call, also of another owner, the batch getter, the evict
 * callback, and getters that wait for each other. */
#include "fixture.h"

enum { MANY = 5 };

static kamacache_slice slice(const char *text) {
  kamacache_slice s;
  s.data = text;
  s.len = strlen(text);
  return s;
}

static void get_many_answers_each_key(void) {
  fixture f;
  fixture_open(&f);
  CHECK_STATUS(kamacache_group_set(f.group, "here", 4, "v", 1, 0, 0, NULL), KAMACACHE_OK);
  kamacache_slice keys[] = {slice("a"), slice("missing"), slice("boom"), slice("here"), slice("a"), slice(""), slice("\xff")};
  kamacache_result out[7];
  memset(out, 0xaa, sizeof out);
  CHECK_STATUS(kamacache_group_get_many(f.group, keys, 7, 0, out, NULL), KAMACACHE_OK);
  CHECK_STATUS(out[0].status, KAMACACHE_OK);
  CHECK(is_text(kamacache_value_retain(out[0].value), "a") && out[0].error == NULL);
  CHECK_STATUS(out[1].status, KAMACACHE_NOT_FOUND);
  CHECK(out[1].value == NULL && strstr(kamacache_error_message(out[1].error), "missing"));
  CHECK_STATUS(out[2].status, KAMACACHE_GETTER_FAILED);
  CHECK(kamacache_error_app_code(out[2].error) == 7);
  CHECK(is_text(kamacache_value_retain(out[3].value), "v"));
  CHECK(is_text(kamacache_value_retain(out[4].value), "a")); /* twice in one call: loaded once */
  CHECK_STATUS(out[5].status, KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(out[6].status, KAMACACHE_INVALID_ARGUMENT);
  CHECK(loads_of(&f) == 3);
  kamacache_results_clear(out, 7);
  CHECK(out[0].value == NULL && out[2].error == NULL);
  kamacache_results_clear(out, 7); /* harmless */
  fixture_close(&f);
}

static void set_many_stores_each_key(void) {
  fixture f;
  fixture_open(&f);
  kamacache_slice keys[] = {slice("a"), slice(""), slice("b")};
  kamacache_slice values[] = {slice("1"), slice("2"), slice("")};
  kamacache_result out[3];
  CHECK_STATUS(kamacache_group_set_many(f.group, keys, values, 3, 0, 0, out, NULL), KAMACACHE_OK);
  CHECK_STATUS(out[0].status, KAMACACHE_OK);
  CHECK_STATUS(out[1].status, KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(out[2].status, KAMACACHE_OK);
  kamacache_results_clear(out, 3);
  CHECK(gets_text(&f, "a", "1") && gets_text(&f, "b", ""));
  CHECK(loads_of(&f) == 0);
  fixture_close(&f);
}

static void many_of_nothing_and_of_null(void) {
  fixture f;
  fixture_open(&f);
  kamacache_slice key = slice("a"), bad;
  kamacache_result out;
  bad.data = NULL;
  bad.len = 3;
  CHECK_STATUS(kamacache_group_get_many(f.group, NULL, 0, 0, NULL, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_get_many(f.group, NULL, 1, 0, &out, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK(out.value == NULL && out.error == NULL);
  CHECK_STATUS(kamacache_group_get_many(f.group, &key, 1, 0, NULL, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_group_get_many(NULL, &key, 1, 0, &out, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_group_get_many(f.group, &key, (size_t)-1, 0, &out, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_group_get_many(f.group, &bad, 1, 0, &out, NULL), KAMACACHE_OK);
  CHECK_STATUS(out.status, KAMACACHE_INVALID_ARGUMENT);
  kamacache_results_clear(&out, 1);
  CHECK_STATUS(kamacache_group_set_many(f.group, &key, NULL, 1, 0, 0, &out, NULL), KAMACACHE_INVALID_ARGUMENT);
  CHECK_STATUS(kamacache_group_set_many(f.group, &key, &bad, 1, 0, 0, &out, NULL), KAMACACHE_OK);
  CHECK_STATUS(out.status, KAMACACHE_INVALID_ARGUMENT);
  kamacache_results_clear(&out, 1);
  kamacache_results_clear(NULL, 3);
  fixture_close(&f);
}

/* ---- the batch getter ---- */

typedef struct batches {
  int calls;
  size_t last;
} batches;

static void batch_getter(void *user_data, const kamacache_load_info *const *infos, kamacache_load *const *loads, size_t n) {
  batches *b = (batches *)user_data;
  b->calls++;
  b->last = n;
  for (size_t i = 0; i < n; i++) {
    if (starts_with(infos[i]->key, "missing")) kamacache_load_not_found(loads[i]);
    else kamacache_load_complete(loads[i], infos[i]->key, infos[i]->key_len, 0);
  }
}

static void a_batch_getter_loads_many_in_one_call(void) {
  fixture f;
  batches b = {0, 0};
  fixture_open(&f);
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 20;
  options.batch_getter = batch_getter;
  options.user_data = &b;
  kamacache_group *group = NULL;
  CHECK_STATUS(kamacache_group_open(f.node, "batch", &options, &group, NULL), KAMACACHE_OK);
  kamacache_slice keys[MANY] = {slice("a"), slice("b"), slice("missing"), slice("c"), slice("a")};
  kamacache_result out[MANY];
  CHECK_STATUS(kamacache_group_get_many(group, keys, MANY, 0, out, NULL), KAMACACHE_OK);
  CHECK(b.calls == 1 && b.last == 4);
  CHECK_STATUS(out[2].status, KAMACACHE_NOT_FOUND);
  CHECK(is_text(kamacache_value_retain(out[3].value), "c") && is_text(kamacache_value_retain(out[4].value), "a"));
  kamacache_results_clear(out, MANY);
  kamacache_value *value = NULL; /* a single miss is a batch of one */
  CHECK_STATUS(kamacache_group_get(group, "d", 1, 0, &value, NULL), KAMACACHE_OK);
  CHECK(is_text(value, "d") && b.calls == 2 && b.last == 1);
  kamacache_group_free(group);
  fixture_close(&f);
}

/* Asks for each key of its own batch, and for another one, and answers with the status's name. */
static void asking_batch_getter(void *user_data, const kamacache_load_info *const *infos, kamacache_load *const *loads, size_t n) {
  fixture *f = (fixture *)user_data;
  for (size_t i = 0; i < n; i++) {
    kamacache_value *value = NULL;
    const char *name = kamacache_status_name(kamacache_group_get(f->group, infos[i]->key, infos[i]->key_len, 1000, &value, NULL));
    CHECK(n == 1 || gets_text(f, "alone", "INVALID_ARGUMENT"));
    if (strcmp(infos[i]->key, "alone") == 0) name = "INVALID_ARGUMENT";
    kamacache_load_complete(loads[i], name, strlen(name), 0);
    kamacache_value_release(value);
  }
}

static void s16_a_batch_getter_may_ask_for_none_of_its_keys(void) {
  fixture f;
  fixture_open(&f);
  kamacache_group_free(f.group);
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 20;
  options.batch_getter = asking_batch_getter;
  options.user_data = &f;
  CHECK_STATUS(kamacache_group_open(f.node, "asking", &options, &f.group, NULL), KAMACACHE_OK);
  kamacache_slice keys[] = {slice("a"), slice("b"), slice("c")};
  kamacache_result out[3];
  CHECK_STATUS(kamacache_group_get_many(f.group, keys, 3, 0, out, NULL), KAMACACHE_OK);
  for (int i = 0; i < 3; i++) CHECK(is_text(kamacache_value_retain(out[i].value), "REENTRANT_LOAD"));
  kamacache_results_clear(out, 3);
  fixture_close(&f);
}

/* ---- many keys of another owner ---- */

enum { LARGE = 60000 };

/* f[0] asks; f[1] is the other member. */
static void two_open(fixture f[2]) {
  char addresses[2][64];
  const char *peers[] = {addresses[0], addresses[1]};
  for (int i = 0; i < 2; i++) {
    size_t len;
    memset(&f[i], 0, sizeof f[i]);
    pthread_mutex_init(&f[i].lock, NULL);
    kamacache_node_options options;
    kamacache_node_options_init(&options);
    options.listen = "127.0.0.1:0";
    options.default_timeout_ms = 60000; /* a slow machine under valgrind is no failure */
    options.connect_timeout_ms = 30000;
    options.suspect_after_ms = 30000;
    CHECK_STATUS(kamacache_node_open(&options, &f[i].node, NULL), KAMACACHE_OK);
    CHECK_STATUS(kamacache_node_address(f[i].node, addresses[i], sizeof addresses[i], &len), KAMACACHE_OK);
    kamacache_group_options group = fixture_group_options(&f[i]);
    group.max_bytes = 256 << 20;
    CHECK_STATUS(kamacache_group_open(f[i].node, "g", &group, &f[i].group, NULL), KAMACACHE_OK);
  }
  for (int i = 0; i < 2; i++) CHECK_STATUS(kamacache_node_set_peers(f[i].node, peers, 2, NULL), KAMACACHE_OK);
}

static void two_close(fixture f[2]) {
  fixture_close(&f[0]);
  fixture_close(&f[1]);
}

/* The first n keys that this member owns; to be freed with their texts, which are one block. */
static kamacache_slice *keys_owned_by(const fixture *f, size_t n) {
  kamacache_slice *keys = (kamacache_slice *)calloc(n, sizeof *keys);
  char *texts = (char *)calloc(n, 16), self[64], owner[64];
  size_t len, found = 0;
  CHECK_STATUS(kamacache_node_address(f->node, self, sizeof self, &len), KAMACACHE_OK);
  for (int i = 0; found < n; i++) {
    char *key = texts + 16 * found;
    snprintf(key, 16, "key%d", i);
    CHECK_STATUS(kamacache_node_owner(f->node, key, strlen(key), owner, sizeof owner, &len), KAMACACHE_OK);
    if (strcmp(owner, self) == 0) keys[found++] = slice(key);
  }
  return keys;
}

static void keys_free(kamacache_slice *keys) {
  free((void *)keys[0].data);
  free(keys);
}

/* f[writer] sets n keys of the other member to values of so many bytes, f[0] gets them, each in one call. */
static void set_and_get_at_another(int writer, size_t n, size_t bytes) {
  fixture f[2];
  two_open(f);
  kamacache_slice *keys = keys_owned_by(&f[1], n);
  kamacache_slice *values = (kamacache_slice *)calloc(n, sizeof *values);
  kamacache_result *out = (kamacache_result *)calloc(n, sizeof *out);
  void *value = calloc(bytes, 1);
  size_t stored = 0, found = 0;
  for (size_t i = 0; i < n; i++) values[i] = (kamacache_slice){value, bytes};
  CHECK_STATUS(kamacache_group_set_many(f[writer].group, keys, values, n, 0, 0, out, NULL), KAMACACHE_OK);
  for (size_t i = 0; i < n; i++) stored += out[i].status == KAMACACHE_OK;
  kamacache_results_clear(out, n);
  CHECK_STATUS(kamacache_group_get_many(f[0].group, keys, n, 0, out, NULL), KAMACACHE_OK);
  for (size_t i = 0; i < n; i++) found += out[i].status == KAMACACHE_OK && kamacache_value_len(out[i].value) == bytes;
  kamacache_results_clear(out, n);
  CHECK(stored == n && found == n);
  CHECK(loads_of(&f[0]) == 0 && loads_of(&f[1]) == 0);
  free(value);
  free(out);
  free(values);
  keys_free(keys);
  two_close(f);
}

static void s09_s25_batches_of_large_values_of_another_owner(void) { set_and_get_at_another(0, 100, LARGE); }

static void s24_a_batch_of_100000_keys_of_another_owner(void) {
  set_and_get_at_another(1, getenv("CHECK_SLOWLY") ? 2000 : 100000, 1);
}

/* Counts the gets that end, and those that found a large value. */
typedef struct ends {
  pthread_mutex_t lock;
  int ended, found;
} ends;

static void count_large(void *user_data, kamacache_status status, kamacache_value *value, kamacache_error *error) {
  ends *e = (ends *)user_data;
  pthread_mutex_lock(&e->lock);
  e->ended++;
  e->found += status == KAMACACHE_OK && kamacache_value_len(value) == LARGE;
  pthread_mutex_unlock(&e->lock);
  kamacache_value_release(value);
  kamacache_error_free(error);
}

static void s09_s25_gets_of_large_values_side_by_side_beside_a_writer(void) {
  enum { GETS = 300 };
  fixture f[2];
  ends e = {PTHREAD_MUTEX_INITIALIZER, 0, 0};
  two_open(f);
  kamacache_slice *keys = keys_owned_by(&f[1], GETS + 1);
  const char *written = (const char *)keys[GETS].data;
  void *value = calloc(LARGE, 1);
  for (int i = 0; i < GETS; i++) {
    CHECK_STATUS(kamacache_group_set(f[1].group, (const char *)keys[i].data, keys[i].len, value, LARGE, 0, 0, NULL), KAMACACHE_OK);
  }
  for (int i = 0; i < GETS; i++) {
    CHECK_STATUS(kamacache_group_get_async(f[0].group, (const char *)keys[i].data, keys[i].len, 0, count_large, &e, NULL, NULL), KAMACACHE_OK);
  }
  for (int ended = 0; ended < GETS;) {
    CHECK_STATUS(kamacache_group_set(f[0].group, written, keys[GETS].len, value, LARGE, 0, 0, NULL), KAMACACHE_OK);
    pthread_mutex_lock(&e.lock);
    ended = e.ended;
    pthread_mutex_unlock(&e.lock);
  }
  CHECK(e.found == GETS);
  CHECK(loads_of(&f[0]) == 0 && loads_of(&f[1]) == 0);
  free(value);
  keys_free(keys);
  two_close(f);
}

/* ---- evictions ---- */

typedef struct evictions {
  pthread_mutex_t lock;
  int n, freed;
  struct { char key[16]; char value[16]; int32_t reason; } seen[64];
} evictions;

static void on_evict(void *user_data, const char *key, size_t key_len, kamacache_value *value, int32_t reason) {
  evictions *e = (evictions *)user_data;
  pthread_mutex_lock(&e->lock);
  if (e->n < 64 && key_len == strlen(key)) {
    snprintf(e->seen[e->n].key, 16, "%s", key);
    snprintf(e->seen[e->n].value, 16, "%.*s", (int)kamacache_value_len(value), (const char *)kamacache_value_data(value));
    e->seen[e->n].reason = reason;
  }
  e->n++;
  pthread_mutex_unlock(&e->lock);
}

static void on_evict_free(void *user_data) { ((evictions *)user_data)->freed++; }

static void evictions_are_told_in_order(void) {
  evictions e;
  memset(&e, 0, sizeof e);
  pthread_mutex_init(&e.lock, NULL);
  fixture f;
  fixture_open(&f);
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 20;
  options.on_evict = on_evict;
  options.user_data = &e;
  options.free_user_data = on_evict_free;
  kamacache_group *group = NULL;
  CHECK_STATUS(kamacache_group_open(f.node, "evict", &options, &group, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_set(group, "a", 1, "one", 3, 0, 0, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_set(group, "a", 1, "two", 3, 0, 0, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_delete(group, "a", 1, 0, NULL), KAMACACHE_OK);
  kamacache_group_free(group);
  fixture_close(&f);
  CHECK(e.freed == 1 && e.n >= 2);
  CHECK(strcmp(e.seen[0].key, "a") == 0 && strcmp(e.seen[0].value, "one") == 0 && e.seen[0].reason == KAMACACHE_EVICT_REPLACED);
  CHECK(strcmp(e.seen[1].key, "a") == 0 && strcmp(e.seen[1].value, "two") == 0 && e.seen[1].reason == KAMACACHE_EVICT_DELETED);
  pthread_mutex_destroy(&e.lock);
}

/* Holds up the callback thread at its first call, and counts the bytes it is told of. */
typedef struct slow {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int entered, go;
  uint64_t bytes;
} slow;

static void slow_evict(void *user_data, const char *key, size_t key_len, kamacache_value *value, int32_t reason) {
  slow *s = (slow *)user_data;
  (void)key, (void)key_len, (void)reason;
  pthread_mutex_lock(&s->lock);
  s->entered = 1;
  pthread_cond_broadcast(&s->changed);
  while (!s->go) pthread_cond_wait(&s->changed, &s->lock);
  s->bytes += kamacache_value_len(value);
  pthread_mutex_unlock(&s->lock);
}

static void evictions_that_nobody_takes_are_bounded(void) {
  enum { BUDGET = 1 << 20, VALUE = 64 << 10, SETS = 200 };
  slow s = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0};
  fixture f;
  fixture_open(&f);
  kamacache_group_free(f.group);
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = BUDGET;
  options.on_evict = slow_evict;
  options.user_data = &s;
  CHECK_STATUS(kamacache_group_open(f.node, "slow", &options, &f.group, NULL), KAMACACHE_OK);
  char *value = (char *)calloc(VALUE, 1);
  for (int i = 0; i < SETS; i++) { /* replaces one key again and again: over ten times the budget leaves */
    CHECK_STATUS(kamacache_group_set(f.group, "k", 1, value, VALUE, 0, 0, NULL), KAMACACHE_OK);
  }
  free(value);
  pthread_mutex_lock(&s.lock);
  while (!s.entered) pthread_cond_wait(&s.changed, &s.lock);
  s.go = 1;
  pthread_cond_broadcast(&s.changed);
  pthread_mutex_unlock(&s.lock);
  fixture_close(&f); /* every notice has run after it */
  CHECK(s.bytes > BUDGET && s.bytes <= 2 * BUDGET);
}

/* ---- getters that wait for each other, on one getter thread ---- */

typedef struct pair {
  kamacache_group *group;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int entered, go;
} pair;

/* "outer" waits to be told, then asks for "inner", whose load is queued behind it. */
static void pair_getter(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  pair *p = (pair *)user_data;
  if (strcmp(info->key, "outer") != 0) {
    kamacache_load_complete(load, "inner", 5, 0);
    return;
  }
  pthread_mutex_lock(&p->lock);
  p->entered = 1;
  pthread_cond_broadcast(&p->changed);
  while (!p->go) pthread_cond_wait(&p->changed, &p->lock);
  pthread_mutex_unlock(&p->lock);
  kamacache_value *value = NULL;
  kamacache_status status = kamacache_group_get(p->group, "inner", 5, 5000, &value, NULL);
  const char *text = is_text(value, "inner") ? "outer+inner" : kamacache_status_name(status);
  kamacache_load_complete(load, text, strlen(text), 0);
}

static void count_done(void *user_data, kamacache_status status, kamacache_value *value, kamacache_error *error) {
  pair *p = (pair *)user_data;
  pthread_mutex_lock(&p->lock);
  CHECK_STATUS(status, KAMACACHE_OK);
  CHECK(kamacache_value_len(value) == strlen("inner") || is_text(kamacache_value_retain(value), "outer+inner"));
  p->entered += 10;
  pthread_cond_broadcast(&p->changed);
  pthread_mutex_unlock(&p->lock);
  kamacache_value_release(value);
  kamacache_error_free(error);
}

static void getters_that_wait_for_each_other_do_not_starve(void) {
  pair p = {NULL, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
  kamacache_node_options node_options;
  kamacache_node_options_init(&node_options);
  node_options.getter_threads = 1;
  kamacache_node *node = NULL;
  CHECK_STATUS(kamacache_node_open(&node_options, &node, NULL), KAMACACHE_OK);
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 20;
  options.getter = pair_getter;
  options.user_data = &p;
  CHECK_STATUS(kamacache_group_open(node, "g", &options, &p.group, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_get_async(p.group, "outer", 5, KAMACACHE_FOREVER, count_done, &p, NULL, NULL), KAMACACHE_OK);
  pthread_mutex_lock(&p.lock);
  while (!p.entered) pthread_cond_wait(&p.changed, &p.lock);
  pthread_mutex_unlock(&p.lock);
  CHECK_STATUS(kamacache_group_get_async(p.group, "inner", 5, KAMACACHE_FOREVER, count_done, &p, NULL, NULL), KAMACACHE_OK);
  pthread_mutex_lock(&p.lock);
  p.go = 1;
  pthread_cond_broadcast(&p.changed);
  while (p.entered < 21) pthread_cond_wait(&p.changed, &p.lock);
  pthread_mutex_unlock(&p.lock);
  CHECK_STATUS(kamacache_node_close(node, 5000, NULL), KAMACACHE_OK);
  kamacache_group_free(p.group);
  kamacache_node_free(node);
}

int main(void) {
  RUN(get_many_answers_each_key);
  RUN(set_many_stores_each_key);
  RUN(many_of_nothing_and_of_null);
  RUN(a_batch_getter_loads_many_in_one_call);
  RUN(s16_a_batch_getter_may_ask_for_none_of_its_keys);
  RUN(s09_s25_batches_of_large_values_of_another_owner);
  RUN(s24_a_batch_of_100000_keys_of_another_owner);
  RUN(s09_s25_gets_of_large_values_side_by_side_beside_a_writer);
  RUN(evictions_are_told_in_order);
  RUN(evictions_that_nobody_takes_are_bounded);
  RUN(getters_that_wait_for_each_other_do_not_starve);
  return check_report();
}
