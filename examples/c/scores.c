/*
 * A node of a cluster that caches the scores of a SQLite table. The whole use of
 * kamacache is in this file: a getter, and opening and closing a node and a group.
 */
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "json.h"
#include "scores.h"

struct scores {
  kamacache_node *node;
  kamacache_group *group;
  sqlite3 *db; /* opened FULLMUTEX: getters run on several threads */
  int log;
  char address[64];
};

/* One line for each getter call, in one write, so that lines of several nodes do not mix. */
static void log_load(scores *s, const char *key) {
  struct timespec now;
  char quoted[512], line[1024];
  clock_gettime(CLOCK_REALTIME, &now);
  json_quote(quoted, sizeof quoted, key, strlen(key));
  int len = snprintf(line, sizeof line, "{\"node\":\"c\",\"address\":\"%s\",\"key\":%s,\"time_ms\":%lld}\n", s->address, quoted,
                     (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000);
  if (s->log >= 0 && write(s->log, line, (size_t)len) != len) perror("scores: log");
}

/* Called when a key of this node is in no cache. It answers the load exactly once. */
static void load_score(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  scores *s = user_data;
  sqlite3_stmt *query = NULL;
  log_load(s, info->key);
  int rc = sqlite3_prepare_v2(s->db, "SELECT CAST(score AS TEXT) FROM scores WHERE name = ?", -1, &query, NULL);
  if (rc == SQLITE_OK) {
    sqlite3_bind_text(query, 1, info->key, (int)info->key_len, SQLITE_STATIC);
    rc = sqlite3_step(query);
  }
  if (rc == SQLITE_ROW) {
    /* The bytes are copied; ttl 0 is the group's. */
    kamacache_load_complete(load, sqlite3_column_text(query, 0), (size_t)sqlite3_column_bytes(query, 0), 0);
  } else if (rc == SQLITE_DONE) {
    kamacache_load_not_found(load);
  } else {
    kamacache_load_fail(load, rc, sqlite3_errmsg(s->db));
  }
  sqlite3_finalize(query);
}

static int failed(kamacache_error *err) {
  if (err == NULL) return 0;
  fprintf(stderr, "scores: %s: %s\n", kamacache_status_name(kamacache_error_code(err)), kamacache_error_message(err));
  kamacache_error_free(err);
  return 1;
}

scores *scores_open(const char *listen, const char *const *peers, size_t peers_len, const char *admin, const char *db, const char *log) {
  scores *s = calloc(1, sizeof *s);
  size_t len;
  kamacache_error *err;

  s->log = log == NULL ? -1 : open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
  if ((log != NULL && s->log < 0) || sqlite3_open_v2(db, &s->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_FULLMUTEX, NULL) != SQLITE_OK) {
    fprintf(stderr, "scores: cannot open %s\n", log != NULL && s->log < 0 ? log : db);
    goto fail;
  }

  kamacache_node_options node;
  kamacache_node_options_init(&node);
  node.listen = listen;
  node.peers = peers;
  node.peers_len = peers_len;
  node.admin_listen = admin;
  kamacache_node_open(&node, &s->node, &err);
  if (failed(err)) goto fail;
  kamacache_node_address(s->node, s->address, sizeof s->address, &len);

  kamacache_group_options group;
  kamacache_group_options_init(&group);
  group.max_bytes = 64 << 20; /* the one option without a default */
  group.getter = load_score;
  group.user_data = s;
  kamacache_group_open(s->node, "scores", &group, &s->group, &err);
  if (failed(err)) goto fail;
  return s;

fail:
  scores_close(s);
  return NULL;
}

void scores_close(scores *s) {
  kamacache_error *err = NULL;
  /* After this no getter runs, so what the getter uses can go. */
  if (s->node != NULL) kamacache_node_close(s->node, 5000, &err);
  if (failed(err)) return;
  kamacache_group_free(s->group);
  kamacache_node_free(s->node);
  sqlite3_close(s->db);
  if (s->log >= 0) close(s->log);
  free(s);
}

kamacache_node *scores_node(scores *s) { return s->node; }
kamacache_group *scores_group(scores *s) { return s->group; }
const char *scores_address(scores *s) { return s->address; }
