/* What the library does when it is used as it should not be: a clear error,
 * nothing stored, never a crash. */
#include <sys/mman.h>
#include <unistd.h>

#include "fixture.h"

#define INVALID KAMACACHE_INVALID_ARGUMENT

static void null_everywhere(void) {
  fixture f;
  fixture_open(&f);
  kamacache_value *value = NULL;
  kamacache_node *node = NULL;
  kamacache_group *group = NULL;
  char buf[64];
  size_t len = 0;
  kamacache_node_options node_options;
  kamacache_node_options_init(&node_options);
  kamacache_group_options group_options;
  kamacache_group_options_init(&group_options);
  group_options.max_bytes = 1 << 20;

  CHECK_STATUS(kamacache_node_open(NULL, &node, NULL), INVALID);
  CHECK_ERROR(kamacache_node_open(&node_options, NULL, &err), INVALID, "out is NULL");
  CHECK_STATUS(kamacache_group_open(NULL, "a", &group_options, &group, NULL), INVALID);
  CHECK_STATUS(kamacache_group_open(f.node, NULL, &group_options, &group, NULL), INVALID);
  CHECK_STATUS(kamacache_group_open(f.node, "a", NULL, &group, NULL), INVALID);
  CHECK_STATUS(kamacache_group_open(f.node, "a", &group_options, NULL, NULL), INVALID);
  CHECK_STATUS(kamacache_node_group(NULL, "g", &group, NULL), INVALID);
  CHECK_STATUS(kamacache_node_group(f.node, NULL, &group, NULL), INVALID);
  CHECK_STATUS(kamacache_node_group(f.node, "g", NULL, NULL), INVALID);
  CHECK(node == NULL && group == NULL);

  CHECK_ERROR(kamacache_group_get(NULL, "k", 1, 0, &value, &err), INVALID, "group is NULL");
  CHECK_ERROR(kamacache_group_get(f.group, NULL, 1, 0, &value, &err), INVALID, "key is NULL");
  CHECK_STATUS(kamacache_group_get(f.group, NULL, 0, 0, &value, NULL), INVALID);
  CHECK_STATUS(kamacache_group_get(f.group, "k", 1, 0, NULL, NULL), INVALID);
  CHECK_STATUS(kamacache_group_peek(NULL, "k", 1, &value), INVALID);
  CHECK_STATUS(kamacache_group_peek(f.group, NULL, 1, &value), INVALID);
  CHECK_STATUS(kamacache_group_peek(f.group, "k", 1, NULL), INVALID);
  CHECK_STATUS(kamacache_group_peek_into(NULL, "k", 1, buf, sizeof buf, &len), INVALID);
  CHECK_STATUS(kamacache_group_peek_into(f.group, NULL, 1, buf, sizeof buf, &len), INVALID);
  CHECK_STATUS(kamacache_group_peek_into(f.group, "k", 1, NULL, sizeof buf, &len), INVALID);
  CHECK_STATUS(kamacache_group_peek_into(f.group, "k", 1, buf, sizeof buf, NULL), INVALID);
  CHECK_STATUS(kamacache_group_set(NULL, "k", 1, "v", 1, 0, 0, NULL), INVALID);
  CHECK_STATUS(kamacache_group_set(f.group, NULL, 1, "v", 1, 0, 0, NULL), INVALID);
  CHECK_ERROR(kamacache_group_set(f.group, "k", 1, NULL, 1, 0, 0, &err), INVALID, "data is NULL");
  CHECK_STATUS(kamacache_group_delete(NULL, "k", 1, 0, NULL), INVALID);
  CHECK_STATUS(kamacache_group_delete(f.group, NULL, 1, 0, NULL), INVALID);
  kamacache_stats stats;
  stats.struct_size = sizeof stats;
  kamacache_latency latency;
  latency.struct_size = sizeof latency;
  CHECK_STATUS(kamacache_group_latency(NULL, 0, &latency), INVALID);
  CHECK_STATUS(kamacache_group_latency(f.group, 0, NULL), INVALID);
  CHECK_STATUS(kamacache_group_latency(f.group, 3, &latency), INVALID);
  CHECK_STATUS(kamacache_group_latency(f.group, -1, &latency), INVALID);
  CHECK_STATUS(kamacache_group_clear(NULL, 0, NULL), INVALID);
  CHECK_STATUS(kamacache_group_stats(NULL, &stats), INVALID);
  CHECK_STATUS(kamacache_group_stats(f.group, NULL), INVALID);

  CHECK_STATUS(kamacache_node_set_peers(NULL, NULL, 0, NULL), INVALID);
  CHECK_STATUS(kamacache_node_set_peers(f.node, NULL, 1, NULL), INVALID);
  const char *peers[] = {"127.0.0.1:1", NULL};
  CHECK_ERROR(kamacache_node_set_peers(f.node, peers, 2, &err), INVALID, "peers[1] is NULL");
  CHECK_STATUS(kamacache_node_members(NULL, buf, sizeof buf, &len, NULL), INVALID);
  CHECK_STATUS(kamacache_node_members(f.node, NULL, sizeof buf, &len, NULL), INVALID);
  CHECK_STATUS(kamacache_node_members(f.node, buf, sizeof buf, NULL, NULL), INVALID);
  CHECK_STATUS(kamacache_node_owner(NULL, "k", 1, buf, sizeof buf, &len), INVALID);
  CHECK_STATUS(kamacache_node_owner(f.node, NULL, 1, buf, sizeof buf, &len), INVALID);
  CHECK_STATUS(kamacache_node_owner(f.node, "k", 1, NULL, sizeof buf, &len), INVALID);
  CHECK_STATUS(kamacache_node_owner(f.node, "k", 1, buf, sizeof buf, NULL), INVALID);
  CHECK_STATUS(kamacache_node_address(NULL, buf, sizeof buf, &len), INVALID);
  CHECK_STATUS(kamacache_node_address(f.node, buf, sizeof buf, NULL), INVALID);
  CHECK_STATUS(kamacache_node_admin_address(NULL, buf, sizeof buf, &len), INVALID);
  CHECK_STATUS(kamacache_node_admin_address(f.node, buf, sizeof buf, NULL), INVALID);
  CHECK_STATUS(kamacache_node_close(NULL, 0, NULL), INVALID);

  kamacache_node_options_init_sized(NULL, 100);
  kamacache_group_options_init_sized(NULL, 100);
  kamacache_node_free(NULL);
  kamacache_group_free(NULL);
  kamacache_error_free(NULL);
  kamacache_value_release(NULL);
  CHECK(kamacache_value_retain(NULL) == NULL && kamacache_value_data(NULL) == NULL && kamacache_value_len(NULL) == 0);
  CHECK(kamacache_error_code(NULL) == KAMACACHE_OK && kamacache_error_app_code(NULL) == 0);
  CHECK(strcmp(kamacache_error_message(NULL), "") == 0);
  CHECK_STATUS(kamacache_load_complete(NULL, "v", 1, 0), INVALID);
  CHECK_STATUS(kamacache_load_complete_owned(NULL, "v", 1, NULL, NULL, 0), INVALID);
  CHECK_STATUS(kamacache_load_not_found(NULL), INVALID);
  CHECK_STATUS(kamacache_load_fail(NULL, 1, "x"), INVALID);
  CHECK(kamacache_load_is_cancelled(NULL) == 1);
  CHECK(f.loads == 0);
  fixture_close(&f);
}

