/* Forks of a busy parent (S44): the child never hangs, whatever the parent's
 * threads were doing; what it inherited answers FORKED; the parent's port and
 * connections are not kept by it. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

enum { BUSY = 4, FORKS = 200 };

static fixture busy;
static kamacache_queue *busy_queue;
static int stop; /* atomic */
static uint64_t last_op; /* atomic */
static kamacache_load *last_load; /* atomic */
static pid_t parent;

/* Leaves its load for a thread that answers, so that tokens go to and fro. */
static void late_getter(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  (void)user_data, (void)info;
  kamacache_load *before = __atomic_exchange_n(&last_load, load, __ATOMIC_SEQ_CST);
  if (before != NULL) kamacache_load_complete(before, "v", 1, KAMACACHE_TTL_NO_STORE);
}

static void got(void *user_data, kamacache_status status, kamacache_value *value, kamacache_error *error) {
  (void)user_data, (void)status;
  kamacache_value_release(value);
  kamacache_error_free(error);
  if (getpid() != parent) {
    printf("  a callback of the parent's ran in the child\n");
    fflush(stdout);
    _exit(3);
  }
}

static void *keep_busy(void *seed) {
  uint64_t n = (uint64_t)(size_t)seed << 32;
  while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
    char key[32];
    uint64_t op = 0;
    kamacache_load *load = __atomic_load_n(&last_load, __ATOMIC_SEQ_CST);
    snprintf(key, sizeof key, "k%d", (int)(n % 50));
    if (n++ % 2 == 0) kamacache_group_get_async(busy.group, key, strlen(key), 5, got, NULL, &op, NULL);
    else kamacache_group_get_queued(busy.group, busy_queue, key, strlen(key), 5, got, NULL, &op, NULL);
    __atomic_store_n(&last_op, op, __ATOMIC_RELAXED);
    kamacache_load_is_cancelled(load);
    if (n % 3 == 0) kamacache_cancel(op);
    if (n % 5 == 0) kamacache_load_complete(load, "v", 1, 0);
    if ((size_t)seed == 0) kamacache_queue_dispatch(busy_queue, 100);
  }
  return NULL;
}

static void own_got(void *user_data, kamacache_status status, kamacache_value *value, kamacache_error *error) {
  kamacache_value_release(value);
  kamacache_error_free(error);
  __atomic_store_n((int *)user_data, status == KAMACACHE_OK ? 1 : 2, __ATOMIC_SEQ_CST);
}

/* In the child: each step is named, so that a hang says where. */
static const char *volatile step = "start";

static void hung(int signal) {
  (void)signal;
  (void)!write(1, "  hung in ", 10);
  (void)!write(1, step, strlen(step));
  (void)!write(1, "\n", 1);
  _exit(2);
}

static void child_of_a_busy_parent(kamacache_load *load, uint64_t op) {
  signal(SIGALRM, hung);
  alarm(10);
  step = "load_complete of an inherited token";
  CHECK_STATUS(kamacache_load_complete(load, "v", 1, 0), KAMACACHE_FORKED);
  CHECK_STATUS(kamacache_load_fail(load, 1, "no"), KAMACACHE_FORKED);
  CHECK_STATUS(kamacache_load_not_found(load), KAMACACHE_FORKED);
  CHECK(kamacache_load_is_cancelled(load) == 1);
  step = "cancel of an inherited operation";
  CHECK_STATUS(kamacache_cancel(op), KAMACACHE_FORKED);
  step = "dispatch of an inherited queue";
  CHECK(kamacache_queue_dispatch(busy_queue, 1000) == 0);
  step = "open";
  fixture own;
  fixture_open(&own);
  step = "get_async of an own node";
  int ended = 0;
  CHECK_STATUS(kamacache_group_get_async(own.group, "Tom", 3, 0, own_got, &ended, NULL, NULL), KAMACACHE_OK);
  while (__atomic_load_n(&ended, __ATOMIC_SEQ_CST) == 0) sched_yield();
  CHECK(ended == 1);
  step = "get_queued of an own node in an inherited queue";
  CHECK_STATUS(kamacache_group_get_queued(own.group, busy_queue, "Tom", 3, 0, got, NULL, NULL, NULL), KAMACACHE_FORKED);
  CHECK_STATUS(kamacache_group_set_async(own.group, busy_queue, "Tom", 3, "v", 1, 0, 0, NULL, NULL, NULL, NULL), KAMACACHE_INVALID_ARGUMENT);
  step = "get of an own node";
  CHECK(gets_text(&own, "Jack", "Jack"));
  CHECK_STATUS(kamacache_cancel(1u << 31), KAMACACHE_NOT_FOUND);
  step = "close of an own node";
  fixture_close(&own);
  step = "frees of what was inherited";
  kamacache_queue_free(busy_queue);
  kamacache_group_free(busy.group);
  kamacache_node_free(busy.node);
  fflush(stdout);
  _exit(check_broken ? 1 : 0);
}

