/* Just enough JSON to read what the host sends and to write answers.
 *
 * A value is a piece of the text it stands in; nothing is copied before the caller reads it. The reader takes hostile
 * text: it never reads outside it, and what it can't follow is `absent`. It assumes UTF-8, which rule R9 promises. */
#ifndef JSON_H
#define JSON_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One value; ptr is NULL where there is none. */
typedef struct { const char *ptr; size_t len; } json;

/* The first value of a text. */
json json_read(const void *ptr, size_t len);
/* A member of an object; absent in anything else. */
json json_member(json object, const char *name);
/* The values of an array, one by one: start with `at` 0; absent at the end, and in anything else. */
json json_item(json array, size_t *at);
/* Copies a string, unescaped and with a closing NUL. False when it is no string, holds a NUL, or is longer. */
bool json_string(json value, char *out, size_t size);
/* A whole number from 0 to 2^53. False for anything else. */
bool json_number(json value, uint64_t *out);

/* A text that grows. After a failed allocation it stays as it is and `failed` is set. */
typedef struct { char *ptr; size_t len, size; bool failed; } json_text;

/* Adds text as it is. */
void json_add(json_text *text, const char *raw);
/* Adds a string with its quotes, escaped. */
void json_add_string(json_text *text, const char *value);
/* Adds a number. */
void json_add_number(json_text *text, uint64_t value);
/* The text with a closing NUL, for the caller to free; NULL when an allocation failed. */
char *json_close(json_text *text);
#endif
