/* Just enough JSON for one line of output. */
#include "json.h"

#include <stdio.h>

void json_quote(char *buf, size_t cap, const char *text, size_t len) {
  size_t at = 0;
  buf[at++] = '"';
  /* The longest escape takes 6 bytes, the end 2. */
  for (size_t i = 0; i < len && at + 8 < cap; i++) {
    unsigned char c = (unsigned char)text[i];
    if (c == '"' || c == '\\') {
      buf[at++] = '\\';
      buf[at++] = (char)c;
    } else if (c < 0x20) {
      at += (size_t)snprintf(buf + at, 7, "\\u%04x", c);
    } else {
      buf[at++] = (char)c;
    }
  }
  buf[at++] = '"';
  buf[at] = '\0';
}
