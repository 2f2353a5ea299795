/*
 * The scores node's console: one command a line on stdin, one JSON line as reply.
 *
 *   scores [--listen ADDR --peers A,B,C] [--admin ADDR] --db FILE [--log FILE]
 *
 * Commands run on a thread of their own, so that the node serves its peers and
 * heeds SIGTERM whatever a command is waiting for.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "scores.h"

enum { MAX_PEERS = 64, MAX_BURST = 1000 };

static scores *app;

/* ---- replies ---- */

static char *quoted(const void *text, size_t len) {
  size_t cap = len * 6 + 16;
  char *buf = malloc(cap);
  json_quote(buf, cap, text, len);
  return buf;
}

static void reply_failure(const char *code, const char *message) {
  char *text = quoted(message, strlen(message));
  printf("{\"ok\":false,\"code\":\"%s\",\"message\":%s}\n", code, text);
  free(text);
}

/* Prints ok, or the error, which it frees. Returns whether it was ok. */
static int reply_status(kamacache_status status, kamacache_error *err) {
  if (status == KAMACACHE_OK) {
    puts("{\"ok\":true}");
  } else {
    reply_failure(kamacache_status_name(status), kamacache_error_message(err));
  }
  kamacache_error_free(err);
  return status == KAMACACHE_OK;
}

static void reply_text(const char *field, const char *text, size_t len) {
  char *value = quoted(text, len);
  printf("{\"ok\":true,\"%s\":%s}\n", field, value);
  free(value);
}

static void reply_value(kamacache_value *value) {
  reply_text("value", (const char *)kamacache_value_data(value), kamacache_value_len(value));
  kamacache_value_release(value);
}

/* Turns "a<separator>b" into the elements of a JSON array. */
static void print_list(char *list, const char *separator) {
  char *rest = NULL;
  const char *comma = "";
  for (char *item = strtok_r(list, separator, &rest); item != NULL; item = strtok_r(NULL, separator, &rest)) {
    char *text = quoted(item, strlen(item));
    printf("%s%s", comma, text);
    free(text);
    comma = ",";
  }
}

/* ---- commands: rest is what follows the command's name ---- */

static void cmd_get(char *key) {
  kamacache_value *value;
  kamacache_error *err;
  kamacache_status status = kamacache_group_get(scores_group(app), key, strlen(key), 0, &value, &err);
  if (status == KAMACACHE_OK) {
    reply_value(value);
  } else {
    reply_status(status, err);
  }
}

static void cmd_set(char *rest) {
  char *value = strchr(rest, ' ');
  if (value == NULL) {
    reply_failure("INVALID_ARGUMENT", "set needs a key and a value");
    return;
  }
  *value++ = '\0';
  kamacache_error *err;
  kamacache_status status = kamacache_group_set(scores_group(app), rest, strlen(rest), value, strlen(value), 0, 0, &err);
  reply_status(status, err);
}

static void cmd_delete(char *key) {
  kamacache_error *err;
  kamacache_status status = kamacache_group_delete(scores_group(app), key, strlen(key), 0, &err);
  reply_status(status, err);
}

static void cmd_peek(char *key) {
  kamacache_value *value;
  kamacache_status status = kamacache_group_peek(scores_group(app), key, strlen(key), &value);
  if (status == KAMACACHE_OK) {
    reply_value(value);
  } else if (status == KAMACACHE_NOT_FOUND) {
    puts("{\"ok\":true,\"value\":null}");
  } else {
    reply_failure(kamacache_status_name(status), "the key cannot be looked up");
  }
}

static void cmd_owner(char *key) {
  char owner[256];
  size_t len;
  kamacache_status status = kamacache_node_owner(scores_node(app), key, strlen(key), owner, sizeof owner, &len);
  if (status == KAMACACHE_OK) {
    reply_text("owner", owner, len);
  } else {
    reply_failure(kamacache_status_name(status), "no owner");
  }
}

static void cmd_members(char *rest) {
  (void)rest;
  size_t len;
  kamacache_error *err;
  kamacache_node_members(scores_node(app), NULL, 0, &len, NULL); /* asks for the length */
  char *members = malloc(len + 1);
  kamacache_status status = kamacache_node_members(scores_node(app), members, len + 1, &len, &err);
  if (status == KAMACACHE_OK) {
    printf("{\"ok\":true,\"members\":[");
    print_list(members, "\n");
    puts("]}");
  } else {
    reply_status(status, err);
  }
  free(members);
}

static size_t split(char *list, const char **items) {
  size_t n = 0;
  char *rest = NULL;
  for (char *item = strtok_r(list, ",", &rest); item != NULL && n < MAX_PEERS; item = strtok_r(NULL, ",", &rest)) {
    items[n++] = item;
  }
  return n;
}

static void cmd_peers(char *list) {
  const char *peers[MAX_PEERS];
  kamacache_error *err;
  size_t n = split(list, peers);
  kamacache_status status = kamacache_node_set_peers(scores_node(app), peers, n, &err);
  reply_status(status, err);
}

static void cmd_stats(char *rest) {
  (void)rest;
#define FIELDS(X)                                                                                                      \
  X(gets) X(hits) X(hot_hits) X(stale_hits) X(negative_hits) X(loaded) X(load_joined) X(fetched) X(fetch_joined)       \
  X(fallbacks) X(not_found) X(failed) X(in_progress) X(peer_gets) X(peer_hits) X(peer_stale_hits)                      \
  X(peer_negative_hits) X(peer_loaded) X(peer_load_joined) X(peer_not_found) X(peer_failed) X(loads) X(load_errors)    \
  X(stuck_loads) X(fetches) X(fetch_errors) X(refreshes) X(sets) X(deletes) X(clears) X(invalidations) X(evictions)    \
  X(expirations) X(entries) X(hot_entries) X(bytes) X(hot_bytes)
  kamacache_stats s;
  s.struct_size = sizeof s;
  kamacache_status status = kamacache_group_stats(scores_group(app), &s);
  if (status != KAMACACHE_OK) {
    reply_failure(kamacache_status_name(status), "no stats");
    return;
  }
  printf("{\"ok\":true,\"stats\":{");
#define PRINT(field) printf("\"%s\":%llu,", #field, (unsigned long long)s.field);
  FIELDS(PRINT)
  printf("\"max_bytes\":%llu}}\n", (unsigned long long)s.max_bytes);
}

