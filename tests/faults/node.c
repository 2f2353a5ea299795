/*
 * A node of the fault suite in C; what it does is told in node.py, how it is
 * driven in README.md. Threads make the load, the first thread waits for SIGTERM.
 *
 * Invariant: an operation is on record, as one JSON line written at once, before
 * its outcome is used.
 */
#include <fcntl.h>
#include <kamacache.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_PEERS = 64, MAX_LOOPS = 64, KEY = 24, VALUE = 64, GET_MS = 2500, WRITE_MS = 3000 };

static kamacache_node *node;
static kamacache_group *group;
static int source, ops, keys;
static size_t pad; /* bytes after "VERSION KEY " */
static FILE *messages;

static long long microseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void pause_ms(double ms) {
  struct timespec time = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(fmod(ms, 1000) * 1e6)};
  nanosleep(&time, NULL);
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void record(const char *op, int key, long long at, const char *outcome, long long version) {
  char line[200];
  int len = snprintf(line, sizeof line, "{\"op\":\"%s\",\"key\":%d,\"at\":%lld,\"took\":%lld,\"outcome\":\"%s\",\"version\":%lld}\n", op, key,
                     at, microseconds() - at, outcome, version);
  if (write(ops, line, (size_t)len) != len) die("node.c: ops");
}

/* ---- the data source: the version of each key ---- */

static long long version_of(int key) {
  int64_t version;
  if (pread(source, &version, sizeof version, key * 8L) != sizeof version) die("node.c: source");
  return version;
}

static long long raise_version(int key) {
  int64_t version = version_of(key) + 1;
  if (pwrite(source, &version, sizeof version, key * 8L) != sizeof version) die("node.c: source");
  return version;
}

/* The caller's to free. */
static char *value_of(long long version, const char *key, size_t *len) {
  char *value = malloc(VALUE + pad);
  if (value == NULL) die("node.c: value");
  *len = (size_t)snprintf(value, VALUE, "%lld %s ", version, key);
  memset(value + *len, 'x', pad);
  *len += pad;
  return value;
}

static void load(void *unused, const kamacache_load_info *info, kamacache_load *token) {
  long long at = microseconds();
  int key = atoi(info->key + 1);
  long long version = version_of(key);
  size_t len;
  (void)unused;
  char *value = value_of(version, info->key, &len);
  record("load", key, at, "OK", version);
  kamacache_load_complete(token, value, len, 0);
  free(value);
}

/* ---- operations ---- */

static kamacache_status get(int number) {
  char key[KEY], text[VALUE] = "", whose[KEY] = "";
  long long version = -1, at = microseconds();
  kamacache_value *value;
  snprintf(key, sizeof key, "k%d", number);
  kamacache_status status = kamacache_group_get(group, key, strlen(key), GET_MS, &value, NULL);
  const char *outcome = kamacache_status_name(status);
  if (status == KAMACACHE_OK) {
    size_t len = kamacache_value_len(value);
    memcpy(text, kamacache_value_data(value), len < VALUE ? len : VALUE - 1);
    if (sscanf(text, "%lld %23s", &version, whose) != 2 || strcmp(whose, key) != 0) outcome = "WRONG_VALUE";
    kamacache_value_release(value);
  }
  record("get", number, at, outcome, version);
  return status;
}

static kamacache_status change(int number, int deletes) {
  char key[KEY];
  size_t len;
  snprintf(key, sizeof key, "k%d", number);
  long long version = raise_version(number);
  char *value = value_of(version, key, &len);
  long long at = microseconds();
  kamacache_status status = deletes ? kamacache_group_delete(group, key, strlen(key), WRITE_MS, NULL)
                                    : kamacache_group_set(group, key, strlen(key), value, len, 0, WRITE_MS, NULL);
  free(value);
  record(deletes ? "delete" : "set", number, at, kamacache_status_name(status), version);
  return status;
}

/* ---- load ---- */

typedef struct loop {
  pthread_t thread;
  unsigned long long random;
  double pause;
  int part, parts;
} loop;

static loop loops[MAX_LOOPS];
static int loop_count;
static atomic_int going;
static double *weights;

static double below_one(loop *l) {
  l->random = l->random * 6364136223846793005ULL + 1442695040888963407ULL;
  return (double)(l->random >> 11) / (double)(1ULL << 53);
}

static void *read_on(void *arg) {
  loop *l = arg;
  while (going) {
    double wanted = below_one(l) * weights[keys - 1];
    int low = 0, high = keys - 1;
    while (low < high) {
      int middle = (low + high) / 2;
      if (weights[middle] < wanted) low = middle + 1;
      else high = middle;
    }
    if (get(low) == KAMACACHE_CLOSED) break;
    pause_ms(l->pause);
  }
  return NULL;
}

static void *write_on(void *arg) {
  loop *l = arg;
  int own = (keys - l->part + l->parts - 1) / l->parts;
  while (going) {
    int number = l->part + l->parts * (int)(below_one(l) * own);
    if (change(number, below_one(l) < 0.5) == KAMACACHE_CLOSED) break;
    pause_ms(l->pause);
  }
  return NULL;
}