static void s01_keys_that_are_none(void) {
  fixture f;
  fixture_open(&f);
  kamacache_value *value = NULL;
  char big[5000];
  memset(big, 'k', sizeof big);
  char buf[8];
  size_t len;
  CHECK_ERROR(kamacache_group_get(f.group, "", 0, 0, &value, &err), INVALID, "4096");
  CHECK_ERROR(kamacache_group_get(f.group, big, 4097, 0, &value, &err), INVALID, "4096");
  CHECK_ERROR(kamacache_group_get(f.group, "ab\xff", 3, 0, &value, &err), INVALID, "UTF-8");
  CHECK_ERROR(kamacache_group_get(f.group, "\xed\xa0\x80", 3, 0, &value, &err), INVALID, "UTF-8");
  CHECK_ERROR(kamacache_group_get(f.group, "k", (size_t)-1, 0, &value, &err), INVALID, "length of key");
  CHECK_ERROR(kamacache_group_set(f.group, "", 0, "v", 1, 0, 0, &err), INVALID, "4096");
  CHECK_ERROR(kamacache_group_set(f.group, "\xff", 1, "v", 1, 0, 0, &err), INVALID, "offset 0");
  CHECK_ERROR(kamacache_group_set(f.group, "k", 1, "v", (size_t)-1, 0, 0, &err), INVALID, "length of data");
  CHECK_ERROR(kamacache_group_delete(f.group, big, 4097, 0, &err), INVALID, "4096");
  CHECK_STATUS(kamacache_group_peek(f.group, "\xff", 1, &value), INVALID);
  CHECK_STATUS(kamacache_group_peek_into(f.group, "\xff", 1, buf, sizeof buf, &len), INVALID);
  CHECK_STATUS(kamacache_node_owner(f.node, "\xff", 1, buf, sizeof buf, &len), INVALID);
  CHECK(value == NULL && f.loads == 0);
  CHECK_STATUS(kamacache_group_get(f.group, big, 4096, 0, &value, NULL), KAMACACHE_OK);
  kamacache_value_release(value);
  fixture_close(&f);
}

