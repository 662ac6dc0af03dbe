#include "json.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Deeper nesting than the host lets through. */
enum { MOST_DEPTH = 128 };

static const json absent = {NULL, 0};

static const char *skip_space(const char *at, const char *end) {
  while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) at++;
  return at;
}

/* The end of the string that begins at `at`, or NULL. */
static const char *skip_string(const char *at, const char *end) {
  if (at >= end || *at != '"') return NULL;
  for (at++; at < end; at++) {
    if (*at == '"') return at + 1;
    if (*at == '\\') at++;
  }
  return NULL;
}

/* The end of the value that begins at `at`, or NULL. */
static const char *skip_value(const char *at, const char *end, int depth) {
  if (at >= end || depth > MOST_DEPTH) return NULL;
  if (*at == '"') return skip_string(at, end);
  if (*at != '{' && *at != '[') {
    const char *start = at;
    while (at < end && strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzE", *at) && *at) at++;
    return at > start ? at : NULL;
  }
  bool in_object = *at == '{';
  char last = in_object ? '}' : ']';
  at = skip_space(at + 1, end);
  if (at < end && *at == last) return at + 1;
  for (;;) {
    if (in_object) {
      at = skip_string(at, end);
      if (!at) return NULL;
      at = skip_space(at, end);
      if (at >= end || *at != ':') return NULL;
      at = skip_space(at + 1, end);
    }
    at = skip_value(at, end, depth + 1);
    if (!at) return NULL;
    at = skip_space(at, end);
    if (at >= end) return NULL;
    if (*at == last) return at + 1;
    if (*at != ',') return NULL;
    at = skip_space(at + 1, end);
  }
}

json json_read(const void *ptr, size_t len) {
  if (!ptr) return absent;
  const char *end = (const char *)ptr + len, *at = skip_space(ptr, end);
  const char *after = skip_value(at, end, 0);
  return after ? (json){at, (size_t)(after - at)} : absent;
}

json json_member(json object, const char *name) {
  if (!object.ptr || *object.ptr != '{') return absent;
  const char *end = object.ptr + object.len, *at = skip_space(object.ptr + 1, end);
  while (at < end && *at == '"') {
    const char *after = skip_string(at, end);
    if (!after) return absent;
    /* Names that we search for need no escapes. */
    bool found = (size_t)(after - at) == strlen(name) + 2 && memcmp(at + 1, name, strlen(name)) == 0;
    at = skip_space(after, end);
    if (at >= end || *at != ':') return absent;
    at = skip_space(at + 1, end);
    after = skip_value(at, end, 1);
    if (!after) return absent;
    if (found) return (json){at, (size_t)(after - at)};
    at = skip_space(after, end);
    if (at >= end || *at != ',') return absent;
    at = skip_space(at + 1, end);
  }
  return absent;
}

json json_item(json array, size_t *at) {
  if (!array.ptr || *array.ptr != '[' || *at >= array.len) return absent;
  const char *end = array.ptr + array.len, *from = skip_space(array.ptr + *at, end);
  /* An item follows the bracket or a comma. */
  if (from >= end || (*from != '[' && *from != ',') || (*from == '[' && *at != 0)) return absent;
  from = skip_space(from + 1, end);
  const char *after = skip_value(from, end, 1);
  if (!after) return absent;
  *at = (size_t)(after - array.ptr);
  return (json){from, (size_t)(after - from)};
}

static bool hex4(const char *at, const char *end, uint32_t *out) {
  if (end - at < 4) return false;
  *out = 0;
  for (int i = 0; i < 4; i++) {
    char c = at[i];
    uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                     : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10
                     : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A') + 10
                                            : 16;
    if (digit > 15) return false;
    *out = *out << 4 | digit;
  }
  return true;
}

static size_t utf8(uint32_t point, char out[4]) {
  if (point < 0x80) return out[0] = (char)point, 1;
  if (point < 0x800) return out[0] = (char)(0xc0 | point >> 6), out[1] = (char)(0x80 | (point & 0x3f)), 2;
  if (point < 0x10000) {
    out[0] = (char)(0xe0 | point >> 12), out[1] = (char)(0x80 | (point >> 6 & 0x3f));
    return out[2] = (char)(0x80 | (point & 0x3f)), 3;
  }
  out[0] = (char)(0xf0 | point >> 18), out[1] = (char)(0x80 | (point >> 12 & 0x3f));
  return out[2] = (char)(0x80 | (point >> 6 & 0x3f)), out[3] = (char)(0x80 | (point & 0x3f)), 4;
}

bool json_string(json value, char *out, size_t size) {
  if (!value.ptr || value.len < 2 || *value.ptr != '"' || size == 0) return false;
  const char *at = value.ptr + 1, *end = value.ptr + value.len - 1;
  size_t len = 0;
  while (at < end) {
    char piece[4] = {*at};
    size_t piece_len = 1;
    if (*at++ == '\\') {
      static const char plain[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
      if (at >= end) return false;
      const char *escape = *at ? strchr(plain, *at) : NULL;
      uint32_t point, low;
      if (escape) {
        piece[0] = means[escape - plain];
        at++;
      } else if (*at == 'u' && hex4(at + 1, end, &point)) {
        at += 5;
        if (point >= 0xd800 && point < 0xdc00) {
          if (end - at < 6 || at[0] != '\\' || at[1] != 'u' || !hex4(at + 2, end, &low)) return false;
          if (low < 0xdc00 || low > 0xdfff) return false;
          point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
          at += 6;
        } else if (point >= 0xdc00 && point <= 0xdfff) {
          return false;
        }
        piece_len = utf8(point, piece);
      } else {
        return false;
      }
    }
    if (piece[0] == 0 || size - len <= piece_len) return false;
    memcpy(out + len, piece, piece_len);
    len += piece_len;
  }
  out[len] = 0;
  return true;
}

bool json_number(json value, uint64_t *out) {
  if (!value.ptr || value.len == 0 || value.len > 16) return false;
  *out = 0;
  for (size_t i = 0; i < value.len; i++) {
    if (value.ptr[i] < '0' || value.ptr[i] > '9') return false;
    *out = *out * 10 + (uint64_t)(value.ptr[i] - '0');
  }
  return *out <= (1ull << 53);
}

static void add(json_text *text, const char *raw, size_t len) {
  if (text->failed) return;
  if (text->size - text->len < len) {
    size_t size = (text->len + len) * 2;
    char *grown = realloc(text->ptr, size);
    if (!grown) {
      text->failed = true;
      return;
    }
    text->ptr = grown;
    text->size = size;
  }
  memcpy(text->ptr + text->len, raw, len);
  text->len += len;
}

void json_add(json_text *text, const char *raw) { add(text, raw, strlen(raw)); }

void json_add_string(json_text *text, const char *value) {
  json_add(text, "\"");
  for (const char *at = value; *at; at++) {
    char escaped[8];
    if (*at == '"' || *at == '\\') {
      snprintf(escaped, sizeof escaped, "\\%c", *at);
      json_add(text, escaped);
    } else if ((unsigned char)*at < 0x20) {
      snprintf(escaped, sizeof escaped, "\\u%04x", *at);
      json_add(text, escaped);
    } else {
      add(text, at, 1);
    }
  }
  json_add(text, "\"");
}

void json_add_number(json_text *text, uint64_t value) {
  char digits[24];
  snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
  json_add(text, digits);
}

char *json_close(json_text *text) {
  add(text, "", 1);
  if (!text->failed) return text->ptr;
  free(text->ptr);
  return NULL;
}