static void begin(void *(*run)(void *), loop what) {
  if (loop_count == MAX_LOOPS) die("node.c: too many loops");
  loop *l = &loops[loop_count++];
  *l = what;
  if (pthread_create(&l->thread, NULL, run, l) != 0) die("node.c: thread");
}

/* ---- commands: they print the fields of the reply after "ok" ---- */

static kamacache_status command_load(char *rest) {
  unsigned long long seed;
  int readers, part, parts;
  double pause, writes;
  if (sscanf(rest, "%llu %d %lf %lf %d %d", &seed, &readers, &pause, &writes, &part, &parts) != 6) return KAMACACHE_INVALID_ARGUMENT;
  going = 1;
  for (int i = 0; i < readers; i++) begin(read_on, (loop){.random = seed * 31 + (unsigned)i, .pause = pause});
  if (writes > 0) begin(write_on, (loop){.random = seed * 37, .pause = 1000 / writes, .part = part, .parts = parts});
  return KAMACACHE_OK;
}

static kamacache_status command_rest(char *rest) {
  (void)rest;
  going = 0;
  while (loop_count > 0) pthread_join(loops[--loop_count].thread, NULL);
  return KAMACACHE_OK;
}

static kamacache_status command_sweep(char *rest) {
  (void)rest;
  for (int number = 0; number < keys; number++) get(number);
  return KAMACACHE_OK;
}

static kamacache_status command_touch(char *rest) {
  int part, parts;
  if (sscanf(rest, "%d %d", &part, &parts) != 2) return KAMACACHE_INVALID_ARGUMENT;
  for (int number = part; number < keys; number += parts) change(number, 0);
  return KAMACACHE_OK;
}

static kamacache_status command_clear(char *rest) {
  int part, parts;
  if (sscanf(rest, "%d %d", &part, &parts) != 2) return KAMACACHE_INVALID_ARGUMENT;
  long long *versions = calloc((size_t)keys, sizeof *versions);
  for (int number = part; number < keys; number += parts) versions[number] = raise_version(number);
  long long at = microseconds();
  kamacache_status status = kamacache_group_clear(group, WRITE_MS, NULL);
  for (int number = part; number < keys; number += parts) record("delete", number, at, kamacache_status_name(status), versions[number]);
  free(versions);
  return KAMACACHE_OK;
}

static size_t split(char *list, const char **items) {
  size_t n = 0;
  char *rest = NULL;
  for (char *item = strtok_r(list, ",", &rest); item != NULL && n < MAX_PEERS; item = strtok_r(NULL, ",", &rest)) items[n++] = item;
  return n;
}

static kamacache_status command_peers(char *list) {
  const char *peers[MAX_PEERS];
  size_t n = split(list, peers);
  return kamacache_node_set_peers(node, peers, n, NULL);
}

static kamacache_status command_members(char *rest) {
  size_t len;
  (void)rest;
  kamacache_node_members(node, NULL, 0, &len, NULL); /* asks for the length */
  char *members = malloc(len + 1), *more = NULL;
  kamacache_status status = kamacache_node_members(node, members, len + 1, &len, NULL);
  printf(",\"members\":[");
  const char *comma = "";
  for (char *item = strtok_r(members, "\n", &more); status == KAMACACHE_OK && item != NULL; item = strtok_r(NULL, "\n", &more)) {
    printf("%s\"%s\"", comma, item);
    comma = ",";
  }
  printf("]");
  free(members);
  return status;
}

static kamacache_status command_owners(char *rest) {
  (void)rest;
  printf(",\"owners\":[");
  for (int number = 0; number < keys; number++) {
    char key[KEY], owner[256] = "";
    size_t len;
    snprintf(key, sizeof key, "k%d", number);
    kamacache_node_owner(node, key, strlen(key), owner, sizeof owner, &len);
    printf("%s\"%s\"", number == 0 ? "" : ",", owner);
  }
  printf("]");
  return KAMACACHE_OK;
}

static kamacache_status command_stats(char *rest) {
#define FIELDS(X)                                                                                                      \
  X(hits) X(hot_hits) X(stale_hits) X(negative_hits) X(loaded) X(load_joined) X(fetched) X(fetch_joined)               \
  X(fallbacks) X(not_found) X(failed) X(in_progress) X(peer_gets) X(peer_hits) X(peer_stale_hits)                      \
  X(peer_negative_hits) X(peer_loaded) X(peer_load_joined) X(peer_not_found) X(peer_failed) X(loads) X(load_errors)    \
  X(stuck_loads) X(fetches) X(fetch_errors) X(invalidations) X(evictions) X(entries) X(bytes)
  (void)rest;
  kamacache_stats s = {.struct_size = sizeof s};
  kamacache_status status = kamacache_group_stats(group, &s);
  printf(",\"stats\":{");
#define PRINT(field) printf("\"%s\":%llu,", #field, (unsigned long long)s.field);
  FIELDS(PRINT)
  printf("\"gets\":%llu}", (unsigned long long)s.gets);
  return status;
}

