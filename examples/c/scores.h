/* The cache part of the scores node (scores.c), as the console (console.c) sees it. */
#ifndef SCORES_H
#define SCORES_H

#include <kamacache.h>

typedef struct scores scores;

/* listen may be NULL: a single instance; admin too: no admin HTTP. On failure prints why and returns NULL. */
scores *scores_open(const char *listen, const char *const *peers, size_t peers_len, const char *admin, const char *db, const char *log);
void scores_close(scores *s);

kamacache_node *scores_node(scores *s);
kamacache_group *scores_group(scores *s);
const char *scores_address(scores *s);

#endif
