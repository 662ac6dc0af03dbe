/* A plugin that breaks one rule at a time; which one is in its configuration, or in a macro where it is about the
 * file itself. The facilitator's tests compile and load it: whatever it does, only its own calls may suffer.
 *
 * Faults in "x402.supported":  none never twice garbage deep control badstatus huge nowhere block refuse hold stray
 *        in "chain.broadcast": send-never (a send, then silence), send-garbage (then the response to another request),
 *                              hold-send (sends after it was released)
 *        in create:            null null-with-error hang process (changes what belongs to the process)
 *        in plugin.start:      start-fails
 *        in any call:          call (uses sleep.v1 on behalf of the call id in "parent"), badcalls, flood
 * "plugin.health" always works: it completes the calls that were held, and reports how often buffers were released. */
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "x402_plugin.h"

#ifndef MAJOR
#define MAJOR X402P_ABI_MAJOR
#endif
#ifndef TABLE_SIZE
#define TABLE_SIZE sizeof(x402p_plugin)
#endif
#ifndef MANIFEST_ID
#define MANIFEST_ID "hostile"
#endif

#define MANIFEST_OF(id)                                                                                              \
  "{\"id\":\"" id "\",\"version\":\"1.0.0\",\"abi\":{\"major\":1,\"minor\":0},\"description\":\"Breaks rules\","      \
  "\"licence\":\"MIT\",\"services\":[\"rpc.v1\",\"sleep.v1\"],"                                                       \
  "\"drivers\":[{\"family\":\"test\",\"suite\":\"secp256k1\",\"rpcReads\":[],\"rpcSends\":[\"send\"]}],"              \
  "\"schemes\":[{\"scheme\":\"hostile\",\"family\":\"test\",\"versions\":[2],\"calls\":[]}],"                         \
  "\"configSchema\":{\"type\":\"object\",\"required\":[\"fault\"],\"additionalProperties\":false,"                    \
  "\"properties\":{\"fault\":{\"type\":\"string\"},\"parent\":{\"type\":\"integer\"}}}}"
#ifndef NO_MANIFEST
X402P_MANIFEST(MANIFEST_OF("hostile"));
#endif
static const char table_manifest[] = MANIFEST_OF(MANIFEST_ID);

struct x402p_instance {
  const x402p_host *host;
  uint64_t id;
  char fault[64];
  uint64_t parent;
  atomic_int given, released;
  pthread_mutex_t lock;
  struct held { void *ctx; x402p_complete_fn complete; uint64_t call_id; } held[64];
  int holding;
};

#ifdef UNDEFINED_SYMBOL
int no_such_function(void);
int uses_it(void) { return no_such_function(); }
#endif

static void release(void *owner, const uint8_t *ptr, size_t len) {
  (void)len;
  atomic_fetch_add(&((x402p_instance *)owner)->released, 1);
  free((void *)ptr);
}

static x402p_buf given(x402p_instance *self, const char *text, size_t len) {
  uint8_t *copy = malloc(len);
  memcpy(copy, text, len);
  atomic_fetch_add(&self->given, 1);
  x402p_buf buf = {copy, len, self, release};
  return buf;
}

static void answer(x402p_instance *self, const struct held *to, int32_t status, const char *text) {
  to->complete(to->ctx, status, given(self, text, strlen(text)));
}

static const char nothing_supported[] = "{\"kinds\":[],\"extensions\":[],\"signers\":[]}";

/* what host.call completes: the status goes into the answer of the call that is waiting */
struct pending { x402p_instance *self; struct held waiting; };

static void host_replied(void *ctx, int32_t status, x402p_buf response) {
  struct pending *pending = ctx;
  char text[64];
  if (response.release) response.release(response.owner, response.ptr, response.len);
  if (pending->waiting.complete) {
    snprintf(text, sizeof text, "{\"kinds\":[],\"extensions\":[\"%d\"],\"signers\":[]}", (int)status);
    answer(pending->self, &pending->waiting, X402P_OK, text);
  }
  free(pending);
}

static int32_t call_host(x402p_instance *self, const char *service, const char *request, uint64_t parent,
                         const struct held *waiting) {
  static atomic_ullong next = 1;
  struct pending *pending = calloc(1, sizeof *pending);
  pending->self = self;
  if (waiting) pending->waiting = *waiting;
  x402p_call call = {0};
  call.struct_size = sizeof call;
  call.call_id = atomic_fetch_add(&next, 1);
  call.parent_id = parent;
  call.op = (x402p_bytes){(const uint8_t *)service, strlen(service)};
  call.request = (x402p_bytes){(const uint8_t *)request, strlen(request)};
  call.ctx = pending;
  call.complete = host_replied;
  int32_t status = self->host->call(self->host->ctx, self->id, &call);
  if (status < 0) free(pending);
  return status;
}