static void s44_a_child_of_a_busy_parent_never_hangs(void) {
  pthread_t threads[BUSY];
  parent = getpid();
  memset(&busy, 0, sizeof busy);
  kamacache_node_options node;
  kamacache_node_options_init(&node);
  CHECK_STATUS(kamacache_node_open(&node, &busy.node, NULL), KAMACACHE_OK);
  kamacache_group_options group;
  kamacache_group_options_init(&group);
  group.max_bytes = 1 << 20;
  group.getter = late_getter;
  CHECK_STATUS(kamacache_group_open(busy.node, "g", &group, &busy.group, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_queue_new(&busy_queue, NULL), KAMACACHE_OK);
  for (size_t i = 0; i < BUSY; i++) pthread_create(&threads[i], NULL, keep_busy, (void *)i);
  while (__atomic_load_n(&last_load, __ATOMIC_SEQ_CST) == NULL) sched_yield();
  while (__atomic_load_n(&last_op, __ATOMIC_SEQ_CST) == 0) sched_yield();
  int failed = 0;
  fflush(stdout);
  for (int i = 0; i < FORKS && failed < 5; i++) {
    int status = 0;
    kamacache_load *load = __atomic_load_n(&last_load, __ATOMIC_SEQ_CST);
    uint64_t op = __atomic_load_n(&last_op, __ATOMIC_RELAXED);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) child_of_a_busy_parent(load, op == 0 ? 1 : op);
    waitpid(child, &status, 0);
    if (status != 0) printf("  child %d: wait status %#x\n", i, (unsigned)status);
    failed += status != 0;
  }
  CHECK(failed == 0);
  __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
  for (int i = 0; i < BUSY; i++) pthread_join(threads[i], NULL);
  CHECK(kamacache_node_close(busy.node, 5000, NULL) == KAMACACHE_OK);
  while (kamacache_queue_dispatch(busy_queue, 1000) > 0) {
  }
  kamacache_queue_free(busy_queue);
  kamacache_group_free(busy.group);
  kamacache_node_free(busy.node);
}

/* ---- the parent's port and connections ---- */

/* A child that lives until its pipe ends. */
static pid_t idle_child(int *until) {
  int ends[2];
  char c;
  CHECK(pipe(ends) == 0);
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    close(ends[1]);
    while (read(ends[0], &c, 1) > 0) {
    }
    _exit(0);
  }
  close(ends[0]);
  *until = ends[1];
  return child;
}

static int connect_to(const char *address) {
  struct sockaddr_in to;
  memset(&to, 0, sizeof to);
  to.sin_family = AF_INET;
  to.sin_port = htons((uint16_t)atoi(strchr(address, ':') + 1));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
  return fd;
}

/* Whether the other side has closed within 5 s. */
static int is_closed(int fd) {
  struct pollfd readable = {fd, POLLIN, 0};
  char buf[256];
  while (poll(&readable, 1, 5000) == 1) {
    if (read(fd, buf, sizeof buf) <= 0) return 1;
  }
  return 0;
}

