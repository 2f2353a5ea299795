/* Every duration of every function and option with the largest values there are:
 * it is meant or refused, and nothing panics, neither in the call nor on a thread
 * of the library. */
#include "fixture.h"

static const uint64_t EXTREMES[] = {KAMACACHE_FOREVER, KAMACACHE_FOREVER - 1, KAMACACHE_FOREVER - 2, (uint64_t)1 << 63,
                                    (uint64_t)1 << 62, (uint64_t)1 << 53,     31536000000u /* a year */, 1};
enum { EXTREMES_LEN = sizeof EXTREMES / sizeof *EXTREMES };

/* Each option opens two nodes for each of these. */
static const uint64_t OPTION_EXTREMES[] = {KAMACACHE_FOREVER, KAMACACHE_FOREVER - 1, (uint64_t)1 << 53, 1};
enum { OPTION_EXTREMES_LEN = sizeof OPTION_EXTREMES / sizeof *OPTION_EXTREMES };

static int panics; /* atomic */

static void hear(void *user_data, int32_t level, const char *target, const char *message) {
  (void)user_data, (void)level;
  if (strcmp(target, "kamacache::panic") == 0) {
    __atomic_add_fetch(&panics, 1, __ATOMIC_SEQ_CST);
    printf("  %s\n", message);
  }
}

typedef struct node_field {
  const char *name;
  size_t offset;
} node_field;

#define NODE(field) {#field, offsetof(kamacache_node_options, field)}
static const node_field NODE_FIELDS[] = {
    NODE(default_timeout_ms), NODE(connect_timeout_ms), NODE(heartbeat_ms),   NODE(suspect_after_ms),
    NODE(probe_interval_ms),  NODE(remove_grace_ms),    NODE(warm_window_ms),
};
#define GROUP(field) {#field, offsetof(kamacache_group_options, field)}
static const node_field GROUP_FIELDS[] = {
    GROUP(ttl_ms),           GROUP(negative_ttl_ms), GROUP(hot_ttl_ms),        GROUP(stale_while_revalidate_ms),
    GROUP(load_timeout_ms),  GROUP(fallback_ttl_ms), GROUP(stale_if_error_ms),
};

typedef struct pair {
  fixture a, b;
} pair;

static int open_one(fixture *f, size_t node_at, size_t group_at, uint64_t ms) {
  kamacache_node_options node;
  kamacache_group_options group = fixture_group_options(f);
  memset(f, 0, sizeof *f);
  pthread_mutex_init(&f->lock, NULL);
  kamacache_node_options_init(&node);
  node.listen = "127.0.0.1:0";
  if (node_at > 0) memcpy((char *)&node + node_at, &ms, sizeof ms);
  if (group_at > 0) memcpy((char *)&group + group_at, &ms, sizeof ms);
  kamacache_status status = kamacache_node_open(&node, &f->node, NULL);
  if (status == KAMACACHE_OK) status = kamacache_group_open(f->node, "g", &group, &f->group, NULL);
  CHECK(status == KAMACACHE_OK || status == KAMACACHE_INVALID_ARGUMENT);
  return status == KAMACACHE_OK;
}

/* With a short limit: some of these options make a write wait for as long as it may. */
static void use(fixture *f) {
  const uint64_t limit = 20;
  for (int i = 0; i < 4; i++) {
    char key[32];
    snprintf(key, sizeof key, "%s-%d", i % 3 == 0 ? "missing" : i % 3 == 1 ? "boom" : "k", i);
    for (int twice = 0; twice < 2; twice++) {
      kamacache_value *value = NULL;
      CHECK(kamacache_group_get(f->group, key, strlen(key), twice ? 0 : limit, &value, NULL) != KAMACACHE_PANICKED);
      kamacache_value_release(value);
    }
    CHECK(kamacache_group_set(f->group, key, strlen(key), "v", 1, 0, limit, NULL) != KAMACACHE_PANICKED);
    CHECK(kamacache_group_delete(f->group, key, strlen(key), limit, NULL) != KAMACACHE_PANICKED);
  }
  CHECK(kamacache_group_clear(f->group, limit, NULL) != KAMACACHE_PANICKED);
}

