/* SHA-256 (FIPS 180-4). */
#ifndef SHA256_H
#define SHA256_H
#include <stddef.h>

/* The digest of a text as 64 lower-case hex digits and a closing NUL. */
void sha256_hex(const void *data, size_t len, char out[65]);
#endif
