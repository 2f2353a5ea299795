/*
 * Exactly once, under random cancels, timeouts, closes, queue ends and the death
 * of a peer:
 *   stress [OPERATIONS [SEED]]
 * Rounds of random operations on two nodes, which share a ring with a third in a
 * process of its own. In the middle of each round the third is killed and one of
 * the two is closed, in random order. Every operation that was begun has given one
 * callback by the end of its round, every user data was freed once.
 */
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

enum { THREADS = 4, KEYS = 64, SHORT_ROUND = 2000, LONG_ROUND = 20000, NODES = 3 };

typedef struct tally {
  long begun, ended; /* atomic */
} tally;

typedef struct side {
  kamacache_node *node;
  kamacache_group *group;
  kamacache_queue *queue;
  int freed;
} side;

static side sides[2];
static tally total;

static uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/* Each operation's user data is a flag of its own: a second callback is seen. */
static void ended_once(void *flag) {
  if (__atomic_exchange_n((int *)flag, 1, __ATOMIC_RELAXED) != 0) {
    printf("  a second callback\n");
    abort();
  }
  free(flag);
  __atomic_add_fetch(&total.ended, 1, __ATOMIC_RELAXED);
}

static void on_get(void *user_data, kamacache_status status, kamacache_value *value, kamacache_error *error) {
  if ((status == KAMACACHE_OK) != (value != NULL) || (status == KAMACACHE_OK) != (error == NULL)) abort();
  kamacache_value_release(value);
  kamacache_error_free(error);
  ended_once(user_data);
}

static void on_done(void *user_data, kamacache_status status, kamacache_error *error) {
  if ((status == KAMACACHE_OK) != (error == NULL)) abort();
  kamacache_error_free(error);
  ended_once(user_data);
}

static void side_freed(void *user_data) { ((side *)user_data)->freed++; }

static void side_getter(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  (void)user_data;
  switch (info->key[info->key_len - 1] % 4) {
    case 0: kamacache_load_not_found(load); break;
    case 1: kamacache_load_fail(load, 1, "no"); break;
    default: kamacache_load_complete(load, info->key, info->key_len, 0);
  }
}

static void side_open(side *s) {
  memset(s, 0, sizeof *s);
  kamacache_node_options node;
  kamacache_node_options_init(&node);
  node.listen = "127.0.0.1:0";
  CHECK_STATUS(kamacache_node_open(&node, &s->node, NULL), KAMACACHE_OK);
  kamacache_group_options group;
  kamacache_group_options_init(&group);
  group.max_bytes = 1 << 20;
  group.getter = side_getter;
  group.user_data = s;
  group.free_user_data = side_freed;
  CHECK_STATUS(kamacache_group_open(s->node, "g", &group, &s->group, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_queue_new(&s->queue, NULL), KAMACACHE_OK);
}

/* ---- the third node: this program again, as "stress --peer" ---- */

extern char **environ;

typedef struct peer {
  pid_t pid;
  int to; /* its stdin: the members' addresses, and its end is the peer's */
  char address[64];
} peer;

static int serve_as_peer(void) {
  side s;
  char lines[NODES][64];
  const char *peers[NODES];
  char address[64];
  size_t len;
  side_open(&s);
  CHECK_STATUS(kamacache_node_address(s.node, address, sizeof address, &len), KAMACACHE_OK);
  printf("%s\n", address);
  fflush(stdout);
  for (int i = 0; i < NODES; i++) {
    if (fgets(lines[i], sizeof lines[i], stdin) == NULL) return 1;
    lines[i][strcspn(lines[i], "\n")] = '\0';
    peers[i] = lines[i];
  }
  CHECK_STATUS(kamacache_node_set_peers(s.node, peers, NODES, NULL), KAMACACHE_OK);
  puts("ready");
  fflush(stdout);
  for (;;) pause(); /* until killed */
}

/* Reads one line of the peer's, byte by byte: it says two in all. */
static void read_line(int fd, char *line, size_t cap) {
  size_t len = 0;
  while (len + 1 < cap && read(fd, line + len, 1) == 1 && line[len] != '\n') len++;
  line[len] = '\0';
}

static int start_peer(peer *p) {
  int to[2], from[2];
  char *argv[] = {(char *)"stress", (char *)"--peer", NULL};
  posix_spawn_file_actions_t actions;
  CHECK(pipe(to) == 0 && pipe(from) == 0);
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, to[0], 0);
  posix_spawn_file_actions_adddup2(&actions, from[1], 1);
  posix_spawn_file_actions_addclose(&actions, to[1]);
  /* Not /proc/self/exe, which under valgrind is valgrind. */
  CHECK(posix_spawn(&p->pid, program_invocation_name, &actions, NULL, argv, environ) == 0);
  posix_spawn_file_actions_destroy(&actions);
  close(to[0]);
  close(from[1]);
  p->to = to[1];
  read_line(from[0], p->address, sizeof p->address);
  CHECK(p->address[0] != '\0');
  return from[0];
}

static void tell_peer(peer *p, const char *const *peers, int from) {
  char line[128];
  for (int i = 0; i < NODES; i++) {
    int len = snprintf(line, sizeof line, "%s\n", peers[i]);
    CHECK(write(p->to, line, (size_t)len) == len);
  }
  read_line(from, line, sizeof line);
  CHECK(strcmp(line, "ready") == 0);
  close(from);
}

static void kill_peer(peer *p) {
  kill(p->pid, SIGKILL);
  waitpid(p->pid, NULL, 0);
  close(p->to);
}

/* ---- operations ---- */

/* When this many operations of the round have begun, it is time for the next blow. */
static long started, cues[2];
static sem_t cue;

