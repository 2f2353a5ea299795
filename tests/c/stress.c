/*
 * Exactly once, under random cancels, timeouts, peer closes and queue ends:
 *   stress [OPERATIONS [SEED]]
 * Rounds of random operations on two nodes; at the end of each round one of the
 * nodes is closed in the middle of them. Every operation that was begun has given
 * one callback by the end of its round, every user data was freed once.
 */
#include <poll.h>

#include "fixture.h"

enum { THREADS = 4, KEYS = 64, PER_ROUND = 2000 };

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

static void operate(uint64_t *random) {
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
    if (op != 0 || status != KAMACACHE_CLOSED) abort();
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

static void play_round(uint64_t *random) {
  worker workers[THREADS];
  pthread_t dispatcher;
  int stop = 0;
  char addresses[2][64];
  size_t len;
  for (int i = 0; i < 2; i++) {
    side_open(&sides[i]);
    CHECK_STATUS(kamacache_node_address(sides[i].node, addresses[i], 64, &len), KAMACACHE_OK);
  }
  const char *peers[] = {addresses[0], addresses[1]};
  for (int i = 0; i < 2; i++) CHECK_STATUS(kamacache_node_set_peers(sides[i].node, peers, 2, NULL), KAMACACHE_OK);
  pthread_create(&dispatcher, NULL, dispatch, &stop);
  for (int i = 0; i < THREADS; i++) {
    workers[i].random = next_random(random);
    workers[i].operations = PER_ROUND / THREADS;
    pthread_create(&workers[i].thread, NULL, work, &workers[i]);
  }
  struct timespec a_while = {0, (long)(next_random(random) % 20000000)};
  nanosleep(&a_while, NULL);
  kamacache_node_close(sides[next_random(random) % 2].node, 5000, NULL);
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
  CHECK(total.begun == total.ended);
}

static long operations = 20000;
static uint64_t seed = 42;

static void every_operation_ends_exactly_once(void) {
  uint64_t random = seed * 0x9e3779b97f4a7c15u;
  for (long done = 0; done < operations && !check_broken; done += PER_ROUND) play_round(&random);
  printf("  %ld operations begun, %ld callbacks, seed %llu\n", total.begun, total.ended, (unsigned long long)seed);
}

int main(int argc, char **argv) {
  if (argc > 1) operations = strtol(argv[1], NULL, 10);
  if (argc > 2) seed = strtoull(argv[2], NULL, 10);
  RUN(every_operation_ends_exactly_once);
  return check_report();
}
