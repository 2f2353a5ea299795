/* The library and the process it lives in: fork, exit, SIGPIPE. Each
 * case runs in a child process of its own, with a limit of 60 s. */
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

/* Runs body in a child and returns its wait status. */
static int in_child(void (*body)(void)) {
  int status = -1;
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    alarm(60); /* a hang ends as SIGALRM */
    body();
    fflush(stdout);
    _exit(check_broken ? 1 : 0);
  }
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) printf("  killed by signal %d\n", WTERMSIG(status));
  return status;
}

/* ---- fork (S44) ---- */

static fixture inherited;

static void use_inherited(void) {
  fixture *f = &inherited;
  kamacache_value *value = NULL;
  char buf[64];
  size_t len;
  kamacache_stats stats;
  stats.struct_size = sizeof stats;
  CHECK_ERROR(kamacache_group_get(f->group, "Tom", 3, 0, &value, &err), KAMACACHE_FORKED, "after forking");
  CHECK_STATUS(kamacache_group_peek(f->group, "Tom", 3, &value), KAMACACHE_FORKED);
  CHECK_STATUS(kamacache_group_peek_into(f->group, "Tom", 3, buf, sizeof buf, &len), KAMACACHE_FORKED);
  CHECK_STATUS(kamacache_group_set(f->group, "Tom", 3, "1", 1, 0, 0, NULL), KAMACACHE_FORKED);
  CHECK_STATUS(kamacache_group_delete(f->group, "Tom", 3, 0, NULL), KAMACACHE_FORKED);
  CHECK_STATUS(kamacache_group_stats(f->group, &stats), KAMACACHE_FORKED);
  CHECK_STATUS(kamacache_node_members(f->node, buf, sizeof buf, &len, NULL), KAMACACHE_FORKED);
  CHECK_STATUS(kamacache_node_set_peers(f->node, NULL, 0, NULL), KAMACACHE_FORKED);
  CHECK_STATUS(kamacache_node_close(f->node, 0, NULL), KAMACACHE_FORKED);
  kamacache_group_free(f->group);
  kamacache_node_free(f->node);
  CHECK(f->frees == 0);
  fixture own;
  fixture_open(&own); /* a node of the child's own works */
  CHECK(gets_text(&own, "Tom", "Tom"));
  fixture_close(&own);
}

static void s44_a_child_is_told_and_the_parent_unharmed(void) {
  fixture_open(&inherited);
  CHECK(gets_text(&inherited, "Tom", "Tom"));
  CHECK(in_child(use_inherited) == 0);
  CHECK(gets_text(&inherited, "Jack", "Jack"));
  fixture_close(&inherited);
}

/* ---- exit (S45) ---- */

static void waiting_getter(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  (void)user_data, (void)info, (void)load;
  for (;;) pause();
}

static void *get_forever(void *group) {
  kamacache_value *value;
  kamacache_group_get((kamacache_group *)group, "k", 1, KAMACACHE_FOREVER, &value, NULL);
  return NULL;
}

static void exit_in_the_middle(void) {
  kamacache_node_options node_options;
  kamacache_node_options_init(&node_options);
  node_options.listen = "127.0.0.1:0";
  kamacache_node *node = NULL;
  CHECK_STATUS(kamacache_node_open(&node_options, &node, NULL), KAMACACHE_OK);
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 20;
  options.getter = waiting_getter;
  kamacache_group *group = NULL;
  CHECK_STATUS(kamacache_group_open(node, "g", &options, &group, NULL), KAMACACHE_OK);
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, get_forever, group);
  kamacache_stats stats;
  stats.struct_size = sizeof stats;
  do {
    CHECK_STATUS(kamacache_group_stats(group, &stats), KAMACACHE_OK);
  } while (stats.gets < 4);
  exit(7);
}

static void s45_exit_with_a_live_node_and_waiting_calls(void) {
  time_t before = time(NULL);
  int status = in_child(exit_in_the_middle);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  CHECK(time(NULL) - before <= 2);
}

/* ---- SIGPIPE (S46): a peer dies while large values are on their way to it ---- */

