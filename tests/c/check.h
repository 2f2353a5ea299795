/* A test is a function; CHECK notes what does not hold and goes on. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <string.h>

#include <kamacache.h>

static int check_passed, check_failed, check_broken;

#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) {                                                         \
      check_broken = 1;                                                         \
      printf("  %s:%d: not so: %s\n", __FILE__, __LINE__, #condition);          \
    }                                                                           \
  } while (0)

#define CHECK_STATUS(call, expected)                                            \
  do {                                                                          \
    kamacache_status check_got = (call);                                        \
    if (check_got != (expected)) {                                              \
      check_broken = 1;                                                         \
      printf("  %s:%d: %s, not %s: %s\n", __FILE__, __LINE__,                   \
             kamacache_status_name(check_got), #expected, #call);               \
    }                                                                           \
  } while (0)

/* The call fails with this status, and its message has this text in it. */
#define CHECK_ERROR(call, expected, text)                                       \
  do {                                                                          \
    kamacache_error *err = NULL;                                                \
    CHECK_STATUS(call, expected);                                               \
    if (kamacache_error_code(err) != (expected) ||                              \
        strstr(kamacache_error_message(err), (text)) == NULL) {                 \
      check_broken = 1;                                                         \
      printf("  %s:%d: message \"%s\" has no \"%s\"\n", __FILE__, __LINE__,     \
             kamacache_error_message(err), (text));                             \
    }                                                                           \
    kamacache_error_free(err);                                                  \
  } while (0)

#define RUN(test)                                                               \
  do {                                                                          \
    check_broken = 0;                                                           \
    test();                                                                     \
    if (check_broken) check_failed++; else check_passed++;                      \
    printf("%s %s\n", check_broken ? "FAILED" : "ok", #test);                   \
    fflush(stdout);                                                             \
  } while (0)

static inline int check_report(void) {
  printf("%d passed, %d failed\n", check_passed, check_failed);
  return check_failed != 0;
}

#endif