static void s44_a_child_keeps_neither_the_port_nor_the_connections(void) {
  fixture peer;
  kamacache_node_options options;
  kamacache_node_options_init(&options);
  options.listen = "127.0.0.1:0";
  options.admin_listen = "127.0.0.1:0";
  memset(&peer, 0, sizeof peer);
  pthread_mutex_init(&peer.lock, NULL);
  kamacache_node *node = NULL;
  CHECK_STATUS(kamacache_node_open(&options, &node, NULL), KAMACACHE_OK);
  options.admin_listen = NULL;
  CHECK_STATUS(kamacache_node_open(&options, &peer.node, NULL), KAMACACHE_OK);
  char addresses[2][64], admin[64];
  size_t len;
  CHECK_STATUS(kamacache_node_address(node, addresses[0], sizeof addresses[0], &len), KAMACACHE_OK);
  CHECK_STATUS(kamacache_node_address(peer.node, addresses[1], sizeof addresses[1], &len), KAMACACHE_OK);
  CHECK_STATUS(kamacache_node_admin_address(node, admin, sizeof admin, &len), KAMACACHE_OK);
  /* A plain listener in place of a peer: it sees when what the node dialled is closed. */
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in at;
  socklen_t size = sizeof at;
  memset(&at, 0, sizeof at);
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(bind(listener, (struct sockaddr *)&at, size) == 0 && listen(listener, 8) == 0);
  CHECK(getsockname(listener, (struct sockaddr *)&at, &size) == 0);
  char plain[64];
  snprintf(plain, sizeof plain, "127.0.0.1:%d", ntohs(at.sin_port));
  const char *peers[] = {addresses[0], addresses[1], plain};
  CHECK_STATUS(kamacache_node_set_peers(node, peers, 3, NULL), KAMACACHE_OK);
  kamacache_group *group = NULL;
  kamacache_group_options group_options;
  kamacache_group_options_init(&group_options);
  group_options.max_bytes = 1 << 20;
  CHECK_STATUS(kamacache_group_open(node, "g", &group_options, &group, NULL), KAMACACHE_OK);
  for (int i = 0; i < 100; i++) { /* some are owned by the plain listener */
    char key[16];
    snprintf(key, sizeof key, "k%d", i);
    kamacache_group_get_async(group, key, strlen(key), 0, got, NULL, NULL, NULL);
  }
  int dialled = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  int taken = connect_to(addresses[0]), asked = connect_to(admin);
  CHECK(write(asked, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 35) == 35);
  char answer[256];
  CHECK(read(asked, answer, sizeof answer) > 0); /* so it was taken */
  int until = -1;
  pid_t child = idle_child(&until);
  close(listener); /* it is not the library's, and the child has it too */
  CHECK_STATUS(kamacache_node_close(node, 0, NULL), KAMACACHE_OK);
  kamacache_group_free(group);
  kamacache_node_free(node);
  CHECK(is_closed(dialled));
  CHECK(is_closed(taken));
  CHECK(is_closed(asked));
  options.listen = addresses[0];
  options.admin_listen = admin;
  CHECK_STATUS(kamacache_node_open(&options, &node, NULL), KAMACACHE_OK);
  CHECK(waitpid(child, NULL, WNOHANG) == 0); /* it was alive all the while */
  close(until);
  waitpid(child, NULL, 0);
  close(dialled), close(taken), close(asked);
  kamacache_node_close(node, 0, NULL), kamacache_node_free(node);
  kamacache_node_close(peer.node, 0, NULL), kamacache_node_free(peer.node);
  pthread_mutex_destroy(&peer.lock);
}

int main(void) {
  RUN(s44_a_child_of_a_busy_parent_never_hangs);
  RUN(s44_a_child_keeps_neither_the_port_nor_the_connections);
  return check_report();
}
