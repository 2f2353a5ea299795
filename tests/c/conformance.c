/*
 * Plays the behaviour rows of tests/conformance/ through the C ABI:
 *   conformance FILE.json...
 * It knows every field and operation of the rows, and fails on one that it does
 * not know.
 */
#include <jansson.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kamacache.h>

static int row_broken;

/* Notes why the row fails. */
static void broken(const char *format, ...) {
  va_list args;
  va_start(args, format);
  row_broken = 1;
  fputs("    ", stdout);
  vprintf(format, args);
  putchar('\n');
  va_end(args);
}

static void only_known(const json_t *object, const char *const *known, const char *what) {
  const char *name;
  json_t *ignored;
  json_object_foreach((json_t *)(uintptr_t)object, name, ignored) {
    size_t i = 0;
    while (known[i] != NULL && strcmp(known[i], name) != 0) i++;
    if (known[i] == NULL) broken("unknown field \"%s\" of %s", name, what);
  }
}

/* ---- the getter: answers from the row ---- */

typedef struct source {
  pthread_mutex_t lock;
  json_int_t loads;
  const json_t *data, *failing;
} source;

static void load_row(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  source *s = user_data;
  pthread_mutex_lock(&s->lock);
  s->loads++;
  pthread_mutex_unlock(&s->lock);
  const json_t *value = json_object_get(s->data, info->key);
  const json_t *failure = json_object_get(s->failing, info->key);
  if (failure != NULL) {
    kamacache_load_fail(load, 7, json_string_value(failure));
  } else if (value != NULL) {
    kamacache_load_complete(load, json_string_value(value), json_string_length(value), 0);
  } else {
    kamacache_load_not_found(load);
  }
}

/* ---- expectations ---- */

/* `where` says code and contains, or neither: then the call must succeed. */
static void expect(const json_t *where, kamacache_status status, kamacache_error *err, const char *what) {
  const char *code = where == NULL ? NULL : json_string_value(json_object_get(where, "code"));
  const char *got = kamacache_status_name(status);
  const json_t *part;
  size_t i;
  if (strcmp(code == NULL ? "OK" : code, got) != 0) {
    broken("%s: %s, not %s: %s", what, got, code == NULL ? "OK" : code, kamacache_error_message(err));
  }
  if (err != NULL) {
    json_array_foreach(json_object_get(where, "contains"), i, part) {
      if (strstr(kamacache_error_message(err), json_string_value(part)) == NULL) {
        broken("%s: no \"%s\" in \"%s\"", what, json_string_value(part), kamacache_error_message(err));
      }
    }
    if (strcmp(got, "GETTER_FAILED") == 0 && kamacache_error_app_code(err) != 7) broken("%s: no app code", what);
  }
  kamacache_error_free(err);
}

static void expect_text(const json_t *step, const char *text, size_t len, const char *what) {
  const json_t *wanted = json_object_get(step, "value");
  if (wanted == NULL) return;
  if (len != json_string_length(wanted) || memcmp(text, json_string_value(wanted), len) != 0) {
    broken("%s: \"%.*s\", not \"%s\"", what, (int)len, text, json_string_value(wanted));
  }
}

static void expect_value(const json_t *step, kamacache_value *value, const char *what) {
  if (value != NULL) expect_text(step, (const char *)kamacache_value_data(value), kamacache_value_len(value), what);
  kamacache_value_release(value);
}

/* ---- options: field names to struct members ---- */

typedef struct option {
  const char *name;
  size_t offset;
  enum { TEXT, U32, U64, FLAG, NOT_FLAG, PEERS, POLICY, NAME } type;
  uint32_t flag;
} option;

#define NODE(field, type) {#field, offsetof(kamacache_node_options, field), type, 0}
#define GROUP(field, type) {#field, offsetof(kamacache_group_options, field), type, 0}
#define GROUP_FLAG(name, type, flag) {name, offsetof(kamacache_group_options, flags), type, flag}

static const option node_fields[] = {
    NODE(listen, TEXT), NODE(advertise, TEXT), NODE(peers, PEERS), NODE(discovery, TEXT), NODE(admin_listen, TEXT),
    NODE(admin_hosts, TEXT), NODE(cluster, TEXT), NODE(cluster_token, TEXT), NODE(cluster_token_file, TEXT),
    NODE(io_threads, U32), NODE(getter_threads, U32),
    NODE(default_timeout_ms, U64), NODE(connect_timeout_ms, U64), NODE(heartbeat_ms, U64), NODE(suspect_after_ms, U64),
    NODE(probe_interval_ms, U64), NODE(remove_grace_ms, U64), NODE(warm_window_ms, U64), {NULL, 0, TEXT, 0},
};

