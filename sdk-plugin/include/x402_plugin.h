/* x402_plugin.h - ABI of x402 facilitator plugins, major 1, minor 0. MIT OR Apache-2.0.
 *
 * This file is the canonical definition; every SDK mirrors it. A plugin is a shared library that exports one
 * function, x402_plugin_entry_v1. Host and plugin exchange bytes, opaque pointers and completion callbacks;
 * each payload is a JSON object whose schema lies in ../schemas, one file per operation and direction.
 *
 * RULES
 *  R1 Structs are append-only. Every table and call starts with struct_size = sizeof as compiled by its PRODUCER.
 *     A consumer reads a field only if offsetof(field)+sizeof(field) <= struct_size. New fields may be NULL/0.
 *     All fields of minor 0 are always there: a smaller struct_size is refused.
 *  R2 x402p_bytes is borrowed: valid until the call it was passed to returns. Copy it to keep it.
 *  R3 x402p_buf is owned, moved with the call. The receiver calls release(owner,ptr,len) exactly once, from
 *     any thread. Neither side frees the other side's memory in any other way (allocators are not shared).
 *  R4 If submit()/call() returns 0 the producer calls complete() EXACTLY ONCE - possibly inline before
 *     submit() returns, possibly from any thread. If it returns < 0, complete() is NEVER called.
 *  R5 No function may unwind (panic/exception/longjmp) into the other side.
 *  R6 Every function except create/destroy may be called concurrently from any thread, must not block
 *     (target < 1 ms) and must not assume thread-locals, an async runtime, cwd, locale or signal masks.
 *     The host calls submit, cancel, spawned tasks and completions of host services on threads that it keeps for
 *     this instance alone: one that blocks starves only its own instance.
 *  R7 Plugins never install signal handlers, never call exit(), never fork without exec.
 *  R8 The host never unloads the library. destroy() must stop and join every thread of that instance.
 *  R9 All text is UTF-8, all payloads are JSON (RFC 8259). Unknown JSON members MUST be ignored. Integers above
 *     2^53 are decimal strings, bytes are 0x-hex strings, a message is at most 1 MiB unless the manifest requests more.
 */
#ifndef X402_PLUGIN_H
#define X402_PLUGIN_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define X402P_ABI_MAJOR 1
#define X402P_ABI_MINOR 0

enum {
  X402P_OK = 0,             /* response = JSON result. A refused payment is OK with a refusal in it */
  X402P_E_INVALID = -1,     /* malformed request / config */
  X402P_E_UNSUPPORTED = -2, /* unknown op, scheme, network or host service */
  X402P_E_CANCELLED = -3,   /* stopped before any external effect */
  X402P_E_DEADLINE = -4,    /* timed out before any external effect */
  X402P_E_OVERLOADED = -5,  /* shed; the host may retry elsewhere */
  X402P_E_SHUTDOWN = -6,    /* instance is draining */
  X402P_E_PANIC = -7,       /* caught panic/exception, before any external effect */
  X402P_E_INTERNAL = -8,    /* a defect of the answering side */
  X402P_E_DENIED = -9,      /* host policy refused (signer, service, ...) */
  X402P_E_INDETERMINATE = -10, /* an external effect MAY have happened: reconcile, never blindly retry */
  X402P_E_UNAVAILABLE = -11 /* something outside (RPC, signer) did not answer: not the plugin's fault */
};
/* With a negative status the response is empty or a JSON fault {"message": "...", "retryAfterMs": 1000}; both members
   are optional. A status that is not in this list counts as X402P_E_INTERNAL. */

typedef struct x402p_bytes { const uint8_t *ptr; size_t len; } x402p_bytes;
typedef struct x402p_buf {
  const uint8_t *ptr; size_t len; void *owner;
  void (*release)(void *owner, const uint8_t *ptr, size_t len); /* may be NULL: static or empty */
} x402p_buf;

typedef void (*x402p_complete_fn)(void *ctx, int32_t status, x402p_buf response);

/* one asynchronous call, either direction. Borrowed like x402p_bytes: copy what is needed later */
typedef struct x402p_call {
  uint32_t struct_size;
  uint32_t reserved;        /* 0 */
  uint64_t call_id;         /* not 0; unique per caller; key for cancel(); correlates logs */
  uint64_t parent_id;       /* host->plugin: 0. plugin->host: call_id being served, 0 = background. An id that is not
                               an open call of the same instance counts as 0 */
  uint64_t timeout_ns;      /* remaining budget, 0 = none. Relative: immune to clock skew */
  x402p_bytes op;           /* "x402.verify", "x402.plan", "chain.build", ... or a host service "rpc.v1", ... */
  x402p_bytes request;      /* JSON */
  x402p_bytes trace;        /* W3C traceparent, may be empty */
  void *ctx;                /* handed back to complete() untouched; not a pointer to follow */
  x402p_complete_fn complete;
} x402p_call;