static const char send_request[] =
    "{\"type\":\"send\",\"network\":\"test:1\",\"attemptId\":\"a\",\"method\":\"send\",\"params\":[],\"encoding\":\"hex\"}";

static void block_for_ever(void) {
  pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&lock);
  pthread_mutex_lock(&lock);
}

static void nothing(void *task) { (void)task; }

static int is(const x402p_instance *self, const char *fault) { return strcmp(self->fault, fault) == 0; }

static int op_is(const x402p_call *call, const char *name) {
  return call->op.len == strlen(name) && memcmp(call->op.ptr, name, call->op.len) == 0;
}

static void hold(x402p_instance *self, const struct held *one) {
  pthread_mutex_lock(&self->lock);
  if (self->holding < 64) self->held[self->holding++] = *one;
  pthread_mutex_unlock(&self->lock);
}

static void let_go(x402p_instance *self) {
  pthread_mutex_lock(&self->lock);
  for (int i = 0; i < self->holding; i++) {
    if (is(self, "hold-send")) call_host(self, "rpc.v1", send_request, self->held[i].call_id, NULL);
    answer(self, &self->held[i], X402P_OK, nothing_supported);
  }
  self->holding = 0;
  pthread_mutex_unlock(&self->lock);
}

/* malformed calls of the host; all must be refused without a completion */
static const char *bad_calls(x402p_instance *self) {
  x402p_call call = {0};
  int32_t (*host)(void *, uint64_t, const x402p_call *) = self->host->call;
  void *ctx = self->host->ctx;
  const uint8_t *service = (const uint8_t *)"sleep.v1";
  if (host(ctx, self->id, NULL) >= 0) return "a null call was taken";
  call.struct_size = 95;
  if (host(ctx, self->id, &call) >= 0) return "a short call was taken";
  call.struct_size = sizeof call;
  call.op = (x402p_bytes){service, 8};
  call.request = (x402p_bytes){(const uint8_t *)"{\"millis\":0}", 12};
  if (host(ctx, self->id, &call) >= 0) return "a call without complete was taken";
  call.complete = host_replied;
  if (host(ctx, self->id + 1, &call) >= 0) return "another instance's id was taken";
  call.request = (x402p_bytes){NULL, 12};
  if (host(ctx, self->id, &call) >= 0) return "a null request was taken";
  call.request = (x402p_bytes){service, (size_t)1 << 40};
  if (host(ctx, self->id, &call) >= 0) return "a terabyte was taken";
  call.request = (x402p_bytes){service, 8};
  call.op = (x402p_bytes){(const uint8_t *)"\xff\xfe", 2};
  if (host(ctx, self->id, &call) >= 0) return "a service that is no text was taken";
  self->host->spawn(ctx, self->id, NULL, NULL);
  self->host->cancel(ctx, self->id, 12345678);
  self->host->log(ctx, self->id, 0, 99, (x402p_bytes){NULL, 9}, (x402p_bytes){NULL, (size_t)-1}, (x402p_bytes){NULL, 9});
  self->host->metric(ctx, self->id, 99, (x402p_bytes){NULL, 9}, 0.0, (x402p_bytes){NULL, 9});
  return "";
}

static void change_the_process(void) {
  signal(SIGTERM, SIG_IGN);
  signal(SIGSEGV, SIG_DFL);
  umask(0);
  setlocale(LC_ALL, "");
  setenv("HOSTILE_WAS_HERE", "1", 1);
  if (chdir("/")) abort();
}

static x402p_instance *create(const x402p_host *host, uint64_t id, x402p_bytes config, x402p_buf *error) {
  x402p_instance *self = calloc(1, sizeof *self);
  char *text = calloc(config.len + 1, 1), *at;
  memcpy(text, config.ptr, config.len);
  self->host = host;
  self->id = id;
  pthread_mutex_init(&self->lock, NULL);
  if ((at = strstr(text, "\"fault\":\""))) sscanf(at, "\"fault\":\"%63[^\"]", self->fault);
  if ((at = strstr(text, "\"parent\":"))) self->parent = strtoull(at + 9, NULL, 10);
  free(text);
  if (is(self, "hang")) block_for_ever();
  if (is(self, "null-with-error")) {
    static const char why[] = "no money, no plugin";
    *error = (x402p_buf){(const uint8_t *)why, sizeof why - 1, NULL, NULL};
  }
  if (is(self, "process")) change_the_process();
  return is(self, "null") || is(self, "null-with-error") ? NULL : self;
}