static const option group_fields[] = {
    {"name", 0, NAME, 0},
    GROUP(max_bytes, U64), GROUP(ttl_ms, U64), GROUP(negative_ttl_ms, U64), GROUP(hot_ttl_ms, U64),
    GROUP(fallback_ttl_ms, U64), GROUP(stale_while_revalidate_ms, U64), GROUP(stale_if_error_ms, U64),
    GROUP(load_timeout_ms, U64), GROUP(max_concurrent_loads, U32), GROUP(max_value_bytes, U64), GROUP(policy, POLICY),
    GROUP_FLAG("strict", FLAG, KAMACACHE_GROUP_STRICT_LRU), GROUP_FLAG("hot", NOT_FLAG, KAMACACHE_GROUP_NO_HOT),
    GROUP_FLAG("jitter", NOT_FLAG, KAMACACHE_GROUP_NO_JITTER), {NULL, 0, TEXT, 0},
};

enum { MAX_PEERS = 16 };
static const char *peers[MAX_PEERS];

static void set_peers(kamacache_node_options *to, const json_t *list) {
  const json_t *peer;
  size_t i;
  to->peers = peers;
  to->peers_len = 0;
  json_array_foreach(list, i, peer) {
    if (i < MAX_PEERS) peers[to->peers_len++] = json_string_value(peer);
  }
}

static uint32_t policy_of(const char *name) {
  if (strcmp(name, "lru") == 0) return KAMACACHE_POLICY_LRU;
  if (strcmp(name, "s3fifo") == 0) return KAMACACHE_POLICY_S3FIFO;
  return strcmp(name, "default") == 0 ? KAMACACHE_POLICY_DEFAULT : 99;
}

static void set_option(void *options, const option *o, const json_t *value) {
  void *to = (char *)options + o->offset;
  switch (o->type) {
    case TEXT: *(const char **)to = json_string_value(value); break;
    case U32: *(uint32_t *)to = (uint32_t)json_integer_value(value); break;
    case U64: *(uint64_t *)to = (uint64_t)json_integer_value(value); break;
    case FLAG: *(uint32_t *)to |= json_is_true(value) ? o->flag : 0; break;
    case NOT_FLAG: *(uint32_t *)to |= json_is_false(value) ? o->flag : 0; break;
    case POLICY: *(uint32_t *)to = policy_of(json_string_value(value)); break;
    case PEERS: set_peers(options, value); break;
    case NAME: break;
  }
}

static void set_options(void *options, const option *known, const json_t *given, const char *what) {
  const char *name;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)given, name, value) {
    const option *o = known;
    while (o->name != NULL && strcmp(o->name, name) != 0) o++;
    if (o->name == NULL) broken("unknown field \"%s\" of %s", name, what);
    else set_option(options, o, value);
  }
}

/* ---- one row ---- */

typedef struct row {
  const json_t *json;
  source source;
  kamacache_node *node;
  kamacache_group *group;
} row;

static kamacache_status open_group(row *r, kamacache_group **out, kamacache_error **err) {
  const json_t *given = json_object_get(r->json, "group");
  const char *name = json_string_value(json_object_get(given, "name"));
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 20;
  if (!json_is_false(json_object_get(r->json, "getter"))) options.getter = load_row;
  options.user_data = &r->source;
  set_options(&options, group_fields, given, "group");
  return kamacache_group_open(r->node, name == NULL ? "g" : name, &options, out, err);
}

/* The text of a field, or of its _repeat form, which the caller frees. */
static char *text_of(const json_t *step, const char *field, const char *repeat, size_t *len) {
  const json_t *plain = json_object_get(step, field);
  const json_t *repeated = json_object_get(step, repeat);
  const json_t *piece = plain != NULL ? plain : json_array_get(repeated, 0);
  size_t times = plain != NULL ? 1 : (size_t)json_integer_value(json_array_get(repeated, 1));
  size_t piece_len = json_string_length(piece);
  char *text = calloc(times * piece_len + 1, 1);
  for (size_t i = 0; i < times; i++) memcpy(text + i * piece_len, json_string_value(piece), piece_len);
  *len = times * piece_len;
  return text;
}

static json_int_t stat_of(const row *r, const char *field) {
  static const char *const names[] = {
      "gets", "hits", "hot_hits", "stale_hits", "negative_hits", "loaded", "load_joined", "fetched", "fetch_joined",
      "fallbacks", "not_found", "failed", "in_progress", "peer_gets", "peer_hits", "peer_stale_hits", "peer_negative_hits",
      "peer_loaded", "peer_load_joined", "peer_not_found", "peer_failed", "loads", "load_errors", "stuck_loads", "fetches",
      "fetch_errors", "refreshes", "sets", "deletes", "clears", "invalidations", "evictions", "expirations", "entries",
      "hot_entries", "bytes", "hot_bytes", "max_bytes"};
  kamacache_stats stats;
  stats.struct_size = sizeof stats;
  if (kamacache_group_stats(r->group, &stats) != KAMACACHE_OK) return -1;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (strcmp(names[i], field) == 0) return (json_int_t)(&stats.gets)[i];
  }
  broken("unknown statistic \"%s\"", field);
  return -1;
}

static void expect_count(const json_t *step, json_int_t got, const char *what) {
  json_int_t wanted = json_integer_value(json_object_get(step, "count"));
  if (got != wanted) broken("%s: %lld, not %lld", what, (long long)got, (long long)wanted);
}

