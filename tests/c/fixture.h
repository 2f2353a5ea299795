/* A single-instance node with one group "g", whose getter answers from code:
 *   "missing..."  not found
 *   "boom..."     fails with code 7 and "disk on fire"
 *   "self..."     asks for its own key first and reports the status as the value
 *   "nested:K"    asks for K and answers with its value
 *   anything else the key itself, as value
 */
#ifndef FIXTURE_H
#define FIXTURE_H

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "check.h"

typedef struct fixture {
  kamacache_node *node;
  kamacache_group *group;
  pthread_mutex_t lock;
  int loads;
  int frees;
  uint32_t info_size; /* of the last load */
  uint64_t info_timeout_ms;
} fixture;

static inline int starts_with(const char *text, const char *prefix) {
  return strncmp(text, prefix, strlen(prefix)) == 0;
}

static inline int loads_of(fixture *f) {
  pthread_mutex_lock(&f->lock);
  int loads = f->loads;
  pthread_mutex_unlock(&f->lock);
  return loads;
}

static inline void answer_nested(fixture *f, const kamacache_load_info *info, kamacache_load *load) {
  kamacache_value *value;
  const char *key = info->key + strlen("nested:");
  kamacache_status status = kamacache_group_get(f->group, key, strlen(key), 0, &value, NULL);
  if (status == KAMACACHE_OK) {
    kamacache_load_complete(load, kamacache_value_data(value), kamacache_value_len(value), 0);
  } else {
    kamacache_load_fail(load, status, kamacache_status_name(status));
  }
  kamacache_value_release(value);
}

static inline void fixture_getter(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  fixture *f = (fixture *)user_data;
  pthread_mutex_lock(&f->lock);
  f->loads++;
  f->info_size = info->struct_size;
  f->info_timeout_ms = info->timeout_ms;
  pthread_mutex_unlock(&f->lock);
  if (starts_with(info->key, "missing")) {
    kamacache_load_not_found(load);
  } else if (starts_with(info->key, "boom")) {
    kamacache_load_fail(load, 7, "disk on fire");
  } else if (starts_with(info->key, "self")) {
    kamacache_value *value;
    const char *name = kamacache_status_name(kamacache_group_get(f->group, info->key, info->key_len, 0, &value, NULL));
    kamacache_load_complete(load, name, strlen(name), 0);
  } else if (starts_with(info->key, "nested:")) {
    answer_nested(f, info, load);
  } else {
    kamacache_load_complete(load, info->key, info->key_len, 0);
  }
}

static inline void fixture_freed(void *user_data) {
  ((fixture *)user_data)->frees++;
}

static inline kamacache_group_options fixture_group_options(fixture *f) {
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 20;
  options.getter = fixture_getter;
  options.user_data = f;
  options.free_user_data = fixture_freed;
  return options;
}

static inline void fixture_open(fixture *f) {
  memset(f, 0, sizeof *f);
  pthread_mutex_init(&f->lock, NULL);
  kamacache_node_options options;
  kamacache_node_options_init(&options);
  CHECK_STATUS(kamacache_node_open(&options, &f->node, NULL), KAMACACHE_OK);
  kamacache_group_options group = fixture_group_options(f);
  CHECK_STATUS(kamacache_group_open(f->node, "g", &group, &f->group, NULL), KAMACACHE_OK);
}

static inline void fixture_close(fixture *f) {
  CHECK_STATUS(kamacache_node_close(f->node, 5000, NULL), KAMACACHE_OK);
  CHECK(f->frees == 1);
  kamacache_group_free(f->group);
  kamacache_node_free(f->node);
  CHECK(f->frees == 1);
  pthread_mutex_destroy(&f->lock);
}

static inline kamacache_status get(fixture *f, const char *key, kamacache_value **out) {
  return kamacache_group_get(f->group, key, strlen(key), 0, out, NULL);
}

/* Whether the value has this text; releases it. */
static inline int is_text(kamacache_value *value, const char *text) {
  int same = value != NULL && kamacache_value_len(value) == strlen(text) &&
             memcmp(kamacache_value_data(value), text, strlen(text)) == 0;
  kamacache_value_release(value);
  return same;
}

static inline int gets_text(fixture *f, const char *key, const char *text) {
  kamacache_value *value = NULL;
  return get(f, key, &value) == KAMACACHE_OK && is_text(value, text);
}

#endif
