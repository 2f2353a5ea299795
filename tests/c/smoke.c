/* What the library does when it is used as it should be. */
#include "fixture.h"

static void version_and_names(void) {
  char version[32];
  snprintf(version, sizeof version, "%d.%d.%d", KAMACACHE_VERSION_MAJOR, KAMACACHE_VERSION_MINOR, KAMACACHE_VERSION_PATCH);
  CHECK(strcmp(kamacache_version(), version) == 0);
  CHECK(strcmp(kamacache_status_name(KAMACACHE_OK), "OK") == 0);
  CHECK(strcmp(kamacache_status_name(KAMACACHE_NOT_FOUND), "NOT_FOUND") == 0);
  CHECK(strcmp(kamacache_status_name(KAMACACHE_INTERNAL), "INTERNAL") == 0);
  CHECK(strcmp(kamacache_status_name(-1), "UNKNOWN") == 0);
  CHECK(strcmp(kamacache_status_name(1000), "UNKNOWN") == 0);
}

static void s09_a_value_is_loaded_once(void) {
  fixture f;
  fixture_open(&f);
  CHECK(gets_text(&f, "Tom", "Tom"));
  CHECK(gets_text(&f, "Tom", "Tom"));
  CHECK(f.loads == 1);
  CHECK(f.info_size == sizeof(kamacache_load_info));
  fixture_close(&f);
}

static void s02_not_found_is_no_failure(void) {
  fixture f;
  fixture_open(&f);
  kamacache_value *value = (kamacache_value *)&f;
  CHECK_ERROR(kamacache_group_get(f.group, "missing1", 8, 0, &value, &err), KAMACACHE_NOT_FOUND, "missing1");
  CHECK(value == NULL);
  fixture_close(&f);
}

static void s12_a_getter_s_error_carries_its_code_and_message(void) {
  fixture f;
  fixture_open(&f);
  kamacache_value *value = NULL;
  kamacache_error *err = NULL;
  CHECK_STATUS(kamacache_group_get(f.group, "boom", 4, 0, &value, &err), KAMACACHE_GETTER_FAILED);
  CHECK(kamacache_error_app_code(err) == 7);
  CHECK(strstr(kamacache_error_message(err), "disk on fire") != NULL);
  kamacache_error_free(err);
  CHECK_STATUS(get(&f, "boom", &value), KAMACACHE_GETTER_FAILED);
  CHECK(f.loads == 2); /* errors are not kept */
  fixture_close(&f);
}

static void s16_a_getter_that_asks_for_its_own_key_is_told_so(void) {
  fixture f;
  fixture_open(&f);
  CHECK(gets_text(&f, "self", "REENTRANT_LOAD"));
  CHECK(gets_text(&f, "nested:a", "a"));
  CHECK(gets_text(&f, "nested:nested:b", "b"));
  CHECK(f.loads == 1 + 2 + 3);
  fixture_close(&f);
}

