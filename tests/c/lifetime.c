/* Who may touch the caller's memory, and until when: numbers of operations,
 * handles that a callback frees, threads that end, the end of the process, and
 * threads that the system refuses. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

/* ---- *op is the callback's to free ---- */

enum { ASKERS = 4, ROUNDS = 150, REQUESTS = 400 };

/* Stays allocated, so that a write after the callback is seen rather than a crash. */
typedef struct request {
  uint64_t op;
  int ended; /* atomic */
} request;

static const uint64_t GONE = 0xdeadbeefdeadbeefu;

static void request_ended(void *user_data, kamacache_status status, kamacache_error *error) {
  request *r = (request *)user_data;
  (void)status;
  kamacache_error_free(error);
  __atomic_store_n(&r->op, GONE, __ATOMIC_SEQ_CST); /* a program would free(r) here */
  __atomic_store_n(&r->ended, 1, __ATOMIC_SEQ_CST);
}

static void request_got(void *user_data, kamacache_status status, kamacache_value *value, kamacache_error *error) {
  kamacache_value_release(value);
  request_ended(user_data, status, error);
}

typedef struct asker {
  pthread_t thread;
  kamacache_group *group;
  request requests[REQUESTS];
  int begun;
} asker;

static void *ask_until_closed(void *arg) {
  asker *a = (asker *)arg;
  for (a->begun = 0; a->begun < REQUESTS; a->begun++) {
    request *r = &a->requests[a->begun];
    kamacache_status status =
        a->begun % 2 == 0 ? kamacache_group_set_async(a->group, NULL, "k", 1, "v", 1, 0, 0, request_ended, r, &r->op, NULL)
                          : kamacache_group_get_async(a->group, "k", 1, 0, request_got, r, &r->op, NULL);
    if (status != KAMACACHE_OK) break;
  }
  return NULL;
}

static void an_operation_number_is_not_written_after_its_callback(void) {
  asker *askers = (asker *)calloc(ASKERS, sizeof *askers);
  int written_late = 0;
  for (int round = 0; round < ROUNDS; round++) {
    fixture f;
    fixture_open(&f);
    CHECK(gets_text(&f, "k", "k"));
    memset(askers, 0, ASKERS * sizeof *askers);
    for (int i = 0; i < ASKERS; i++) {
      askers[i].group = f.group;
      pthread_create(&askers[i].thread, NULL, ask_until_closed, &askers[i]);
    }
    while (__atomic_load_n(&askers[round % ASKERS].requests[round % 50].op, __ATOMIC_RELAXED) == 0) sched_yield();
    CHECK_STATUS(kamacache_node_close(f.node, 5000, NULL), KAMACACHE_OK);
    for (int i = 0; i < ASKERS; i++) pthread_join(askers[i].thread, NULL);
    for (int i = 0; i < ASKERS; i++) {
      for (int k = 0; k < askers[i].begun; k++) {
        request *r = &askers[i].requests[k];
        CHECK(r->ended);
        written_late += r->op != GONE;
      }
    }
    kamacache_group_free(f.group);
    kamacache_node_free(f.node);
    pthread_mutex_destroy(&f.lock);
  }
  if (written_late > 0) printf("  %d numbers were written after their callback\n", written_late);
  CHECK(written_late == 0);
  free(askers);
}

/* ---- a getter frees the handle that it was called through ---- */

static void freeing_getter(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  kamacache_group **handle = (kamacache_group **)user_data;
  kamacache_group_free(*handle);
  *handle = NULL;
  kamacache_load_complete(load, info->key, info->key_len, 0);
}