static void peek(row *r, const json_t *step, const char *key, size_t key_len) {
  kamacache_value *value;
  kamacache_status status = kamacache_group_peek(r->group, key, key_len, &value);
  if (json_is_true(json_object_get(step, "absent"))) {
    /* Wherever a value cannot be, there is none: C says why, by its status. */
    if (status == KAMACACHE_OK) broken("peek: a value is there");
    kamacache_value_release(value);
    return;
  }
  expect(step, status, NULL, "peek");
  expect_value(step, value, "peek");
}

static void play(row *r, const json_t *step) {
  static const char *const known[] = {"op", "key", "key_repeat", "value", "code", "contains", "absent", "put",
                                      "put_repeat", "ttl_ms", "timeout_ms", "count", "field", NULL};
  const char *op = json_string_value(json_object_get(step, "op"));
  uint64_t ttl = (uint64_t)json_integer_value(json_object_get(step, "ttl_ms"));
  uint64_t timeout = (uint64_t)json_integer_value(json_object_get(step, "timeout_ms"));
  size_t key_len, put_len;
  char *key = text_of(step, "key", "key_repeat", &key_len);
  char *put = text_of(step, "put", "put_repeat", &put_len);
  kamacache_value *value = NULL;
  kamacache_error *err = NULL;
  kamacache_status status;
  only_known(step, known, "a step");
  if (op == NULL) {
    broken("a step without op");
  } else if (strcmp(op, "get") == 0) {
    status = kamacache_group_get(r->group, key, key_len, timeout, &value, &err);
    expect(step, status, err, op);
    expect_value(step, value, op);
  } else if (strcmp(op, "peek") == 0) {
    peek(r, step, key, key_len);
  } else if (strcmp(op, "set") == 0) {
    status = kamacache_group_set(r->group, key, key_len, put, put_len, ttl, timeout, &err);
    expect(step, status, err, op);
  } else if (strcmp(op, "delete") == 0) {
    status = kamacache_group_delete(r->group, key, key_len, timeout, &err);
    expect(step, status, err, op);
  } else if (strcmp(op, "loads") == 0) {
    expect_count(step, r->source.loads, op);
  } else if (strcmp(op, "stats") == 0) {
    const char *field = json_string_value(json_object_get(step, "field"));
    expect_count(step, stat_of(r, field == NULL ? "" : field), field);
  } else if (strcmp(op, "open_again") == 0) {
    kamacache_group *again = NULL;
    status = open_group(r, &again, &err);
    expect(step, status, err, op);
    kamacache_group_free(again);
  } else if (strcmp(op, "close") == 0) {
    status = kamacache_node_close(r->node, 5000, &err);
    expect(step, status, err, op);
  } else if (strcmp(op, "owner") == 0) {
    char owner[256];
    size_t len = 0;
    status = kamacache_node_owner(r->node, key, key_len, owner, sizeof owner, &len);
    expect(step, status, NULL, op);
    if (status == KAMACACHE_OK) expect_text(step, owner, len, op);
  } else {
    broken("unknown op \"%s\"", op);
  }
  free(key);
  free(put);
}

static void play_row(row *r) {
  static const char *const known[] = {"name", "says", "node", "start_error", "group", "group_error", "getter",
                                      "data", "failing", "steps", NULL};
  const json_t *start_error = json_object_get(r->json, "start_error");
  const json_t *group_error = json_object_get(r->json, "group_error");
  const json_t *step;
  size_t i;
  kamacache_error *err = NULL;
  only_known(r->json, known, "a row");
  r->source.data = json_object_get(r->json, "data");
  r->source.failing = json_object_get(r->json, "failing");

  kamacache_node_options options;
  kamacache_node_options_init(&options);
  set_options(&options, node_fields, json_object_get(r->json, "node"), "node");
  kamacache_status status = kamacache_node_open(&options, &r->node, &err);
  expect(start_error, status, err, "start");
  if (r->node == NULL) return;

  status = open_group(r, &r->group, &err);
  expect(group_error, status, err, "group");
  if (r->group == NULL) return;
  json_array_foreach(json_object_get(r->json, "steps"), i, step) { play(r, step); }
}

int main(int argc, char **argv) {
  int passed = 0, failed = 0;
  for (int i = 1; i < argc; i++) {
    json_error_t why;
    json_t *rows = json_load_file(argv[i], 0, &why), *json;
    size_t n;
    if (!json_is_array(rows)) {
      printf("FAILED %s:%d: %s\n", argv[i], why.line, why.text);
      failed++;
    }
    json_array_foreach(rows, n, json) {
      row r = {.json = json};
      const char *name = json_string_value(json_object_get(json, "name"));
      row_broken = 0;
      pthread_mutex_init(&r.source.lock, NULL);
      play_row(&r);
      kamacache_group_free(r.group);
      kamacache_node_free(r.node);
      pthread_mutex_destroy(&r.source.lock);
      if (row_broken) failed++; else passed++;
      printf("%s %s\n", row_broken ? "FAILED" : "ok", name);
    }
    json_decref(rows);
  }
  if (passed + failed == 0) {
    puts("FAILED: no rows");
    failed++;
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