/* ---- host side, given to the plugin once; valid for the life of the process ---- */
typedef struct x402p_host {
  uint32_t struct_size; uint16_t abi_major, abi_minor;
  void *ctx;
  /* structured log; fields is a JSON object or empty. level: 1 error .. 5 trace */
  void (*log)(void *ctx, uint64_t instance_id, uint64_t call_id, int32_t level,
              x402p_bytes target, x402p_bytes message, x402p_bytes fields);
  int32_t (*log_level)(void *ctx);            /* cheap; check before formatting */
  uint64_t (*now_unix_ns)(void *ctx);         /* the only clock verification may use */
  /* kind: 0 counter add, 1 gauge set, 2 histogram observe; labels: JSON object of strings */
  void (*metric)(void *ctx, uint64_t instance_id, int32_t kind, x402p_bytes name, double value, x402p_bytes labels);
  int32_t (*call)(void *ctx, uint64_t instance_id, const x402p_call *call); /* host services, same R4 */
  void (*cancel)(void *ctx, uint64_t instance_id, uint64_t call_id);
  /* run(task) exactly once on a thread of this instance, soon. run must not block. Lets an SDK drive its futures
     without owning threads. An instance that piles up more tasks than the host allows loses the excess. */
  void (*spawn)(void *ctx, uint64_t instance_id, void (*run)(void *task), void *task);
} x402p_host;

typedef struct x402p_instance x402p_instance; /* opaque, owned by the plugin */

/* ---- plugin side ---- */
typedef struct x402p_plugin {
  uint32_t struct_size; uint16_t abi_major, abi_minor;
  uint64_t flags;
  x402p_bytes manifest;     /* same JSON as the .x402p section; static */
  /* cheap, no I/O. config is JSON already validated against the manifest's configSchema.
     On error return NULL and fill *error with a sentence or a JSON fault (owned by the host afterwards).
     I/O belongs in op "plugin.start". */
  x402p_instance *(*create)(const x402p_host *host, uint64_t instance_id, x402p_bytes config, x402p_buf *error);
  int32_t (*submit)(x402p_instance *, const x402p_call *);
  void (*cancel)(x402p_instance *, uint64_t call_id); /* advisory; unknown ids ignored; complete() still fires once */
  /* host calls it only when no submitted call is outstanding. Joins threads, frees. */
  void (*destroy)(x402p_instance *);
  /* -- ABI 1.1 fields go here -- */
} x402p_plugin;

#define X402P_F_UNWIND   (1ull << 0) /* panics are caught (not panic=abort) */
#define X402P_F_INLINE   (1ull << 1) /* may complete inline */

/* The only exported symbol. Returns NULL to refuse (then the host reports "refused by plugin"). */
#define X402P_ENTRY x402_plugin_entry_v1
typedef const x402p_plugin *(*x402p_entry_fn)(uint16_t host_abi_major, uint16_t host_abi_minor);

/* Puts the manifest where the host reads it before any code runs. Point x402p_plugin.manifest at
   x402p_manifest_section too (without the closing NUL), which also keeps the linker from dropping it. */
#if defined(__ELF__)
#define X402P_MANIFEST(json) \
  __attribute__((section(".x402p"), used, aligned(1))) static const char x402p_manifest_section[] = json
#else
#define X402P_MANIFEST(json) static const char x402p_manifest_section[] = json
#endif

#if UINTPTR_MAX == 0xffffffffffffffffull && (defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L)
_Static_assert(sizeof(x402p_bytes) == 16, "abi"); _Static_assert(sizeof(x402p_buf) == 32, "abi");
_Static_assert(sizeof(x402p_call) == 96, "abi"); _Static_assert(offsetof(x402p_call, complete) == 88, "abi");
_Static_assert(sizeof(x402p_host) == 72, "abi"); _Static_assert(offsetof(x402p_host, call) == 48, "abi");
_Static_assert(sizeof(x402p_plugin) == 64, "abi"); _Static_assert(offsetof(x402p_plugin, submit) == 40, "abi");
#endif
#ifdef __cplusplus
}
#endif
#endif
