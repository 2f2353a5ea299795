/*
 * A getter that returns at once and answers later: for data sources that have
 * threads or an event loop of their own. The token of a load may go to any
 * thread, and is answered there.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kamacache.h>

/* What the data source's own thread has to do. */
typedef struct job {
  struct job *next;
  kamacache_load *load;
  char key[]; /* copied: the getter's info is borrowed for its call */
} job;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static job *jobs;
static int stopped;

static void load(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  (void)user_data;
  job *j = malloc(sizeof *j + info->key_len + 1);
  if (j == NULL) {
    kamacache_load_fail(load, 0, "out of memory");
    return;
  }
  j->load = load;
  memcpy(j->key, info->key, info->key_len + 1);
  pthread_mutex_lock(&lock);
  j->next = jobs;
  jobs = j;
  pthread_cond_signal(&changed);
  pthread_mutex_unlock(&lock);
}

/* Hands the bytes over instead of having them copied. */
static void answer(job *j) {
  char *value = malloc(strlen(j->key) + sizeof "the value of ");
  if (value == NULL) {
    kamacache_load_fail(j->load, 0, "out of memory");
    return;
  }
  sprintf(value, "the value of %s", j->key);
  kamacache_load_complete_owned(j->load, value, strlen(value), free, value, 0);
}

static void *data_source(void *unused) {
  pthread_mutex_lock(&lock);
  while (!stopped || jobs != NULL) {
    job *j = jobs;
    if (j == NULL) {
      pthread_cond_wait(&changed, &lock);
      continue;
    }
    jobs = j->next;
    pthread_mutex_unlock(&lock);
    answer(j);
    free(j);
    pthread_mutex_lock(&lock);
  }
  pthread_mutex_unlock(&lock);
  return unused;
}

int main(void) {
  kamacache_node *node;
  kamacache_group *group;
  kamacache_value *value;
  kamacache_node_options node_options;
  kamacache_group_options group_options;
  pthread_t thread;
  kamacache_node_options_init(&node_options);
  kamacache_group_options_init(&group_options);
  group_options.max_bytes = 1 << 20;
  group_options.getter = load;
  if (kamacache_node_open(&node_options, &node, NULL) != KAMACACHE_OK) return 1;
  if (kamacache_group_open(node, "later", &group_options, &group, NULL) != KAMACACHE_OK) return 1;
  if (pthread_create(&thread, NULL, data_source, NULL) != 0) return 1;

  if (kamacache_group_get(group, "Tom", 3, 1000, &value, NULL) == KAMACACHE_OK) {
    printf("%.*s\n", (int)kamacache_value_len(value), (const char *)kamacache_value_data(value));
  }
  kamacache_value_release(value);

  kamacache_node_close(node, 1000, NULL); /* loads that are still with the data source answer CANCELLED from now on */
  pthread_mutex_lock(&lock);
  stopped = 1;
  pthread_cond_signal(&changed);
  pthread_mutex_unlock(&lock);
  pthread_join(thread, NULL);
  kamacache_group_free(group);
  kamacache_node_free(node);
  return 0;
}