static void serve_until_killed(int to_parent) {
  kamacache_node_options node_options;
  kamacache_node_options_init(&node_options);
  node_options.listen = "127.0.0.1:0";
  kamacache_node *node = NULL;
  kamacache_group *group = NULL;
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 256 << 20;
  char address[64] = "";
  size_t len;
  if (kamacache_node_open(&node_options, &node, NULL) == KAMACACHE_OK &&
      kamacache_group_open(node, "g", &options, &group, NULL) == KAMACACHE_OK &&
      kamacache_node_address(node, address, sizeof address, &len) == KAMACACHE_OK &&
      write(to_parent, address, sizeof address) == sizeof address) {
    for (;;) pause();
  }
  _exit(1);
}

typedef struct peer {
  pid_t pid;
  char address[64];
} peer;

static peer start_peer(void) {
  peer p;
  int pipe_fds[2];
  memset(&p, 0, sizeof p);
  CHECK(pipe(pipe_fds) == 0);
  p.pid = fork();
  if (p.pid == 0) serve_until_killed(pipe_fds[1]);
  CHECK(read(pipe_fds[0], p.address, sizeof p.address) == sizeof p.address);
  close(pipe_fds[0]);
  close(pipe_fds[1]);
  return p;
}

static void *set_large(void *arg) {
  kamacache_group *group = (kamacache_group *)arg;
  size_t size = 4 << 20;
  char *value = (char *)calloc(size, 1);
  char key[32];
  for (int i = 0; i < 15; i++) {
    snprintf(key, sizeof key, "k%d", i);
    kamacache_group_set(group, key, strlen(key), value, size, 0, 300, NULL); /* may fail: the peer dies */
  }
  free(value);
  return NULL;
}

static void talk_to_a_dying_peer(void) {
  signal(SIGPIPE, SIG_DFL);
  peer p = start_peer();
  kamacache_node_options node_options;
  kamacache_node_options_init(&node_options);
  node_options.listen = "127.0.0.1:0";
  kamacache_node *node = NULL;
  kamacache_group *group = NULL;
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 256 << 20;
  CHECK_STATUS(kamacache_node_open(&node_options, &node, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_open(node, "g", &options, &group, NULL), KAMACACHE_OK);
  char address[64];
  size_t len;
  CHECK_STATUS(kamacache_node_address(node, address, sizeof address, &len), KAMACACHE_OK);
  const char *peers[] = {address, p.address};
  CHECK_STATUS(kamacache_node_set_peers(node, peers, 2, NULL), KAMACACHE_OK);
  pthread_t threads[4];
  struct timespec while_values_fly = {0, 20000000};
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, set_large, group);
  nanosleep(&while_values_fly, NULL);
  kill(p.pid, SIGKILL);
  waitpid(p.pid, NULL, 0);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  CHECK_STATUS(kamacache_node_close(node, 5000, NULL), KAMACACHE_OK);
  kamacache_group_free(group);
  kamacache_node_free(node);
}

static void s46_a_killed_peer_raises_no_sigpipe(void) {
  int status = in_child(talk_to_a_dying_peer);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- Ctrl-C while a node opens ---- */

static char hanging_file[64];

/* The file is a pipe whose writer says nothing. */
static void open_with_a_file_that_hangs(void) {
  kamacache_node_options options;
  kamacache_node *node = NULL;
  kamacache_node_options_init(&options);
  options.listen = "127.0.0.1:0";
  options.cluster_token_file = hanging_file;
  kamacache_error *err = NULL;
  kamacache_status status = kamacache_node_open(&options, &node, &err);
  printf("  opened: %s %s\n", kamacache_status_name(status), kamacache_error_message(err));
  fflush(stdout);
  _exit(3);
}

static void s46_a_signal_ends_a_program_whose_open_hangs(void) {
  snprintf(hanging_file, sizeof hanging_file, "/tmp/kamacache-open-%ld", (long)getpid());
  CHECK(mkfifo(hanging_file, 0600) == 0);
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* an alarm could be blocked as SIGINT is */
    open_with_a_file_that_hangs();
  }
  alarm(60);
  int writer = open(hanging_file, O_WRONLY); /* until the child's node reads it */
  CHECK(writer >= 0);
  int status = -1;
  CHECK(kill(child, SIGINT) == 0);
  waitpid(child, &status, 0);
  alarm(0);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
  close(writer);
  unlink(hanging_file);
}

int main(void) {
  RUN(s44_a_child_is_told_and_the_parent_unharmed);
  RUN(s45_exit_with_a_live_node_and_waiting_calls);
  RUN(s46_a_killed_peer_raises_no_sigpipe);
  RUN(s46_a_signal_ends_a_program_whose_open_hangs);
  return check_report();
}
