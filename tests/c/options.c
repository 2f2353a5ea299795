/* struct_size: either side may be the newer one. */
#include <stddef.h>

#include "fixture.h"

static kamacache_status open_with(const void *options) {
  kamacache_node *node = NULL;
  kamacache_status status = kamacache_node_open((const kamacache_node_options *)options, &node, NULL);
  kamacache_node_free(node);
  return status;
}

static void init_writes_no_further_than_told(void) {
  unsigned char raw[sizeof(kamacache_node_options) + 16];
  memset(raw, 0xaa, sizeof raw);
  kamacache_node_options_init_sized((kamacache_node_options *)raw, 24);
  uint32_t size;
  memcpy(&size, raw, 4);
  CHECK(size == 24 && raw[4] == 0 && raw[23] == 0 && raw[24] == 0xaa);
  memset(raw, 0xaa, sizeof raw);
  kamacache_group_options_init_sized((kamacache_group_options *)raw, 7);
  CHECK(raw[0] == 0xaa);
  kamacache_node_options_init_sized((kamacache_node_options *)raw, sizeof raw); /* a newer program */
  CHECK(raw[sizeof raw - 1] == 0);
}

static void an_older_program_s_struct_is_taken_with_defaults(void) {
  struct { uint32_t struct_size, flags; const char *listen; } old = {sizeof old, 0, "127.0.0.1:0"};
  CHECK_STATUS(open_with(&old), KAMACACHE_OK);
  old.listen = "nonsense"; /* it is read */
  CHECK_STATUS(open_with(&old), KAMACACHE_INVALID_ARGUMENT);
}

static void a_newer_program_s_struct_is_taken_when_its_news_are_zero(void) {
  struct { kamacache_node_options known; uint64_t news[2]; } newer;
  kamacache_node_options_init_sized(&newer.known, sizeof newer);
  CHECK(newer.known.struct_size == sizeof newer);
  CHECK_STATUS(open_with(&newer), KAMACACHE_OK);
  newer.news[1] = 1;
  kamacache_node *node = NULL;
  CHECK_ERROR(kamacache_node_open(&newer.known, &node, &err), KAMACACHE_INVALID_ARGUMENT, "does not know");
}

static void a_struct_that_was_not_set_up_is_refused(void) {
  kamacache_node_options options;
  kamacache_node *node = NULL;
  memset(&options, 0, sizeof options);
  CHECK_ERROR(kamacache_node_open(&options, &node, &err), KAMACACHE_INVALID_ARGUMENT, "kamacache_node_options_init");
  options.struct_size = 0xaaaaaaaa;
  CHECK_ERROR(kamacache_node_open(&options, &node, &err), KAMACACHE_INVALID_ARGUMENT, "kamacache_node_options_init");
}

/* A forged size must not make a pointer of some of its bytes. */
static void a_size_that_ends_within_a_field_is_refused(void) {
  fixture f;
  fixture_open(&f);
  kamacache_node_options options;
  kamacache_node *node = NULL;
  for (uint32_t size = 9; size < 16; size++) {
    kamacache_node_options_init(&options);
    options.listen = "127.0.0.1:0";
    options.struct_size = size;
    CHECK_ERROR(kamacache_node_open(&options, &node, &err), KAMACACHE_INVALID_ARGUMENT, "no multiple of 8");
  }
  kamacache_group *group = NULL;
  kamacache_group_options forged = fixture_group_options(&f);
  /* Half of free_user_data is called by nobody, whole user data is freed. */
  forged.struct_size = offsetof(kamacache_group_options, free_user_data) + 4;
  CHECK_ERROR(kamacache_group_open(f.node, "a", &forged, &group, &err), KAMACACHE_INVALID_ARGUMENT, "no multiple of 8");
  CHECK(f.frees == 0);
  forged.struct_size = sizeof forged - 4;
  CHECK_ERROR(kamacache_group_open(f.node, "a", &forged, &group, &err), KAMACACHE_INVALID_ARGUMENT, "no multiple of 8");
  CHECK(f.frees == 1 && group == NULL);
  f.frees = 0;
  fixture_close(&f);
}

static void stats_are_written_as_far_as_there_is_room(void) {
  fixture f;
  fixture_open(&f);
  CHECK(gets_text(&f, "a", "a"));
  union { kamacache_stats stats; unsigned char raw[sizeof(kamacache_stats) + 16]; } u;
  memset(&u, 0xaa, sizeof u);
  u.stats.struct_size = 16; /* a program that knows gets alone */
  CHECK_STATUS(kamacache_group_stats(f.group, &u.stats), KAMACACHE_OK);
  CHECK(u.stats.gets == 1 && u.stats.struct_size == 16 && u.raw[16] == 0xaa);
  u.stats.struct_size = sizeof u;
  CHECK_STATUS(kamacache_group_stats(f.group, &u.stats), KAMACACHE_OK);
  CHECK(u.stats.max_bytes == 1 << 20 && u.stats.struct_size == sizeof u.stats && u.raw[sizeof(kamacache_stats)] == 0 && u.raw[sizeof u - 1] == 0);
  u.stats.struct_size = 0;
  CHECK_STATUS(kamacache_group_stats(f.group, &u.stats), KAMACACHE_INVALID_ARGUMENT);
  fixture_close(&f);
}

int main(void) {
  RUN(init_writes_no_further_than_told);
  RUN(an_older_program_s_struct_is_taken_with_defaults);
  RUN(a_newer_program_s_struct_is_taken_when_its_news_are_zero);
  RUN(a_struct_that_was_not_set_up_is_refused);
  RUN(a_size_that_ends_within_a_field_is_refused);
  RUN(stats_are_written_as_far_as_there_is_room);
  return check_report();
}
