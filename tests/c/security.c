/* Certificates, the token, and discovery by URL, as a C program sets them.
 * The first argument is a folder that tests/certificates.sh has filled. */
#include "fixture.h"

#define SECRET "the-secret-of-this-very-cluster"

static char ca[512], cert[512], key_file[512];

typedef struct member {
  kamacache_node *node;
  kamacache_group *group;
  char address[64];
} member;

static void answer_address(void *user_data, const kamacache_load_info *info, kamacache_load *load) {
  const member *m = (const member *)user_data;
  (void)info;
  kamacache_load_complete(load, m->address, strlen(m->address), 0);
}

static kamacache_node_options secure(void) {
  kamacache_node_options options;
  kamacache_node_options_init(&options);
  options.listen = "127.0.0.1:0";
  options.connect_timeout_ms = 30000;
  options.suspect_after_ms = 30000;
  options.default_timeout_ms = 60000;
  options.tls_ca = ca;
  options.tls_cert = cert;
  options.tls_key = key_file;
  options.cluster_token = SECRET;
  return options;
}

static void member_open(member *m, const kamacache_node_options *options) {
  size_t len;
  memset(m, 0, sizeof *m);
  CHECK_STATUS(kamacache_node_open(options, &m->node, NULL), KAMACACHE_OK);
  CHECK_STATUS(kamacache_node_address(m->node, m->address, sizeof m->address, &len), KAMACACHE_OK);
  kamacache_group_options group;
  kamacache_group_options_init(&group);
  group.max_bytes = 1 << 20;
  group.getter = answer_address;
  group.user_data = m;
  CHECK_STATUS(kamacache_group_open(m->node, "g", &group, &m->group, NULL), KAMACACHE_OK);
}

static void member_close(member *m) {
  CHECK_STATUS(kamacache_node_close(m->node, 5000, NULL), KAMACACHE_OK);
  kamacache_group_free(m->group);
  kamacache_node_free(m->node);
}

/* Makes a key that `b` owns, in the view of `a`, which lists both. */
static const char *key_owned_by(member *a, const member *b) {
  static char key[64];
  char owner[64] = "";
  size_t len;
  const char *peers[] = {a->address, b->address};
  CHECK_STATUS(kamacache_node_set_peers(a->node, peers, 2, NULL), KAMACACHE_OK);
  for (int i = 0; i < 1000 && strcmp(owner, b->address) != 0; i++) {
    snprintf(key, sizeof key, "k%d", i);
    CHECK_STATUS(kamacache_node_owner(a->node, key, strlen(key), owner, sizeof owner, &len), KAMACACHE_OK);
  }
  return key;
}

static void s40_members_with_certificates_and_token_serve_each_other(void) {
  kamacache_node_options options = secure();
  member a, b;
  member_open(&a, &options);
  member_open(&b, &options);
  key_owned_by(&b, &a);
  const char *key = key_owned_by(&a, &b);
  kamacache_value *value = NULL;
  CHECK_STATUS(kamacache_group_get(a.group, key, strlen(key), 0, &value, NULL), KAMACACHE_OK);
  CHECK(is_text(value, b.address));
  member_close(&a);
  member_close(&b);
}

static void s40_without_the_token_there_is_no_data(void) {
  kamacache_node_options options = secure();
  member a, b;
  member_open(&b, &options);
  options.cluster_token = NULL;
  member_open(&a, &options);
  const char *key = key_owned_by(&a, &b);
  kamacache_value *value = NULL;
  CHECK_STATUS(kamacache_group_get(a.group, key, strlen(key), 0, &value, NULL), KAMACACHE_OK);
  CHECK(is_text(value, a.address)); /* loaded by itself */
  CHECK_ERROR(kamacache_group_set(a.group, key, strlen(key), "mine", 4, 0, 0, &err), KAMACACHE_UNAVAILABLE,
              "same cluster_token");
  member_close(&a);
  member_close(&b);
}

static void s40_wrong_options_are_named_at_the_start(void) {
  kamacache_node *node = NULL;
  kamacache_node_options options = secure();
  options.tls_key = cert;
  CHECK_ERROR(kamacache_node_open(&options, &node, &err), KAMACACHE_INVALID_ARGUMENT, "tls key");
  options = secure();
  options.tls_key = "";
  CHECK_ERROR(kamacache_node_open(&options, &node, &err), KAMACACHE_INVALID_ARGUMENT, "tls key");
  options.tls_key = NULL;
  CHECK_ERROR(kamacache_node_open(&options, &node, &err), KAMACACHE_INVALID_ARGUMENT, "tls_key (set tls_ca");
  options.tls_ca = options.tls_cert = NULL;
  options.tls_name = "node.example"; /* a name without files */
  CHECK_ERROR(kamacache_node_open(&options, &node, &err), KAMACACHE_INVALID_ARGUMENT, "tls_ca (set tls_ca");
  options = secure();
  options.tls_ca = "no/such/file.pem";
  CHECK_ERROR(kamacache_node_open(&options, &node, &err), KAMACACHE_INVALID_ARGUMENT, "no/such/file.pem");
  options = secure();
  options.cluster_token = "short";
  CHECK_ERROR(kamacache_node_open(&options, &node, &err), KAMACACHE_INVALID_ARGUMENT, "cluster_token");
  options = secure();
  options.discovery = "gopher://x";
  CHECK_ERROR(kamacache_node_open(&options, &node, &err), KAMACACHE_INVALID_ARGUMENT, "etcd://");
}

static void discovery_is_chosen_by_url(void) {
  kamacache_node_options options = secure();
  options.discovery = "etcd://127.0.0.1:1/scores"; /* nobody answers there */
  member a;
  member_open(&a, &options);
  kamacache_value *value = NULL;
  CHECK_STATUS(kamacache_group_get(a.group, "k", 1, 0, &value, NULL), KAMACACHE_OK);
  CHECK(is_text(value, a.address)); /* alone, and at work */
  member_close(&a);
}

int main(int argc, char **argv) {
  const char *folder = argc > 1 ? argv[1] : getenv("CERTIFICATES");
  if (folder == NULL) {
    fprintf(stderr, "usage: security FOLDER, as tests/certificates.sh fills it\n");
    return 2;
  }
  snprintf(ca, sizeof ca, "%s/ca.pem", folder);
  snprintf(cert, sizeof cert, "%s/node.pem", folder);
  snprintf(key_file, sizeof key_file, "%s/node.key", folder);
  RUN(s40_members_with_certificates_and_token_serve_each_other);
  RUN(s40_without_the_token_there_is_no_data);
  RUN(s40_wrong_options_are_named_at_the_start);
  RUN(discovery_is_chosen_by_url);
  return check_report();
}