/* 8192 readable bytes, all 'k', and none after them. */
static char *at_the_end_of_memory(void) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), readable = (8192 + page - 1) / page * page;
  char *start = (char *)mmap(NULL, readable + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(start != (char *)MAP_FAILED);
  memset(start, 'k', readable);
  CHECK(mprotect(start + readable, page, PROT_NONE) == 0);
  return start + readable - 8192;
}

static void what_is_too_long_is_refused_before_it_is_read(void) {
  fixture f;
  fixture_open(&f);
  const char *end = at_the_end_of_memory();
  size_t lengths[] = {4097, 8193, 1u << 30, (size_t)-1};
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    size_t n = lengths[i], len;
    char buf[8];
    kamacache_value *value = NULL;
    kamacache_slice slice = {end, n}, data = {"v", 1};
    kamacache_result result;
    CHECK_ERROR(kamacache_group_get(f.group, end, n, 0, &value, &err), INVALID, "1 to 4096 bytes");
    CHECK_ERROR(kamacache_group_set(f.group, end, n, "v", 1, 0, 0, &err), INVALID, "1 to 4096 bytes");
    CHECK_STATUS(kamacache_group_peek(f.group, end, n, &value), INVALID);
    CHECK_STATUS(kamacache_group_peek_into(f.group, end, n, buf, sizeof buf, &len), INVALID);
    CHECK_STATUS(kamacache_group_get_many(f.group, &slice, 1, 0, &result, NULL), KAMACACHE_OK);
    CHECK(result.status == INVALID);
    kamacache_results_clear(&result, 1);
    CHECK_STATUS(kamacache_group_set_many(f.group, &slice, &data, 1, 0, 0, &result, NULL), KAMACACHE_OK);
    CHECK(result.status == INVALID);
    kamacache_results_clear(&result, 1);
  }
  kamacache_group *group = NULL;
  kamacache_group_options options = fixture_group_options(&f);
  const char *name = end + 8192 - 256; /* no NUL in reach */
  CHECK_ERROR(kamacache_group_open(f.node, name, &options, &group, &err), INVALID, "255");
  CHECK_ERROR(kamacache_node_group(f.node, name, &group, &err), INVALID, "255");
  CHECK(group == NULL && f.loads == 0 && f.frees == 1);
  f.frees = 0;
  fixture_close(&f);
}

static void groups_that_cannot_be_opened_free_their_user_data(void) {
  fixture f;
  fixture_open(&f);
  kamacache_group *group = NULL;
  kamacache_group_options options = fixture_group_options(&f);
  CHECK_ERROR(kamacache_group_open(f.node, "g", &options, &group, &err), KAMACACHE_ALREADY_EXISTS, "g");
  CHECK(f.frees == 1);
  CHECK_ERROR(kamacache_group_open(f.node, "no blanks", &options, &group, &err), INVALID, "no blanks");
  CHECK_STATUS(kamacache_group_open(NULL, "a", &options, &group, NULL), INVALID);
  CHECK_STATUS(kamacache_group_open(f.node, NULL, &options, &group, NULL), INVALID);
  CHECK_STATUS(kamacache_group_open(f.node, "a", &options, NULL, NULL), INVALID);
  CHECK(f.frees == 5);
  options.max_bytes = 0;
  CHECK_ERROR(kamacache_group_open(f.node, "a", &options, &group, &err), INVALID, "max_bytes");
  options = fixture_group_options(&f);
  options.flags = 1u << 31;
  CHECK_ERROR(kamacache_group_open(f.node, "a", &options, &group, &err), INVALID, "flags");
  options = fixture_group_options(&f);
  options.policy = 9;
  CHECK_ERROR(kamacache_group_open(f.node, "a", &options, &group, &err), INVALID, "policy is 9");
  options = fixture_group_options(&f);
  options.ttl_ms = KAMACACHE_TTL_NO_STORE;
  CHECK_ERROR(kamacache_group_open(f.node, "a", &options, &group, &err), INVALID, "NO_STORE");
  CHECK(f.frees == 9 && group == NULL);
  f.frees = 0;
  fixture_close(&f);
}