static void set_delete_and_peek(void) {
  fixture f;
  fixture_open(&f);
  kamacache_value *value = NULL;
  CHECK_STATUS(kamacache_group_peek(f.group, "k", 1, &value), KAMACACHE_NOT_FOUND);
  CHECK_STATUS(kamacache_group_set(f.group, "k", 1, "one", 3, 0, 0, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_peek(f.group, "k", 1, &value), KAMACACHE_OK);
  CHECK(is_text(value, "one"));
  CHECK_STATUS(kamacache_group_set(f.group, "k", 1, "two", 3, KAMACACHE_FOREVER, 1000, NULL), KAMACACHE_OK);
  CHECK(gets_text(&f, "k", "two"));
  CHECK_STATUS(kamacache_group_delete(f.group, "k", 1, 0, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_delete(f.group, "k", 1, KAMACACHE_FOREVER, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_peek(f.group, "k", 1, &value), KAMACACHE_NOT_FOUND);
  CHECK(value == NULL);
  CHECK(f.loads == 0);
  fixture_close(&f);
}

static void peek_into_says_how_long_the_value_is(void) {
  fixture f;
  fixture_open(&f);
  char buf[9] = "........";
  size_t len = 99;
  CHECK_STATUS(kamacache_group_peek_into(f.group, "k", 1, buf, sizeof buf, &len), KAMACACHE_NOT_FOUND);
  CHECK(len == 0);
  CHECK_STATUS(kamacache_group_set(f.group, "k", 1, "12345", 5, 0, 0, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_peek_into(f.group, "k", 1, buf, 4, &len), KAMACACHE_TOO_LARGE);
  CHECK(len == 5 && memcmp(buf, "....", 4) == 0);
  CHECK_STATUS(kamacache_group_peek_into(f.group, "k", 1, NULL, 0, &len), KAMACACHE_TOO_LARGE);
  CHECK(len == 5);
  CHECK_STATUS(kamacache_group_peek_into(f.group, "k", 1, buf, 5, &len), KAMACACHE_OK);
  CHECK(len == 5 && memcmp(buf, "12345...", 8) == 0);
  fixture_close(&f);
}

static void empty_values_and_keys_with_a_nul(void) {
  fixture f;
  fixture_open(&f);
  kamacache_value *value = NULL;
  CHECK_STATUS(kamacache_group_set(f.group, "a\0b", 3, NULL, 0, 0, 0, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_peek(f.group, "a", 1, &value), KAMACACHE_NOT_FOUND);
  CHECK_STATUS(kamacache_group_get(f.group, "a\0b", 3, 0, &value, NULL), KAMACACHE_OK);
  CHECK(kamacache_value_len(value) == 0 && kamacache_value_data(value) != NULL);
  kamacache_value_release(value);
  CHECK_STATUS(kamacache_group_get(f.group, "x\0y", 3, 0, &value, NULL), KAMACACHE_OK);
  CHECK(kamacache_value_len(value) == 3 && memcmp(kamacache_value_data(value), "x\0y", 3) == 0);
  kamacache_value_release(value);
  fixture_close(&f);
}

static void a_value_outlives_everything(void) {
  fixture f;
  fixture_open(&f);
  kamacache_value *value = NULL;
  CHECK_STATUS(get(&f, "lasting", &value), KAMACACHE_OK);
  const uint8_t *data = kamacache_value_data(value);
  CHECK(kamacache_value_retain(value) == value);
  CHECK_STATUS(kamacache_group_delete(f.group, "lasting", 7, 0, NULL), KAMACACHE_OK);
  fixture_close(&f);
  kamacache_value_release(value);
  CHECK(kamacache_value_data(value) == data && memcmp(data, "lasting", 7) == 0);
  kamacache_value_release(value);
}

static void a_group_without_getter(void) {
  fixture f;
  fixture_open(&f);
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 16;
  kamacache_group *group = NULL;
  kamacache_value *value = NULL;
  CHECK_STATUS(kamacache_group_open(f.node, "plain", &options, &group, NULL), KAMACACHE_OK);
  CHECK_ERROR(kamacache_group_get(group, "Tom", 3, 0, &value, &err), KAMACACHE_NOT_FOUND, "Tom");
  CHECK_STATUS(kamacache_group_set(group, "Tom", 3, "630", 3, 0, 0, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_get(group, "Tom", 3, 0, &value, NULL), KAMACACHE_OK);
  CHECK(is_text(value, "630"));
  kamacache_group_free(group);
  fixture_close(&f);
}

static void a_second_handle_to_a_group(void) {
  fixture f;
  fixture_open(&f);
  kamacache_group *again = NULL;
  CHECK_STATUS(kamacache_node_group(f.node, "g", &again, NULL), KAMACACHE_OK);
  kamacache_group_free(f.group);
  f.group = again;
  CHECK(gets_text(&f, "Tom", "Tom"));
  CHECK_ERROR(kamacache_node_group(f.node, "nope", &again, &err), KAMACACHE_UNKNOWN_GROUP, "nope");
  CHECK(again == NULL);
  fixture_close(&f);
}

static void stats_add_up(void) {
  fixture f;
  fixture_open(&f);
  kamacache_value *value = NULL;
  CHECK(gets_text(&f, "a", "a"));
  CHECK(gets_text(&f, "a", "a"));
  CHECK_STATUS(get(&f, "missing", &value), KAMACACHE_NOT_FOUND);
  CHECK_STATUS(get(&f, "boom", &value), KAMACACHE_GETTER_FAILED);
  kamacache_stats s;
  s.struct_size = sizeof s;
  CHECK_STATUS(kamacache_group_stats(f.group, &s), KAMACACHE_OK);
  CHECK(s.struct_size == sizeof s && s.reserved == 0);
  CHECK(s.gets == 4 && s.hits == 1 && s.loaded == 1 && s.not_found == 1 && s.failed == 1);
  CHECK(s.gets == s.hits + s.hot_hits + s.stale_hits + s.negative_hits + s.loaded + s.load_joined + s.fetched +
                      s.fetch_joined + s.fallbacks + s.not_found + s.failed + s.in_progress);
  CHECK(s.loads == 3 && s.load_errors == 1 && s.entries == 1 && s.max_bytes == 1 << 20);
  CHECK(s.bytes > 0 && s.bytes <= s.max_bytes);
  fixture_close(&f);
}

static void latencies_are_measured(void) {
  fixture f;
  fixture_open(&f);
  CHECK(gets_text(&f, "a", "a"));
  kamacache_latency l;
  memset(&l, 0xaa, sizeof l);
  l.struct_size = sizeof l;
  CHECK_STATUS(kamacache_group_latency(f.group, 1, &l), KAMACACHE_OK);
  CHECK(l.struct_size == sizeof l && l.reserved == 0 && l.count == 1 && l.sum_ns > 0 && l.max_ns >= l.p50_ns);
  CHECK_STATUS(kamacache_group_latency(f.group, 2, &l), KAMACACHE_OK);
  CHECK(l.count == 0 && l.max_ns == 0);
  fixture_close(&f);
}

static void clear_drops_everything(void) {
  fixture f;
  fixture_open(&f);
  kamacache_value *value = NULL;
  CHECK(gets_text(&f, "a", "a"));
  CHECK_STATUS(kamacache_group_set(f.group, "b", 1, "v", 1, 0, 0, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_clear(f.group, 0, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_peek(f.group, "a", 1, &value), KAMACACHE_NOT_FOUND);
  CHECK_STATUS(kamacache_group_peek(f.group, "b", 1, &value), KAMACACHE_NOT_FOUND);
  CHECK(gets_text(&f, "a", "a") && f.loads == 2);
  fixture_close(&f);
}

static void handed_in(void *flag) { ++*(int *)flag; }

static void owned_getter(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  (void)info;
  CHECK_STATUS(kamacache_load_complete_owned(load, "zero copy", 9, handed_in, user_data, 0), KAMACACHE_OK);
}

static void a_value_handed_in_is_given_back_once(void) {
  int given_back = 0;
  fixture f;
  fixture_open(&f);
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 20;
  options.getter = owned_getter;
  options.user_data = &given_back;
  kamacache_group *group = NULL;
  kamacache_value *value = NULL;
  CHECK_STATUS(kamacache_group_open(f.node, "owned", &options, &group, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_get(group, "k", 1, 0, &value, NULL), KAMACACHE_OK);
  CHECK(is_text(value, "zero copy"));
  CHECK_STATUS(kamacache_group_delete(group, "k", 1, 0, NULL), KAMACACHE_OK);
  kamacache_group_free(group);
  fixture_close(&f);
  CHECK(given_back == 1);
}

static void a_single_instance_has_no_network(void) {
  fixture f;
  fixture_open(&f);
  char text[8] = "x";
  size_t len = 99;
  CHECK_STATUS(kamacache_node_address(f.node, text, sizeof text, &len), KAMACACHE_OK);
  CHECK(len == 0 && text[0] == '\0');
  text[0] = 'x';
  CHECK_STATUS(kamacache_node_admin_address(f.node, text, sizeof text, &len), KAMACACHE_OK);
  CHECK(len == 0 && text[0] == '\0');
  fixture_close(&f);
}

static void the_admin_http_tells_its_port(void) {
  kamacache_node_options options;
  kamacache_node_options_init(&options);
  options.admin_listen = ":0";
  kamacache_node *node = NULL;
  CHECK_STATUS(kamacache_node_open(&options, &node, NULL), KAMACACHE_OK);
  char address[64], text[4];
  size_t len = 0;
  CHECK_STATUS(kamacache_node_admin_address(node, address, sizeof address, &len), KAMACACHE_OK);
  CHECK(len == strlen(address) && starts_with(address, "127.0.0.1:") && strcmp(address, "127.0.0.1:0") != 0);
  CHECK_STATUS(kamacache_node_admin_address(node, text, sizeof text, &len), KAMACACHE_TOO_LARGE);
  CHECK(len == strlen(address));
  /* Somebody listens there: nobody else can. */
  kamacache_node *other = NULL;
  options.admin_listen = address;
  CHECK_STATUS(kamacache_node_open(&options, &other, NULL), KAMACACHE_UNAVAILABLE);
  CHECK_STATUS(kamacache_node_close(node, 0, NULL), KAMACACHE_OK);
  kamacache_node_free(node);
}

static void a_ring_of_one_on_a_port_of_its_own(void) {
  kamacache_node_options options;
  kamacache_node_options_init(&options);
  options.listen = "127.0.0.1:0";
  kamacache_node *node = NULL;
  CHECK_STATUS(kamacache_node_open(&options, &node, NULL), KAMACACHE_OK);
  char address[64], text[64];
  size_t len = 0;
  CHECK_STATUS(kamacache_node_address(node, address, sizeof address, &len), KAMACACHE_OK);
  CHECK(len == strlen(address) && starts_with(address, "127.0.0.1:") && strcmp(address, "127.0.0.1:0") != 0);
  CHECK_STATUS(kamacache_node_members(node, text, sizeof text, &len, NULL), KAMACACHE_OK);
  CHECK(strcmp(text, address) == 0);
  CHECK_STATUS(kamacache_node_owner(node, "Tom", 3, text, sizeof text, &len), KAMACACHE_OK);
  CHECK(strcmp(text, address) == 0);
  CHECK_STATUS(kamacache_node_members(node, text, len, &len, NULL), KAMACACHE_TOO_LARGE);
  CHECK(len == strlen(address));
  const char *peers[] = {"127.0.0.1:1", address};
  CHECK_STATUS(kamacache_node_set_peers(node, peers, 2, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_node_members(node, text, sizeof text, &len, NULL), KAMACACHE_OK);
  CHECK(starts_with(text, "127.0.0.1:1\n") && strcmp(text + strlen("127.0.0.1:1\n"), address) == 0);
  CHECK_STATUS(kamacache_node_close(node, 0, NULL), KAMACACHE_OK);
  kamacache_node_free(node);
}

int main(void) {
  RUN(version_and_names);
  RUN(s09_a_value_is_loaded_once);
  RUN(s02_not_found_is_no_failure);
  RUN(s12_a_getter_s_error_carries_its_code_and_message);
  RUN(s16_a_getter_that_asks_for_its_own_key_is_told_so);
  RUN(set_delete_and_peek);
  RUN(peek_into_says_how_long_the_value_is);
  RUN(empty_values_and_keys_with_a_nul);
  RUN(a_value_outlives_everything);
  RUN(a_group_without_getter);
  RUN(a_second_handle_to_a_group);
  RUN(stats_add_up);
  RUN(latencies_are_measured);
  RUN(clear_drops_everything);
  RUN(a_value_handed_in_is_given_back_once);
  RUN(a_single_instance_has_no_network);
  RUN(the_admin_http_tells_its_port);
  RUN(a_ring_of_one_on_a_port_of_its_own);
  return check_report();
}