static void operate(uint64_t *random) {
  long nth = __atomic_add_fetch(&started, 1, __ATOMIC_RELAXED);
  if (nth == cues[0] || nth == cues[1]) sem_post(&cue);
  side *s = &sides[next_random(random) % 2];
  char key[8];
  uint64_t op = 0, timeout = next_random(random) % 8 == 0 ? 1 : 2000;
  snprintf(key, sizeof key, "k%d", (int)(next_random(random) % KEYS));
  int *flag = (int *)calloc(1, sizeof *flag);
  kamacache_queue *queue = next_random(random) % 2 ? s->queue : NULL;
  kamacache_status status;
  __atomic_add_fetch(&total.begun, 1, __ATOMIC_RELAXED);
  switch (next_random(random) % 8) {
    case 0: status = kamacache_group_set_async(s->group, queue, key, strlen(key), key, strlen(key), 0, timeout, on_done, flag, &op, NULL); break;
    case 1: status = kamacache_group_delete_async(s->group, queue, key, strlen(key), timeout, on_done, flag, &op, NULL); break;
    case 2: case 3: case 4:
      status = kamacache_group_get_queued(s->group, s->queue, key, strlen(key), timeout, on_get, flag, &op, NULL); break;
    default: status = kamacache_group_get_async(s->group, key, strlen(key), timeout, on_get, flag, &op, NULL);
  }
  if (status != KAMACACHE_OK) { /* refused: no callback */
    free(flag);
    __atomic_sub_fetch(&total.begun, 1, __ATOMIC_RELAXED);
    if (op != 0 || (status != KAMACACHE_CLOSED && status != KAMACACHE_OVERLOADED)) abort();
  } else if (next_random(random) % 4 == 0) {
    kamacache_cancel(op);
  }
}

typedef struct worker {
  pthread_t thread;
  uint64_t random;
  int operations;
} worker;

static void *work(void *arg) {
  worker *w = (worker *)arg;
  for (int i = 0; i < w->operations; i++) operate(&w->random);
  return NULL;
}

static void *dispatch(void *stop) {
  while (!__atomic_load_n((int *)stop, __ATOMIC_RELAXED)) {
    struct pollfd fds[2] = {{kamacache_queue_fd(sides[0].queue), POLLIN, 0}, {kamacache_queue_fd(sides[1].queue), POLLIN, 0}};
    poll(fds, 2, 10);
    for (int i = 0; i < 2; i++) kamacache_queue_dispatch(sides[i].queue, 100);
  }
  return NULL;
}

static void play_round(uint64_t *random, int operations) {
  worker workers[THREADS];
  pthread_t dispatcher;
  int stop = 0;
  char addresses[2][64];
  size_t len;
  peer third;
  int from = start_peer(&third);
  for (int i = 0; i < 2; i++) {
    side_open(&sides[i]);
    CHECK_STATUS(kamacache_node_address(sides[i].node, addresses[i], 64, &len), KAMACACHE_OK);
  }
  const char *peers[NODES] = {addresses[0], addresses[1], third.address};
  for (int i = 0; i < 2; i++) CHECK_STATUS(kamacache_node_set_peers(sides[i].node, peers, NODES, NULL), KAMACACHE_OK);
  tell_peer(&third, peers, from);
  kamacache_node *closed = sides[next_random(random) % 2].node;
  started = 0;
  cues[0] = 1 + (long)(next_random(random) % (uint64_t)operations);
  cues[1] = 1 + (cues[0] + (long)(next_random(random) % (uint64_t)(operations - 1))) % operations; /* another one */
  sem_init(&cue, 0, 0);
  pthread_create(&dispatcher, NULL, dispatch, &stop);
  for (int i = 0; i < THREADS; i++) {
    workers[i].random = next_random(random);
    workers[i].operations = operations / THREADS;
    pthread_create(&workers[i].thread, NULL, work, &workers[i]);
  }
  int killed_first = next_random(random) % 2 == 0;
  sem_wait(&cue);
  if (killed_first) kill_peer(&third);
  else kamacache_node_close(closed, 5000, NULL);
  sem_wait(&cue);
  if (killed_first) kamacache_node_close(closed, 5000, NULL);
  else kill_peer(&third);
  for (int i = 0; i < THREADS; i++) pthread_join(workers[i].thread, NULL);
  __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
  pthread_join(dispatcher, NULL);
  for (int i = 0; i < 2; i++) {
    kamacache_queue_free(sides[i].queue); /* runs what is left */
    CHECK_STATUS(kamacache_node_close(sides[i].node, 5000, NULL), KAMACACHE_OK);
    CHECK(sides[i].freed == 1);
    kamacache_group_free(sides[i].group);
    kamacache_node_free(sides[i].node);
  }
  sem_destroy(&cue);
  CHECK(total.begun == total.ended);
}

static long operations = 20000;
static uint64_t seed = 42;

static void every_operation_ends_exactly_once(void) {
  uint64_t random = seed * 0x9e3779b97f4a7c15u;
  int round = operations < 10 * LONG_ROUND ? SHORT_ROUND : LONG_ROUND;
  while (total.begun < operations && !check_broken) play_round(&random, round);
  printf("  %ld operations begun, %ld callbacks, seed %llu\n", total.begun, total.ended, (unsigned long long)seed);
}

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "--peer") == 0) return serve_as_peer();
  if (argc > 1) operations = strtol(argv[1], NULL, 10);
  if (argc > 2) seed = strtoull(argv[2], NULL, 10);
  RUN(every_operation_ends_exactly_once);
  return check_report();
}