/* One of many gets at the same time. */
typedef struct burst {
  pthread_t thread;
  const char *key;
  kamacache_status status;
  kamacache_value *value;
  kamacache_error *err;
} burst;

static void *burst_get(void *arg) {
  burst *b = arg;
  b->status = kamacache_group_get(scores_group(app), b->key, strlen(b->key), 0, &b->value, &b->err);
  return NULL;
}

static int same_value(const burst *a, const burst *b) {
  size_t len = kamacache_value_len(a->value);
  return len == kamacache_value_len(b->value) && memcmp(kamacache_value_data(a->value), kamacache_value_data(b->value), len) == 0;
}

static void print_distinct(const burst *gets, int n) {
  for (int i = 0; i < n; i++) {
    int seen = 0;
    for (int j = 0; j < i && !seen; j++) seen = same_value(&gets[j], &gets[i]);
    if (seen) continue;
    char *text = quoted(kamacache_value_data(gets[i].value), kamacache_value_len(gets[i].value));
    printf("%s%s", i == 0 ? "" : ",", text);
    free(text);
  }
}

static void cmd_burst(char *rest) {
  char *key;
  long n = strtol(rest, &key, 10);
  if (n < 1 || n > MAX_BURST || *key != ' ') {
    reply_failure("INVALID_ARGUMENT", "burst needs a number from 1 to 1000 and a key");
    return;
  }
  burst *gets = calloc((size_t)n, sizeof *gets);
  const burst *failure = NULL;
  for (int i = 0; i < n; i++) {
    gets[i].key = key + 1;
    if (pthread_create(&gets[i].thread, NULL, burst_get, &gets[i]) != 0) {
      perror("scores: thread");
      exit(1);
    }
  }
  for (int i = 0; i < n; i++) pthread_join(gets[i].thread, NULL);
  for (int i = 0; i < n && failure == NULL; i++) {
    if (gets[i].status != KAMACACHE_OK) failure = &gets[i];
  }
  if (failure == NULL) {
    printf("{\"ok\":true,\"n\":%ld,\"values\":[", n);
    print_distinct(gets, (int)n);
    puts("]}");
  } else {
    reply_failure(kamacache_status_name(failure->status), kamacache_error_message(failure->err));
  }
  for (int i = 0; i < n; i++) {
    kamacache_value_release(gets[i].value);
    kamacache_error_free(gets[i].err);
  }
  free(gets);
}

static const struct {
  const char *name;
  void (*run)(char *rest);
} commands[] = {
    {"get", cmd_get},     {"set", cmd_set},         {"delete", cmd_delete}, {"peek", cmd_peek},   {"burst", cmd_burst},
    {"owner", cmd_owner}, {"members", cmd_members}, {"peers", cmd_peers},   {"stats", cmd_stats},
};

static void obey(char *line) {
  char *rest = line + strcspn(line, " ");
  if (*rest != '\0') *rest++ = '\0';
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    if (strcmp(line, commands[i].name) == 0) {
      commands[i].run(rest);
      return;
    }
  }
  reply_failure("INVALID_ARGUMENT", "unknown command: get set delete peek burst owner members peers stats quit");
}

static void *console(void *unused) {
  char *line = NULL;
  size_t cap = 0;
  while (getline(&line, &cap, stdin) != -1) {
    line[strcspn(line, "\r\n")] = '\0';
    if (strcmp(line, "quit") == 0) {
      reply_status(KAMACACHE_OK, NULL);
      fflush(stdout);
      kill(getpid(), SIGTERM); /* the same way out as from outside */
      break;
    }
    obey(line);
    fflush(stdout);
  }
  free(line);
  return unused;
}

static int usage(void) {
  fputs("usage: scores [--listen ADDR --peers A,B,C] [--admin ADDR] --db FILE [--log FILE]\n", stderr);
  return 2;
}

int main(int argc, char **argv) {
  const char *listen = NULL, *admin = NULL, *db = NULL, *log = NULL, *peers[MAX_PEERS];
  size_t peers_len = 0;
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc) return usage();
    if (strcmp(argv[i], "--listen") == 0) listen = argv[i + 1];
    else if (strcmp(argv[i], "--admin") == 0) admin = argv[i + 1];
    else if (strcmp(argv[i], "--db") == 0) db = argv[i + 1];
    else if (strcmp(argv[i], "--log") == 0) log = argv[i + 1];
    else if (strcmp(argv[i], "--peers") == 0) peers_len = split(argv[i + 1], peers);
    else return usage();
  }
  if (db == NULL) return usage();

  /* Blocked in every thread, taken by the sigwait below. */
  sigset_t stop;
  int taken;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop, NULL);

  app = scores_open(listen, peers, peers_len, admin, db, log);
  if (app == NULL) return 1;
  printf("{\"ready\":true,\"address\":\"%s\"}\n", scores_address(app));
  fflush(stdout);

  pthread_t thread;
  if (pthread_create(&thread, NULL, console, NULL) != 0) return 1;
  pthread_detach(thread);
  sigwait(&stop, &taken);
  kamacache_node_close(scores_node(app), 5000, NULL);
  return 0; /* the console may still hold the rest */
}
