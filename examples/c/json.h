/* Just enough JSON for one line of output. */
#ifndef JSON_H
#define JSON_H

#include <stddef.h>

/* Writes text as a JSON string, with its quotes and a NUL; cuts it when buf is short. */
void json_quote(char *buf, size_t cap, const char *text, size_t len);

#endif