/* For valgrind to see: the call goes on after its handle is gone. */
static void a_getter_may_free_the_handle_that_called_it(void) {
  fixture f;
  fixture_open(&f);
  kamacache_group *handle = NULL;
  kamacache_group_options options;
  kamacache_group_options_init(&options);
  options.max_bytes = 1 << 20;
  options.getter = freeing_getter;
  options.user_data = &handle;
  kamacache_value *value = NULL;
  kamacache_slice key = {"many", 4};
  kamacache_result out;
  CHECK_STATUS(kamacache_group_open(f.node, "h", &options, &handle, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_get(handle, "k", 1, 0, &value, NULL), KAMACACHE_OK);
  CHECK(handle == NULL && is_text(value, "k"));
  CHECK_STATUS(kamacache_node_group(f.node, "h", &handle, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_group_get_many(handle, &key, 1, 0, &out, NULL), KAMACACHE_OK);
  CHECK(handle == NULL && out.status == KAMACACHE_OK);
  kamacache_results_clear(&out, 1);
  fixture_close(&f);
}

typedef struct both {
  kamacache_node *node;
  kamacache_group *group;
  int frees; /* atomic */
} both;

static void both_freed(void *user_data) { __atomic_add_fetch(&((both *)user_data)->frees, 1, __ATOMIC_SEQ_CST); }

static void freeing_both(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  both *b = (both *)user_data;
  kamacache_load_complete(load, info->key, info->key_len, 0);
  kamacache_group_free(b->group);
  kamacache_node_free(b->node); /* a thread of the library closes it */
}

static void a_getter_may_free_the_node_that_called_it(void) {
  for (int many = 0; many < 2; many++) {
    both b = {NULL, NULL, 0};
    kamacache_node_options node;
    kamacache_group_options options;
    kamacache_node_options_init(&node);
    kamacache_group_options_init(&options);
    options.max_bytes = 1 << 20;
    options.getter = freeing_both;
    options.user_data = &b;
    options.free_user_data = both_freed;
    CHECK_STATUS(kamacache_node_open(&node, &b.node, NULL), KAMACACHE_OK);
    CHECK_STATUS(kamacache_group_open(b.node, "g", &options, &b.group, NULL), KAMACACHE_OK);
    kamacache_value *value = NULL;
    kamacache_slice key = {"k", 1};
    kamacache_result out;
    kamacache_status status = many ? kamacache_group_get_many(b.group, &key, 1, 0, &out, NULL)
                                   : kamacache_group_get(b.group, "k", 1, 0, &value, NULL);
    CHECK(status == KAMACACHE_OK || status == KAMACACHE_CLOSED);
    if (many) kamacache_results_clear(&out, 1);
    kamacache_value_release(value);
    while (__atomic_load_n(&b.frees, __ATOMIC_SEQ_CST) == 0) sched_yield();
    CHECK(b.frees == 1);
  }
}

/* ---- threads and processes that end: thread-local storage is gone ---- */

/* Runs body in a child whose stderr goes to a file; its wait status. What it wrote to stderr is a failure. */
static int in_child(void (*body)(void)) {
  char path[] = "/tmp/kamacache-stderr-XXXXXX";
  int status = -1, file = mkstemp(path);
  unlink(path);
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    alarm(60); /* a hang ends as SIGALRM */
    dup2(file, 2);
    body();
    exit(check_broken ? 1 : 0);
  }
  waitpid(child, &status, 0);
  char said[400] = "";
  ssize_t n = pread(file, said, sizeof said - 1, 0);
  close(file);
  if (n > 0) printf("  stderr: %s\n", said);
  CHECK(n == 0);
  if (WIFSIGNALED(status)) printf("  killed by signal %d\n", WTERMSIG(status));
  return status;
}

static fixture at_exit_fixture;

static int works_or_closed(kamacache_status status) {
  if (status == KAMACACHE_OK || status == KAMACACHE_CLOSED) return 1;
  printf("  %s\n", kamacache_status_name(status));
  return 0;
}

static void ignore_done(void *user_data, kamacache_status status, kamacache_error *error) {
  (void)user_data, (void)status;
  kamacache_error_free(error);
}

static void ignore_get(void *user_data, kamacache_status status, kamacache_value *value, kamacache_error *error) {
  kamacache_value_release(value);
  ignore_done(user_data, status, error);
}

/* Every kind of call. The key is one that was not asked for before: a miss. */
static void use_all(fixture *f, const char *key) {
  kamacache_value *value = NULL;
  kamacache_slice keys[] = {{key, strlen(key)}, {"many", 4}};
  kamacache_result out[2];
  CHECK(works_or_closed(get(f, key, &value)));
  kamacache_value_release(value);
  CHECK(works_or_closed(kamacache_group_set(f->group, key, strlen(key), "v", 1, 0, 0, NULL)));
  CHECK(works_or_closed(kamacache_group_delete(f->group, key, strlen(key), 0, NULL)));
  CHECK(works_or_closed(kamacache_group_get_many(f->group, keys, 2, 0, out, NULL)));
  CHECK(works_or_closed(out[0].status) && works_or_closed(out[1].status));
  kamacache_results_clear(out, 2);
  CHECK(works_or_closed(kamacache_group_set_many(f->group, keys, keys, 2, 0, 0, out, NULL)));
  kamacache_results_clear(out, 2);
  CHECK(works_or_closed(kamacache_group_clear(f->group, 0, NULL)));
  CHECK(works_or_closed(kamacache_group_get_async(f->group, key, strlen(key), 0, ignore_get, NULL, NULL, NULL)));
  CHECK(works_or_closed(kamacache_group_set_async(f->group, NULL, key, strlen(key), "v", 1, 0, 0, ignore_done, NULL, NULL, NULL)));
  CHECK(works_or_closed(kamacache_group_delete_async(f->group, NULL, key, strlen(key), 0, ignore_done, NULL, NULL, NULL)));
  fixture own;
  fixture_open(&own);
  CHECK(gets_text(&own, "Tom", "Tom"));
  fixture_close(&own);
}

static void use_and_close_at_exit(void) {
  fixture *f = &at_exit_fixture;
  use_all(f, "at exit");
  CHECK_STATUS(kamacache_node_close(f->node, 5000, NULL), KAMACACHE_OK);
  CHECK(f->frees == 1);
  kamacache_group_free(f->group);
  kamacache_node_free(f->node);
  fflush(stdout);
  if (check_broken) _exit(1);
}

static void exit_with_a_handler(void) {
  fixture_open(&at_exit_fixture);
  CHECK(gets_text(&at_exit_fixture, "Tom", "Tom"));
  atexit(use_and_close_at_exit);
}

static void s45_everything_works_in_atexit(void) { CHECK(in_child(exit_with_a_handler) == 0); }

static fixture key_fixture;

static void thread_key_destructor(void *first) {
  use_all(&key_fixture, (const char *)first);
}

static void *use_then_end(void *key) {
  CHECK(gets_text(&key_fixture, "Tom", "Tom"));
  CHECK(gets_text(&key_fixture, "nested:Jack", "Jack"));
  pthread_setspecific(*(pthread_key_t *)key, "of a thread that used the library");
  return NULL;
}

static void *end_without_use(void *key) {
  pthread_setspecific(*(pthread_key_t *)key, "of a thread that did not");
  return NULL;
}

static void run_thread(void *(*body)(void *), void *arg) {
  pthread_t thread;
  pthread_create(&thread, NULL, body, arg);
  pthread_join(thread, NULL);
}

static void use_in_thread_key_destructors(void) {
  pthread_key_t key;
  fixture_open(&key_fixture);
  pthread_key_create(&key, thread_key_destructor);
  run_thread(use_then_end, &key);
  run_thread(end_without_use, &key);
  fixture_close(&key_fixture);
}

static void s45_everything_works_in_thread_key_destructors(void) { CHECK(in_child(use_in_thread_key_destructors) == 0); }

/* ---- no thread is to be had ---- */

static int refuse_threads; /* atomic */
static int refused;

/* Stands before the C library's: the library's threads are started through it. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg) {
  static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
  if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
  if (__atomic_load_n(&refuse_threads, __ATOMIC_SEQ_CST)) {
    __atomic_add_fetch(&refused, 1, __ATOMIC_SEQ_CST);
    return EAGAIN;
  }
  return real(thread, attr, start, arg);
}

static void refuse(int whether) { __atomic_store_n(&refuse_threads, whether, __ATOMIC_SEQ_CST); }

static void opening_without_threads_is_internal(void) {
  kamacache_node_options options;
  kamacache_node_options_init(&options);
  kamacache_node *node = NULL;
  refuse(1);
  CHECK_ERROR(kamacache_node_open(&options, &node, &err), KAMACACHE_INTERNAL, "thread");
  CHECK(node == NULL);
  refuse(0);
}

static void count_call(void *user_data, kamacache_status status, kamacache_value *value, kamacache_error *error) {
  kamacache_value_release(value);
  kamacache_error_free(error);
  *(kamacache_status *)user_data = status;
}

/* An error calls nothing back, not even at close; OK calls back once. */
static void a_call_that_gets_no_thread_fails_once(void) {
  fixture f;
  fixture_open(&f);
  kamacache_status first = -1, second = -1, third = -1;
  refuse(1);
  kamacache_status no_callback_thread = kamacache_group_get_async(f.group, "a", 1, 2000, count_call, &first, NULL, NULL);
  CHECK(no_callback_thread == KAMACACHE_INTERNAL && refused > 0);
  kamacache_queue *queue = NULL;
  CHECK_STATUS(kamacache_queue_new(&queue, NULL), KAMACACHE_OK);
  kamacache_status no_getter_thread = kamacache_group_get_queued(f.group, queue, "b", 1, 2000, count_call, &second, NULL, NULL);
  refuse(0);
  CHECK_STATUS(no_getter_thread, KAMACACHE_OK);
  while (no_getter_thread == KAMACACHE_OK && second == -1 && kamacache_queue_dispatch(queue, 10) == 0) sched_yield();
  CHECK_STATUS(second, KAMACACHE_INTERNAL);
  CHECK_STATUS(kamacache_group_get_queued(f.group, queue, "b", 1, 2000, count_call, &third, NULL, NULL), KAMACACHE_OK);
  while (third == -1 && kamacache_queue_dispatch(queue, 10) == 0) sched_yield();
  CHECK_STATUS(third, KAMACACHE_OK); /* threads are back, and so is the getter */
  fixture_close(&f);
  kamacache_queue_free(queue);
  CHECK(first == -1);
}

static void refused_in_thread_key_destructor(void *unused) {
  (void)unused;
  refuse(1);
  kamacache_value *value = NULL;
  CHECK_STATUS(get(&key_fixture, "not here", &value), KAMACACHE_INTERNAL);
  refuse(0);
}

static void *use_then_end_refused(void *key) {
  CHECK(gets_text(&key_fixture, "Tom", "Tom"));
  pthread_setspecific(*(pthread_key_t *)key, "x");
  return NULL;
}

static void an_ending_thread_that_gets_none_is_told(void) {
  pthread_key_t key;
  fixture_open(&key_fixture);
  pthread_key_create(&key, refused_in_thread_key_destructor);
  run_thread(use_then_end_refused, &key);
  fixture_close(&key_fixture);
}

int main(int argc, char **argv) {
  (void)argv;
  if (argc <= 1) RUN(an_operation_number_is_not_written_after_its_callback);
  RUN(a_getter_may_free_the_handle_that_called_it);
  RUN(a_getter_may_free_the_node_that_called_it);
  if (argc > 1) return check_report(); /* for valgrind, which sees no more in the rest */
  RUN(s45_everything_works_in_atexit);
  RUN(s45_everything_works_in_thread_key_destructors);
  RUN(opening_without_threads_is_internal);
  RUN(a_call_that_gets_no_thread_fails_once);
  RUN(an_ending_thread_that_gets_none_is_told);
  return check_report();
}
