/* A scheme that ends its process. Where and how is in its configuration: the tests load it beside a scheme that works, and see
 * what it costs. Otherwise its payments are calls of an asset's approve(address,uint256), which need no buyer.
 *
 * "at": load create start check identify verify plan judge never     "how": abort exit exit0 segv overflow thread texit hang
 * spin flood fill     "mark": only in calls whose request has this text; then the
 * payments without it are judged as paid */
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "x402_plugin.h"

#define MANIFEST                                                                                                     \
  "{\"id\":\"fatal\",\"version\":\"1.0.0\",\"abi\":{\"major\":1,\"minor\":0},\"description\":\"Ends the process\","   \
  "\"licence\":\"MIT\",\"services\":[],\"drivers\":[],"                                                               \
  "\"schemes\":[{\"scheme\":\"fatal\",\"family\":\"eip155\",\"versions\":[2],"                                        \
  "\"calls\":[{\"target\":\"asset\",\"operations\":[\"0x095ea7b3\"]}]}],"                                             \
  "\"configSchema\":{\"type\":\"object\",\"required\":[\"at\",\"how\"],\"additionalProperties\":false,"               \
  "\"properties\":{\"at\":{\"type\":\"string\"},\"how\":{\"type\":\"string\"},\"mark\":{\"type\":\"string\"}}}}"
X402P_MANIFEST(MANIFEST);
static const char table_manifest[] = MANIFEST;

struct x402p_instance { char at[16], how[16], mark[64]; };

static int deeper(volatile char *above, int depth) {
  volatile char here[4096];
  here[0] = above ? above[0] : 1;
  return depth < 0 ? 0 : deeper(here, depth + 1) + here[depth % 4096];
}

static void *on_a_thread(void *nothing) {
  (void)nothing;
  *(volatile int *)8 = 1;
  return NULL;
}

static void *exits_on_a_thread(void *nothing) {
  (void)nothing;
  exit(0);
}

/* the host, for a flood of log lines */
static const x402p_host *its_host;

static void flood(void) {
  const x402p_bytes text = {(const uint8_t *)"flood", 5}, nothing = {NULL, 0};
  for (;;) its_host->log(its_host->ctx, 1, 0, 1, text, text, nothing);
}

static void end(const char *how) {
  pthread_t thread;
  if (!strcmp(how, "spin")) for (volatile int i = 0;; i++) continue;
  if (!strcmp(how, "flood")) flood();
  if (!strcmp(how, "fill")) for (char *block; (block = malloc(1 << 20));) memset(block, 1, 1 << 20);
  if (!strcmp(how, "abort")) abort();
  if (!strcmp(how, "exit")) exit(3);
  if (!strcmp(how, "exit0")) exit(0);
  if (!strcmp(how, "segv")) *(volatile int *)8 = 1;
  if (!strcmp(how, "overflow")) deeper(NULL, 0);
  if (!strcmp(how, "thread") && !pthread_create(&thread, NULL, on_a_thread, NULL)) pthread_join(thread, NULL);
  if (!strcmp(how, "texit") && !pthread_create(&thread, NULL, exits_on_a_thread, NULL)) pthread_join(thread, NULL);
  for (;;) pause();
}

#ifdef AT_LOAD
__attribute__((constructor)) static void at_load(void) { end(AT_LOAD); }
#endif

static void release(void *owner, const uint8_t *ptr, size_t len) {
  (void)owner;
  (void)len;
  free((void *)ptr);
}

static x402p_instance *create(const x402p_host *host, uint64_t id, x402p_bytes config, x402p_buf *error) {
  x402p_instance *self = calloc(1, sizeof *self);
  char *text = calloc(config.len + 1, 1), *found;
  its_host = host;
  (void)id;
  (void)error;
  memcpy(text, config.ptr, config.len);
  if ((found = strstr(text, "\"at\":\""))) sscanf(found, "\"at\":\"%15[^\"]", self->at);
  if ((found = strstr(text, "\"how\":\""))) sscanf(found, "\"how\":\"%15[^\"]", self->how);
  if ((found = strstr(text, "\"mark\":\""))) sscanf(found, "\"mark\":\"%63[^\"]", self->mark);
  free(text);
  if (!strcmp(self->at, "create")) end(self->how);
  return self;
}