static int32_t submit(x402p_instance *self, const x402p_call *call) {
  struct held one = {call->ctx, call->complete, call->call_id};
  if (op_is(call, "plugin.start")) {
    if (is(self, "start-fails")) answer(self, &one, X402P_E_UNAVAILABLE, "{\"message\":\"the dog ate it\"}");
    else return X402P_E_UNSUPPORTED;
  } else if (op_is(call, "plugin.health")) {
    char text[96];
    let_go(self);
    snprintf(text, sizeof text, "{\"healthy\":true,\"message\":\"%d given, %d released\"}", atomic_load(&self->given),
             atomic_load(&self->released));
    answer(self, &one, X402P_OK, text);
  } else if (op_is(call, "chain.broadcast")) {
    if (is(self, "hold-send")) hold(self, &one);
    else call_host(self, "rpc.v1", send_request, call->call_id, is(self, "send-garbage") ? &one : NULL);
  } else if (is(self, "never")) {
  } else if (is(self, "twice")) {
    answer(self, &one, X402P_OK, nothing_supported);
    answer(self, &one, X402P_E_INTERNAL, "{}");
  } else if (is(self, "garbage")) {
    answer(self, &one, X402P_OK, "{\"kinds\": not json \xff");
  } else if (is(self, "deep")) {
    size_t len = 500000;
    char *text = malloc(len);
    memset(text, '[', len);
    one.complete(one.ctx, X402P_OK, given(self, text, len));
    free(text);
  } else if (is(self, "control")) {
    answer(self, &one, X402P_E_INTERNAL, "one\n2026-01-01T00:00:00Z ERROR forged \x1b[31m\a\u2028");
  } else if (is(self, "badstatus")) {
    answer(self, &one, 42, "{\"message\":\"forty-two\"}");
  } else if (is(self, "huge")) {
    size_t len = (size_t)2 << 20;
    char *text = malloc(len);
    memset(text, ' ', len);
    one.complete(one.ctx, X402P_OK, given(self, text, len));
    free(text);
  } else if (is(self, "nowhere")) {
    one.complete(one.ctx, X402P_OK, (x402p_buf){NULL, 5, NULL, NULL});
  } else if (is(self, "block")) {
    block_for_ever();
  } else if (is(self, "refuse")) {
    answer(self, &one, X402P_OK, nothing_supported);
    return X402P_E_INTERNAL;
  } else if (is(self, "hold")) {
    hold(self, &one);
  } else if (is(self, "stray")) {
    one.complete((void *)(uintptr_t)0xfeedfacecafebeefull, X402P_OK, (x402p_buf){NULL, 0, NULL, NULL});
    answer(self, &one, X402P_OK, nothing_supported);
  } else if (is(self, "call")) {
    int32_t status = call_host(self, "sleep.v1", "{\"millis\":1}", self->parent ? self->parent : call->call_id, &one);
    if (status < 0) return status;
  } else if (is(self, "badcalls")) {
    const char *complaint = bad_calls(self);
    char text[128];
    snprintf(text, sizeof text, "{\"message\":\"%s\"}", complaint);
    if (*complaint) answer(self, &one, X402P_E_INTERNAL, text);
    else answer(self, &one, X402P_OK, nothing_supported);
  } else if (is(self, "flood")) {
    for (int i = 0; i < 100000; i++) self->host->spawn(self->host->ctx, self->id, nothing, NULL);
    answer(self, &one, X402P_OK, nothing_supported);
  } else {
    answer(self, &one, X402P_OK, nothing_supported);
  }
  return X402P_OK;
}

static void cancel(x402p_instance *self, uint64_t call_id) { (void)self; (void)call_id; }

static void destroy(x402p_instance *self) {
  static const char said[] = "destroyed";
  const x402p_bytes none = {NULL, 0}, message = {(const uint8_t *)said, sizeof said - 1};
  self->host->log(self->host->ctx, self->id, 0, 3, none, message, none);
  pthread_mutex_destroy(&self->lock);
  free(self);
}

#ifdef NULL_SUBMIT
#define submit NULL
#endif
static const x402p_plugin table = {
    (uint32_t)TABLE_SIZE, MAJOR, X402P_ABI_MINOR, X402P_F_INLINE,
    {(const uint8_t *)table_manifest, sizeof table_manifest - 1}, create, submit, cancel, destroy};

#ifndef NO_ENTRY
const x402p_plugin *X402P_ENTRY(uint16_t host_major, uint16_t host_minor) {
  (void)host_major;
  (void)host_minor;
#ifdef REFUSES
  return NULL;
#else
  return &table;
#endif
}
#endif