static void nodes_that_cannot_be_opened(void) {
  kamacache_node_options options;
  kamacache_node *node = NULL;
  const char *others[] = {"127.0.0.1:1"};
  kamacache_node_options_init(&options);
  options.listen = "nonsense";
  CHECK_ERROR(kamacache_node_open(&options, &node, &err), INVALID, "nonsense");
  options.listen = "\xff";
  CHECK_ERROR(kamacache_node_open(&options, &node, &err), INVALID, "listen is not UTF-8");
  options.listen = "127.0.0.1:0";
  options.peers = others;
  options.peers_len = 1;
  CHECK_ERROR(kamacache_node_open(&options, &node, &err), INVALID, "127.0.0.1");
  options.peers = NULL;
  CHECK_ERROR(kamacache_node_open(&options, &node, &err), INVALID, "peers is NULL");
  kamacache_node_options_init(&options);
  options.flags = 2;
  CHECK_ERROR(kamacache_node_open(&options, &node, &err), INVALID, "flags");
  CHECK(node == NULL);
}

static void a_taken_port_is_named(void) {
  kamacache_node_options options;
  kamacache_node_options_init(&options);
  options.listen = "127.0.0.1:0";
  kamacache_node *first = NULL, *second = NULL;
  CHECK_STATUS(kamacache_node_open(&options, &first, NULL), KAMACACHE_OK);
  char address[64] = "";
  size_t len;
  CHECK_STATUS(kamacache_node_address(first, address, sizeof address, &len), KAMACACHE_OK);
  options.listen = address;
  kamacache_error *err = NULL;
  CHECK(kamacache_node_open(&options, &second, &err) != KAMACACHE_OK);
  CHECK(second == NULL && strstr(kamacache_error_message(err), address) != NULL);
  kamacache_error_free(err);
  kamacache_node_free(first);
}

/* ---- tokens ---- */

static void double_getter(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  (void)info;
  CHECK(kamacache_load_is_cancelled(load) == 0);
  CHECK_STATUS(kamacache_load_complete(load, NULL, 5, 0), INVALID); /* not an answer: the token is still good */
  CHECK_STATUS(kamacache_load_complete(load, "v", 1, 0), KAMACACHE_OK);
  CHECK_STATUS(kamacache_load_complete(load, "w", 1, 0), KAMACACHE_CANCELLED);
  CHECK_STATUS(kamacache_load_not_found(load), KAMACACHE_CANCELLED);
  CHECK_STATUS(kamacache_load_fail(load, 1, NULL), KAMACACHE_CANCELLED);
  CHECK(kamacache_load_is_cancelled(load) == 1);
  *(kamacache_load **)user_data = load;
}

static void count(void *n) { ++*(int *)n; }

static void a_token_is_answered_once(void) {
  fixture f;
  fixture_open(&f);
  kamacache_load *used = NULL;
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 20;
  options.getter = double_getter;
  options.user_data = &used;
  kamacache_group *group = NULL;
  kamacache_value *value = NULL;
  CHECK_STATUS(kamacache_group_open(f.node, "double", &options, &group, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_get(group, "k", 1, 0, &value, NULL), KAMACACHE_OK);
  CHECK(is_text(value, "v"));
  kamacache_group_free(group);
  fixture_close(&f);
  int given_back = 0; /* owned bytes come back also when the answer is not taken */
  CHECK_STATUS(kamacache_load_complete(used, "v", 1, 0), KAMACACHE_CANCELLED);
  CHECK_STATUS(kamacache_load_complete_owned(used, "v", 1, count, &given_back, 0), KAMACACHE_CANCELLED);
  CHECK_STATUS(kamacache_load_complete_owned(NULL, "v", 1, count, &given_back, 0), INVALID);
  CHECK(given_back == 2);
}

static void a_forged_token_is_refused(void) {
  int local = 0;
  kamacache_load *forged[] = {(kamacache_load *)1, (kamacache_load *)&local, (kamacache_load *)(uintptr_t)-1,
                              (kamacache_load *)(uintptr_t)0xdeadbeef};
  for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
    CHECK_STATUS(kamacache_load_complete(forged[i], "v", 1, 0), INVALID);
    CHECK_STATUS(kamacache_load_not_found(forged[i]), INVALID);
    CHECK_STATUS(kamacache_load_fail(forged[i], 1, "x"), INVALID);
    CHECK(kamacache_load_is_cancelled(forged[i]) == 1);
  }
}