static int is(const x402p_call *call, const char *name) {
  return call->op.len == strlen(name) && memcmp(call->op.ptr, name, call->op.len) == 0;
}

/* the text of the first member of this name */
static void member(const char *text, const char *name, char *into) {
  char start[64];
  snprintf(start, sizeof start, "\"%s\":\"", name);
  const char *found = strstr(text, start);
  strcpy(into, "");
  if (found) sscanf(found + strlen(start), "%127[^\"]", into);
}

static int32_t submit(x402p_instance *self, const x402p_call *call) {
  char text[2048], nonce[128], asset[128];
  const char *log;
  char *request = calloc(call->request.len + 1, 1);
  const char *op = memchr(call->op.ptr, '.', call->op.len);
  size_t rest = op ? call->op.len - (size_t)(op + 1 - (const char *)call->op.ptr) : 0;
  memcpy(request, call->request.ptr, call->request.len);
  if (op && rest == strlen(self->at) && !memcmp(op + 1, self->at, rest) && strstr(request, self->mark)) end(self->how);
  member(request, "nonce", nonce);
  member(request, "asset", asset);
  for (char *at = asset; *at; at++) *at = (char)tolower((unsigned char)*at);
  if (is(call, "x402.supported")) {
    strcpy(text, "{\"kinds\":[],\"extensions\":[],\"signers\":[]}");
  } else if (is(call, "x402.identify")) {
    snprintf(text, sizeof text,
             "{\"type\":\"identified\",\"payer\":\"payer\",\"claimKey\":\"%s\",\"conflictKeys\":[],\"fingerprint\":\"f\","
             "\"payloadDigest\":\"%s\",\"replayReason\":\"fatal_used\"}", nonce, nonce);
  } else if (is(call, "x402.verify")) {
    strcpy(text, "{\"type\":\"valid\",\"payer\":\"payer\"}");
  } else if (is(call, "x402.plan")) {
    snprintf(text, sizeof text,
             "{\"type\":\"plan\",\"payer\":\"payer\",\"steps\":[{\"call\":{\"target\":\"%s\","
             "\"operation\":\"0x095ea7b3\",\"data\":\"0x095ea7b3%064x%064x\",\"computeLimit\":100000},"
             "\"lane\":{\"type\":\"any\"},\"gate\":\"none\",\"onFail\":\"stop\",\"pays\":true,\"memo\":{\"nonce\":\"%s\"},"
             "\"evidence\":{\"logs\":[{\"emitter\":\"%s\",\"topics\":[]}]}}]}", asset, 1, 1, nonce, asset);
  } else if (is(call, "x402.judge") && *self->mark && (log = strstr(request, "\"logs\":[{\"id\":\""))) {
    char tx[128], item[128];
    member(request, "txId", tx);
    member(log, "id", item);
    snprintf(text, sizeof text, "{\"type\":\"paid\",\"txId\":\"%s\",\"items\":[\"%s\"],\"reply\":{\"payer\":\"payer\"}}", tx, item);
  } else if (is(call, "x402.judge")) {
    strcpy(text, "{\"type\":\"unproven\",\"why\":\"it proves nothing\"}");
  } else {
    free(request);
    return X402P_E_UNSUPPORTED;
  }
  free(request);
  call->complete(call->ctx, X402P_OK, (x402p_buf){(const uint8_t *)strdup(text), strlen(text), NULL, release});
  return X402P_OK;
}

static void cancel(x402p_instance *self, uint64_t call_id) { (void)self; (void)call_id; }
static void destroy(x402p_instance *self) { free(self); }

static const x402p_plugin table = {
    (uint32_t)sizeof(x402p_plugin), X402P_ABI_MAJOR, X402P_ABI_MINOR, X402P_F_INLINE,
    {(const uint8_t *)table_manifest, sizeof table_manifest - 1}, create, submit, cancel, destroy};

const x402p_plugin *X402P_ENTRY(uint16_t host_major, uint16_t host_minor) {
  (void)host_major;
  (void)host_minor;
  return &table;
}