static void close_one(fixture *f) {
  if (f->node != NULL) CHECK(kamacache_node_close(f->node, 100, NULL) != KAMACACHE_PANICKED);
  kamacache_group_free(f->group);
  kamacache_node_free(f->node);
  pthread_mutex_destroy(&f->lock);
}

/* Two nodes in a ring whose one option has this value; short calls in both. */
static void try_option(size_t node_at, size_t group_at, uint64_t ms) {
  pair p;
  char addresses[2][64];
  const char *peers[] = {addresses[0], addresses[1]};
  size_t len;
  int opened = open_one(&p.a, node_at, group_at, ms);
  opened &= open_one(&p.b, node_at, group_at, ms);
  if (opened) {
    CHECK_STATUS(kamacache_node_address(p.a.node, addresses[0], sizeof addresses[0], &len), KAMACACHE_OK);
    CHECK_STATUS(kamacache_node_address(p.b.node, addresses[1], sizeof addresses[1], &len), KAMACACHE_OK);
    CHECK_STATUS(kamacache_node_set_peers(p.a.node, peers, 2, NULL), KAMACACHE_OK);
    CHECK_STATUS(kamacache_node_set_peers(p.b.node, peers, 2, NULL), KAMACACHE_OK);
    use(&p.a);
    use(&p.b);
  }
  close_one(&p.a);
  close_one(&p.b);
}

static void extreme_options_of_a_node(void) {
  for (size_t field = 0; field < sizeof NODE_FIELDS / sizeof *NODE_FIELDS; field++) {
    for (int i = 0; i < OPTION_EXTREMES_LEN; i++) try_option(NODE_FIELDS[field].offset, 0, OPTION_EXTREMES[i]);
    if (check_broken) printf("  up to %s\n", NODE_FIELDS[field].name);
  }
}

static void extreme_options_of_a_group(void) {
  for (size_t field = 0; field < sizeof GROUP_FIELDS / sizeof *GROUP_FIELDS; field++) {
    for (int i = 0; i < OPTION_EXTREMES_LEN; i++) try_option(0, GROUP_FIELDS[field].offset, OPTION_EXTREMES[i]);
    if (check_broken) printf("  up to %s\n", GROUP_FIELDS[field].name);
  }
}

static void drop_get(void *user_data, kamacache_status status, kamacache_value *value, kamacache_error *error) {
  kamacache_value_release(value);
  kamacache_error_free(error);
  __atomic_store_n((int *)user_data, status == KAMACACHE_PANICKED ? -1 : 1, __ATOMIC_SEQ_CST);
}

static void drop_done(void *user_data, kamacache_status status, kamacache_error *error) { drop_get(user_data, status, NULL, error); }

/* The ttl of what the getter answers. */
static uint64_t answered_ttl;

static void getter_with_ttl(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  (void)user_data;
  CHECK_STATUS(kamacache_load_complete(load, info->key, info->key_len, answered_ttl), KAMACACHE_OK);
}