static kamacache_load *kept;

static void keeping_getter(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  (void)user_data, (void)info;
  kept = load;
}

static void s37_an_answer_that_never_comes_does_not_hold_up_close(void) {
  fixture f;
  fixture_open(&f);
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 20;
  options.getter = keeping_getter;
  kamacache_group *group = NULL;
  kamacache_value *value = NULL;
  CHECK_STATUS(kamacache_group_open(f.node, "kept", &options, &group, NULL), KAMACACHE_OK);
  CHECK_ERROR(kamacache_group_get(group, "slow", 4, 50, &value, &err), KAMACACHE_DEADLINE_EXCEEDED, "slow");
  CHECK(kamacache_load_is_cancelled(kept) == 0);
  kamacache_group_free(group);
  fixture_close(&f);
  CHECK(kamacache_load_is_cancelled(kept) == 1);
  CHECK_STATUS(kamacache_load_complete(kept, "v", 1, 0), KAMACACHE_CANCELLED);
}

/* Forgets "never..." and answers everything else. */
static void forgetful_getter(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  (void)user_data;
  if (starts_with(info->key, "never")) kept = load;
  else kamacache_load_complete(load, "v", 1, 0);
}

static void s14_an_unanswered_load_gives_its_permit_back_at_load_timeout(void) {
  fixture f;
  fixture_open(&f);
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 20;
  options.getter = forgetful_getter;
  options.load_timeout_ms = 1000;
  options.max_concurrent_loads = 1;
  kamacache_group *group = NULL;
  kamacache_value *value = NULL;
  CHECK_STATUS(kamacache_group_open(f.node, "forgetful", &options, &group, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_get(group, "never", 5, 20000, &value, NULL), KAMACACHE_DEADLINE_EXCEEDED);
  CHECK_STATUS(kamacache_group_get(group, "other", 5, 20000, &value, NULL), KAMACACHE_OK); /* waits for the permit */
  CHECK(is_text(value, "v"));
  CHECK(kamacache_load_is_cancelled(kept) == 1);
  CHECK_STATUS(kamacache_load_complete(kept, "late", 4, 0), KAMACACHE_CANCELLED);
  kamacache_stats stats;
  stats.struct_size = sizeof stats;
  CHECK_STATUS(kamacache_group_stats(group, &stats), KAMACACHE_OK);
  CHECK(stats.stuck_loads == 0);
  kamacache_group_free(group);
  fixture_close(&f);
}

/* ---- after close, inside callbacks ---- */

static void calls_after_close_say_closed(void) {
  fixture f;
  fixture_open(&f);
  CHECK(gets_text(&f, "Tom", "Tom"));
  CHECK_STATUS(kamacache_node_close(f.node, 0, NULL), KAMACACHE_OK);
  CHECK(f.frees == 1);
  kamacache_value *value = NULL;
  char buf[64];
  size_t len;
  kamacache_stats stats;
  stats.struct_size = sizeof stats;
  CHECK_ERROR(kamacache_group_get(f.group, "Tom", 3, 0, &value, &err), KAMACACHE_CLOSED, "closed");
  CHECK_STATUS(kamacache_group_set(f.group, "Tom", 3, "1", 1, 0, 0, NULL), KAMACACHE_CLOSED);
  CHECK_STATUS(kamacache_group_delete(f.group, "Tom", 3, 0, NULL), KAMACACHE_CLOSED);
  CHECK_STATUS(kamacache_group_clear(f.group, 0, NULL), KAMACACHE_CLOSED);
  CHECK_STATUS(kamacache_group_peek(f.group, "Tom", 3, &value), KAMACACHE_CLOSED);
  CHECK_STATUS(kamacache_group_peek_into(f.group, "Tom", 3, buf, sizeof buf, &len), KAMACACHE_CLOSED);
  CHECK_STATUS(kamacache_group_stats(f.group, &stats), KAMACACHE_OK); /* the last counts */
  CHECK_STATUS(kamacache_node_set_peers(f.node, NULL, 0, NULL), KAMACACHE_CLOSED);
  CHECK_STATUS(kamacache_node_members(f.node, buf, sizeof buf, &len, NULL), KAMACACHE_CLOSED);
  CHECK_STATUS(kamacache_node_owner(f.node, "Tom", 3, buf, sizeof buf, &len), KAMACACHE_CLOSED);
  CHECK_STATUS(kamacache_node_address(f.node, buf, sizeof buf, &len), KAMACACHE_CLOSED);
  CHECK_STATUS(kamacache_node_admin_address(f.node, buf, sizeof buf, &len), KAMACACHE_CLOSED);
  kamacache_group *group = NULL;
  CHECK_STATUS(kamacache_node_group(f.node, "g", &group, NULL), KAMACACHE_CLOSED);
  kamacache_group_options options = fixture_group_options(&f);
  f.frees = 0;
  CHECK_STATUS(kamacache_group_open(f.node, "late", &options, &group, NULL), KAMACACHE_CLOSED);
  CHECK(f.frees == 1);
  fixture_close(&f); /* a second close is fine */
}

static void closing_getter(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  (void)info;
  CHECK_ERROR(kamacache_node_close(((fixture *)user_data)->node, 0, &err), KAMACACHE_WOULD_DEADLOCK, "another thread");
  kamacache_load_not_found(load);
}

static void close_inside_a_getter_would_deadlock(void) {
  fixture f;
  fixture_open(&f);
  kamacache_group_options options = fixture_group_options(&f);
  options.getter = closing_getter;
  options.free_user_data = NULL;
  kamacache_group *group = NULL;
  kamacache_value *value = NULL;
  CHECK_STATUS(kamacache_group_open(f.node, "closing", &options, &group, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_get(group, "k", 1, 0, &value, NULL), KAMACACHE_NOT_FOUND);
  kamacache_group_free(group);
  fixture_close(&f);
}

static void freeing_getter(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  fixture *f = (fixture *)user_data;
  (void)info;
  kamacache_group_free(f->group);
  kamacache_node_free(f->node);
  kamacache_load_complete(load, "v", 1, 0);
}

static void freeing_the_last_references_inside_a_getter_is_safe(void) {
  fixture f;
  memset(&f, 0, sizeof f);
  kamacache_node_options node_options;
  kamacache_node_options_init(&node_options);
  CHECK_STATUS(kamacache_node_open(&node_options, &f.node, NULL), KAMACACHE_OK);
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 20;
  options.getter = freeing_getter;
  options.user_data = &f;
  CHECK_STATUS(kamacache_group_open(f.node, "g", &options, &f.group, NULL), KAMACACHE_OK);
  kamacache_group *mine = NULL;
  CHECK_STATUS(kamacache_node_group(f.node, "g", &mine, NULL), KAMACACHE_OK);
  kamacache_value *value = NULL;
  kamacache_status status = kamacache_group_get(mine, "k", 1, 0, &value, NULL);
  CHECK(status == KAMACACHE_OK || status == KAMACACHE_CLOSED);
  kamacache_value_release(value);
  kamacache_group_free(mine);
}

int main(void) {
  RUN(null_everywhere);
  RUN(s01_keys_that_are_none);
  RUN(what_is_too_long_is_refused_before_it_is_read);
  RUN(groups_that_cannot_be_opened_free_their_user_data);
  RUN(nodes_that_cannot_be_opened);
  RUN(a_taken_port_is_named);
  RUN(a_token_is_answered_once);
  RUN(a_forged_token_is_refused);
  RUN(s37_an_answer_that_never_comes_does_not_hold_up_close);
  RUN(s14_an_unanswered_load_gives_its_permit_back_at_load_timeout);
  RUN(calls_after_close_say_closed);
  RUN(close_inside_a_getter_would_deadlock);
  RUN(freeing_the_last_references_inside_a_getter_is_safe);
  return check_report();
}