static const struct {
  const char *name;
  kamacache_status (*run)(char *rest);
} commands[] = {
    {"load", command_load},   {"rest", command_rest},       {"sweep", command_sweep},   {"touch", command_touch},
    {"clear", command_clear}, {"peers", command_peers},     {"members", command_members}, {"owners", command_owners},
    {"stats", command_stats},
};

static void obey(char *line) {
  char *rest = line + strcspn(line, " ");
  if (*rest != '\0') *rest++ = '\0';
  kamacache_status status = KAMACACHE_INVALID_ARGUMENT;
  printf("{\"command\":\"%s\"", line);
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    if (strcmp(line, commands[i].name) == 0) status = commands[i].run(rest);
  }
  printf(",\"ok\":%s,\"code\":\"%s\"}\n", status == KAMACACHE_OK ? "true" : "false", kamacache_status_name(status));
  fflush(stdout);
}

static void *console(void *unused) {
  char *line = NULL;
  size_t cap = 0;
  while (getline(&line, &cap, stdin) != -1) {
    line[strcspn(line, "\r\n")] = '\0';
    obey(line);
  }
  free(line);
  return unused;
}

static void log_message(void *file, int32_t level, const char *target, const char *message) {
  fprintf(file, "%d %s: %s\n", level, target, message);
  fflush(file); /* a full disk: a program may do without its log */
}

static void check(kamacache_error *err) {
  if (err == NULL) return;
  fprintf(stderr, "node.c: %s: %s\n", kamacache_status_name(kamacache_error_code(err)), kamacache_error_message(err));
  exit(1);
}

static void open_group(unsigned long long max_bytes) {
  kamacache_group_options options;
  kamacache_error *err;
  kamacache_group_options_init(&options);
  options.max_bytes = max_bytes;
  options.hot_ttl_ms = 2000;
  options.getter = load;
  kamacache_group_open(node, "faults", &options, &group, &err);
  check(err);
}

static void open_files(const char *source_path, const char *ops_path, const char *log_path) {
  struct stat about;
  source = open(source_path, O_RDWR);
  ops = open(ops_path, O_WRONLY | O_CREAT | O_APPEND, 0644);
  messages = fopen(log_path, "a");
  if (source < 0 || ops < 0 || messages == NULL || fstat(source, &about) != 0) die("node.c: files");
  keys = (int)(about.st_size / 8);
  weights = calloc((size_t)keys, sizeof *weights);
  double sum = 0;
  for (int i = 0; i < keys; i++) weights[i] = sum += pow(i + 1, -0.99);
  kamacache_set_logger(KAMACACHE_LOG_DEBUG, log_message, messages, NULL);
}

int main(int argc, char **argv) {
  const char *source_path = "", *ops_path = "", *log_path = "", *peers[MAX_PEERS];
  unsigned long long max_bytes = 16 << 20;
  kamacache_node_options options;
  kamacache_error *err;
  char address[256], admin[256];
  size_t len;

  kamacache_node_options_init(&options);
  options.getter_threads = 4;
  options.admin_listen = "127.0.0.1:0";
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--listen") == 0) options.listen = argv[i + 1];
    else if (strcmp(argv[i], "--advertise") == 0) options.advertise = argv[i + 1];
    else if (strcmp(argv[i], "--discovery") == 0) options.discovery = argv[i + 1];
    else if (strcmp(argv[i], "--peers") == 0) options.peers_len = split(argv[i + 1], peers);
    else if (strcmp(argv[i], "--max-bytes") == 0) max_bytes = strtoull(argv[i + 1], NULL, 10);
    else if (strcmp(argv[i], "--pad") == 0) pad = strtoull(argv[i + 1], NULL, 10);
    else if (strcmp(argv[i], "--source") == 0) source_path = argv[i + 1];
    else if (strcmp(argv[i], "--ops") == 0) ops_path = argv[i + 1];
    else if (strcmp(argv[i], "--log") == 0) log_path = argv[i + 1];
  }
  if (options.peers_len > 0) options.peers = peers;

  sigset_t stop;
  int taken;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop, NULL);

  open_files(source_path, ops_path, log_path);
  kamacache_node_open(&options, &node, &err);
  check(err);
  open_group(max_bytes);
  kamacache_node_address(node, address, sizeof address, &len);
  kamacache_node_admin_address(node, admin, sizeof admin, &len);
  printf("{\"ready\":true,\"address\":\"%s\",\"admin\":\"%s\"}\n", address, admin);
  fflush(stdout);

  pthread_t thread;
  if (pthread_create(&thread, NULL, console, NULL) != 0) die("node.c: thread");
  pthread_detach(thread);
  sigwait(&stop, &taken);
  kamacache_node_close(node, 5000, NULL);
  return 0; /* loops and console may still hold the rest */
}