static void extreme_timeouts_and_ttls_of_calls(void) {
  fixture f;
  memset(&f, 0, sizeof f);
  kamacache_node_options node;
  kamacache_node_options_init(&node);
  node.listen = "127.0.0.1:0";
  CHECK_STATUS(kamacache_node_open(&node, &f.node, NULL), KAMACACHE_OK);
  kamacache_group_options group;
  kamacache_group_options_init(&group);
  group.max_bytes = 1 << 20;
  group.getter = getter_with_ttl;
  CHECK_STATUS(kamacache_group_open(f.node, "g", &group, &f.group, NULL), KAMACACHE_OK);
  for (int i = 0; i < EXTREMES_LEN; i++) {
    uint64_t ms = EXTREMES[i], wait = ms == 1 || ms == KAMACACHE_NO_WAIT ? KAMACACHE_DEFAULT_TIMEOUT : ms;
    int ended[3] = {0, 0, 0};
    kamacache_value *value = NULL;
    kamacache_slice key = {"many", 4};
    kamacache_result out;
    answered_ttl = ms;
    CHECK_STATUS(kamacache_group_get(f.group, "a", 1, wait, &value, NULL), KAMACACHE_OK);
    kamacache_value_release(value);
    CHECK_STATUS(kamacache_group_set(f.group, "b", 1, "v", 1, ms, wait, NULL), KAMACACHE_OK);
    CHECK_STATUS(kamacache_group_delete(f.group, "b", 1, wait, NULL), KAMACACHE_OK);
    CHECK_STATUS(kamacache_group_get_many(f.group, &key, 1, wait, &out, NULL), KAMACACHE_OK);
    CHECK_STATUS(out.status, KAMACACHE_OK);
    kamacache_results_clear(&out, 1);
    CHECK_STATUS(kamacache_group_set_many(f.group, &key, &key, 1, ms, wait, &out, NULL), KAMACACHE_OK);
    kamacache_results_clear(&out, 1);
    CHECK_STATUS(kamacache_group_clear(f.group, wait, NULL), KAMACACHE_OK);
    CHECK_STATUS(kamacache_group_get_async(f.group, "a", 1, wait, drop_get, &ended[0], NULL, NULL), KAMACACHE_OK);
    CHECK_STATUS(kamacache_group_set_async(f.group, NULL, "c", 1, "v", 1, ms, wait, drop_done, &ended[1], NULL, NULL), KAMACACHE_OK);
    CHECK_STATUS(kamacache_group_delete_async(f.group, NULL, "c", 1, wait, drop_done, &ended[2], NULL, NULL), KAMACACHE_OK);
    for (int k = 0; k < 3; k++) {
      while (__atomic_load_n(&ended[k], __ATOMIC_SEQ_CST) == 0) sched_yield();
      CHECK(ended[k] == 1);
    }
  }
  CHECK_STATUS(kamacache_node_close(f.node, 5000, NULL), KAMACACHE_OK);
  kamacache_group_free(f.group);
  kamacache_node_free(f.node);
}

static void extreme_drains(void) {
  for (int i = 0; i < EXTREMES_LEN; i++) {
    fixture alone;
    fixture_open(&alone);
    CHECK(gets_text(&alone, "Tom", "Tom"));
    CHECK_STATUS(kamacache_node_close(alone.node, EXTREMES[i], NULL), KAMACACHE_OK);
    CHECK_STATUS(kamacache_node_close(alone.node, EXTREMES[i], NULL), KAMACACHE_OK);
    CHECK(alone.frees == 1);
    kamacache_group_free(alone.group);
    kamacache_node_free(alone.node);
    pair p; /* with somebody to say goodbye to */
    char addresses[2][64];
    const char *peers[] = {addresses[0], addresses[1]};
    size_t len;
    CHECK(open_one(&p.a, 0, 0, 0) && open_one(&p.b, 0, 0, 0));
    kamacache_node_address(p.a.node, addresses[0], sizeof addresses[0], &len);
    kamacache_node_address(p.b.node, addresses[1], sizeof addresses[1], &len);
    CHECK_STATUS(kamacache_node_set_peers(p.a.node, peers, 2, NULL), KAMACACHE_OK);
    CHECK_STATUS(kamacache_node_set_peers(p.b.node, peers, 2, NULL), KAMACACHE_OK);
    use(&p.a);
    CHECK_STATUS(kamacache_node_close(p.a.node, EXTREMES[i], NULL), KAMACACHE_OK);
    close_one(&p.a);
    close_one(&p.b);
  }
}

static void nothing_panicked_on_another_thread(void) { CHECK(__atomic_load_n(&panics, __ATOMIC_SEQ_CST) == 0); }

int main(void) {
  kamacache_set_logger(KAMACACHE_LOG_ERROR, hear, NULL, NULL);
  RUN(extreme_drains);
  RUN(extreme_timeouts_and_ttls_of_calls);
  RUN(extreme_options_of_a_node);
  RUN(extreme_options_of_a_group);
  RUN(nothing_panicked_on_another_thread);
  return check_report();
}
