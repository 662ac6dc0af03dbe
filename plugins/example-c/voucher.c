/* The scheme `voucher`, written in C against x402_plugin.h alone: single-use codes that the operator has issued pay for
 * a resource, without any transaction. The same scheme as plugins/example-rust, without its route.
 *
 * Flow: `identify` makes the code's digest the claim key; `verify` and `plan` find the digest in the configuration and
 * query the host's store whether it was redeemed; `plan` answers "done" with a row that must be absent, which the host
 * writes in the commit that records the payment. So a code pays once, whatever this file does.
 *
 * Assumed: the host has checked the configuration against the manifest's schema. Nothing else is believed. */
#include "json.h"
#include "sha256.h"
#include "x402_plugin.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

X402P_MANIFEST(
    "{\"id\":\"example-voucher-c\",\"version\":\"0.1.0\",\"abi\":{\"major\":1,\"minor\":0},"
    "\"description\":\"Scheme \\\"voucher\\\" in C: single-use codes pay, without any transaction.\","
    "\"licence\":\"MIT OR Apache-2.0\","
    "\"schemes\":[{\"scheme\":\"voucher\",\"family\":\"eip155\",\"versions\":[2],\"calls\":[]},"
    "{\"scheme\":\"voucher\",\"family\":\"ledger\",\"versions\":[2],\"calls\":[]}],"
    "\"services\":[\"store.v1\"],"
    "\"configSchema\":{\"type\":\"object\",\"required\":[\"vouchers\"],\"additionalProperties\":false,\"properties\":{"
    "\"vouchers\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"additionalProperties\":false,"
    "\"required\":[\"sha256\",\"network\",\"asset\",\"amount\",\"payTo\",\"expiresAtS\"],\"properties\":{"
    "\"sha256\":{\"type\":\"string\",\"pattern\":\"^[0-9a-f]{64}$\"},"
    "\"network\":{\"type\":\"string\",\"pattern\":\"^(eip155:[1-9][0-9]*|ledger:[a-z0-9-]+)$\",\"maxLength\":64},"
    "\"asset\":{\"type\":\"string\",\"maxLength\":64},"
    "\"amount\":{\"type\":\"string\",\"pattern\":\"^(0|[1-9][0-9]{0,77})$\"},"
    "\"payTo\":{\"type\":\"string\",\"maxLength\":64},"
    "\"expiresAtS\":{\"type\":\"integer\",\"minimum\":0}}}}}}}");

/* What a voucher pays for, or what a request requires. */
struct terms { char network[65], asset[65], pay_to[65], amount[80]; };

struct voucher { char sha256[65]; struct terms terms; uint64_t expires_at_s; };

struct x402p_instance {
  const x402p_host *host;
  uint64_t id;
  struct voucher *vouchers;
  size_t count;
  atomic_ullong next_call;
};

/* A verify or plan that waits for the store. */
struct waiting {
  x402p_instance *self;
  const struct voucher *voucher;
  bool plans;
  void *ctx;
  x402p_complete_fn complete;
};

static void release(void *owner, const uint8_t *ptr, size_t len) {
  (void)owner, (void)len;
  free((void *)ptr);
}

/* Hands a text over to the host, which releases it. */
static void answer(x402p_complete_fn complete, void *ctx, int32_t status, json_text text) {
  if (text.failed) {
    free(text.ptr);
    complete(ctx, X402P_E_INTERNAL, (x402p_buf){0});
  } else {
    complete(ctx, status, (x402p_buf){(uint8_t *)text.ptr, text.len, NULL, release});
  }
}

static void fault(x402p_complete_fn complete, void *ctx, int32_t status, const char *message) {
  json_text text = {0};
  json_add(&text, "{\"message\":");
  json_add_string(&text, message);
  json_add(&text, "}");
  answer(complete, ctx, status, text);
}

/* Who pays whom: the holder of the code, and the payee. */
static void add_parties(json_text *text, const struct voucher *voucher) {
  json_add(text, ",\"parties\":{\"senders\":[\"voucher:");
  json_add(text, voucher->sha256);
  json_add(text, "\"],\"receivers\":[");
  json_add_string(text, voucher->terms.pay_to);
  json_add(text, "]}");
}

static void add_payer(json_text *text, const char *sha256) {
  json_add(text, "\"payer\":\"voucher:");
  json_add(text, sha256);
  json_add(text, "\"");
}

/* `type`: how this operation spells a refusal. */
static void refuse(const x402p_call *call, const char *type, const char *reason, const char *sha256) {
  json_text text = {0};
  json_add(&text, "{\"type\":\"");
  json_add(&text, type);
  json_add(&text, "\",\"reason\":\"");
  json_add(&text, reason);
  json_add(&text, "\",");
  if (sha256) add_payer(&text, sha256);
  else json_add(&text, "\"payer\":\"\",\"message\":\"payload.code must be a text of 1 to 128 bytes\"");
  json_add(&text, "}");
  answer(call->complete, call->ctx, X402P_OK, text);
}

static void lower(char *text) {
  for (; *text; text++)
    if (*text >= 'A' && *text <= 'Z') *text = (char)(*text - 'A' + 'a');
}

static bool read_terms(json from, struct terms *out) {
  bool whole = json_string(json_member(from, "network"), out->network, sizeof out->network) &&
               json_string(json_member(from, "asset"), out->asset, sizeof out->asset) &&
               json_string(json_member(from, "payTo"), out->pay_to, sizeof out->pay_to) &&
               json_string(json_member(from, "amount"), out->amount, sizeof out->amount);
  if (whole) lower(out->asset), lower(out->pay_to);
  return whole;
}

/* The digest of the payload's code. The code itself is money: it is stored nowhere and never returned. */
static bool read_digest(json request, char sha256[65]) {
  char code[129];
  if (!json_string(json_member(json_member(request, "payload"), "code"), code, sizeof code) || !*code) return false;
  sha256_hex(code, strlen(code), sha256);
  memset(code, 0, sizeof code);
  return true;
}

static const struct voucher *find(const x402p_instance *self, const char *sha256) {
  for (size_t i = 0; i < self->count; i++)
    if (strcmp(self->vouchers[i].sha256, sha256) == 0) return &self->vouchers[i];
  return NULL;
}

static void supported(const x402p_instance *self, const x402p_call *call, json message) {
  char network[65];
  json_text text = {0};
  bool serves = false;
  if (json_string(json_member(json_member(json_member(message, "context"), "network"), "id"), network, sizeof network))
    for (size_t i = 0; i < self->count; i++) serves |= strcmp(self->vouchers[i].terms.network, network) == 0;
  json_add(&text, "{\"kinds\":[");
  if (serves) {
    json_add(&text, "{\"x402Version\":2,\"scheme\":\"voucher\",\"network\":");
    json_add_string(&text, network);
    json_add(&text, "}");
  }
  json_add(&text, "],\"extensions\":[],\"signers\":[]}");
  answer(call->complete, call->ctx, X402P_OK, text);
}

static void identify(const x402p_call *call, json request) {
  char sha256[65];
  struct terms terms;
  if (!read_digest(request, sha256)) return refuse(call, "refused", "invalid_voucher_payload", NULL);
  if (!read_terms(json_member(request, "requirements"), &terms))
    return refuse(call, "refused", "invalid_voucher_terms_mismatch", sha256);
  json_text text = {0}, fingerprint = {0};
  json_add(&fingerprint, "[");
  json_add_string(&fingerprint, terms.asset);
  json_add(&fingerprint, ",");
  json_add_string(&fingerprint, terms.pay_to);
  json_add(&fingerprint, ",");
  json_add_string(&fingerprint, terms.amount);
  json_add(&fingerprint, "]");
  char *closed = json_close(&fingerprint);
  if (!closed) return call->complete(call->ctx, X402P_E_INTERNAL, (x402p_buf){0});
  json_add(&text, "{\"type\":\"identified\",");
  add_payer(&text, sha256);
  json_add(&text, ",\"claimKey\":\"");
  json_add(&text, sha256);
  json_add(&text, "\",\"conflictKeys\":[],\"fingerprint\":");
  json_add_string(&text, closed);
  json_add(&text, ",\"payloadDigest\":\"");
  json_add(&text, sha256);
  json_add(&text, "\",\"replayReason\":\"invalid_voucher_already_redeemed\"}");
  free(closed);
  answer(call->complete, call->ctx, X402P_OK, text);
}

/* The store has answered: was the voucher redeemed? */
static void store_replied(void *ctx, int32_t status, x402p_buf response) {
  struct waiting waiting = *(struct waiting *)ctx;
  const struct voucher *voucher = waiting.voucher;
  free(ctx);
  json rows = json_member(json_read(response.ptr, response.len), "rows");
  size_t at = 0;
  bool understood = status == X402P_OK && rows.ptr, redeemed = understood && json_item(rows, &at).ptr;
  /* The text is the host's until here. */
  if (response.release) response.release(response.owner, response.ptr, response.len);
  if (!understood)
    return fault(waiting.complete, waiting.ctx, status < 0 ? status : X402P_E_INTERNAL, "the store gave no answer");
  json_text text = {0};
  if (redeemed) {
    json_add(&text, waiting.plans ? "{\"type\":\"refused\"," : "{\"type\":\"invalid\",");
    json_add(&text, "\"reason\":\"invalid_voucher_already_redeemed\",");
    add_payer(&text, voucher->sha256);
    json_add(&text, "}");
  } else if (!waiting.plans) {
    json_add(&text, "{\"type\":\"valid\",");
    add_payer(&text, voucher->sha256);
    add_parties(&text, voucher);
    json_add(&text, "}");
  } else {
    json_add(&text, "{\"type\":\"done\",\"reply\":{");
    add_payer(&text, voucher->sha256);
    json_add(&text, ",\"amount\":");
    json_add_string(&text, voucher->terms.amount);
    json_add(&text, "},\"writes\":[{\"key\":\"redeemed/");
    json_add(&text, voucher->sha256);
    json_add(&text, "\",\"value\":{\"amount\":");
    json_add_string(&text, voucher->terms.amount);
    json_add(&text, ",\"atS\":");
    json_add_number(&text, waiting.self->host->now_unix_ns(waiting.self->host->ctx) / 1000000000);
    json_add(&text, "},\"condition\":{\"type\":\"absent\"}}]");
    add_parties(&text, voucher);
    json_add(&text, "}");
  }
  answer(waiting.complete, waiting.ctx, X402P_OK, text);
}

static int32_t check(x402p_instance *self, const x402p_call *call, json request, bool plans) {
  const char *refused = plans ? "refused" : "invalid";
  char sha256[65];
  struct terms required;
  if (!read_digest(request, sha256)) return refuse(call, refused, "invalid_voucher_payload", NULL), X402P_OK;
  const struct voucher *voucher = find(self, sha256);
  if (!voucher) return refuse(call, refused, "invalid_voucher_unknown", sha256), X402P_OK;
  const struct terms *terms = &voucher->terms;
  bool covers = read_terms(json_member(request, "requirements"), &required) &&
                strcmp(required.network, terms->network) == 0 &&
                strcmp(required.asset, terms->asset) == 0 && strcmp(required.pay_to, terms->pay_to) == 0 &&
                strcmp(required.amount, terms->amount) == 0;
  if (!covers) return refuse(call, refused, "invalid_voucher_terms_mismatch", sha256), X402P_OK;
  if (voucher->expires_at_s <= self->host->now_unix_ns(self->host->ctx) / 1000000000)
    return refuse(call, refused, "invalid_voucher_expired", sha256), X402P_OK;

  struct waiting *waiting = malloc(sizeof *waiting);
  if (!waiting) return X402P_E_INTERNAL;
  *waiting = (struct waiting){self, voucher, plans, call->ctx, call->complete};
  json_text get = {0};
  json_add(&get, "{\"type\":\"get\",\"key\":\"redeemed/");
  json_add(&get, sha256);
  json_add(&get, "\"}");
  int32_t status = X402P_E_INTERNAL;
  if (!get.failed) {
    static const char service[] = "store.v1";
    const x402p_call query = {
        .struct_size = sizeof query,
        .call_id = atomic_fetch_add(&self->next_call, 1),
        .parent_id = call->call_id,
        .timeout_ns = call->timeout_ns,
        .op = {(const uint8_t *)service, sizeof service - 1},
        .request = {(const uint8_t *)get.ptr, get.len},
        .ctx = waiting,
        .complete = store_replied,
    };
    /* From here on store_replied may have run already, and `waiting` be gone. */
    status = self->host->call(self->host->ctx, self->id, &query);
  }
  free(get.ptr);
  if (status < 0) free(waiting);
  return status < 0 ? status : X402P_OK;
}

static bool is(const x402p_call *call, const char *op) {
  return call->op.len == strlen(op) && memcmp(call->op.ptr, op, call->op.len) == 0;
}

static int32_t submit(x402p_instance *self, const x402p_call *call) {
  json message = json_read(call->request.ptr, call->request.len), request = json_member(message, "request");
  if (is(call, "x402.supported")) return supported(self, call, message), X402P_OK;
  if (is(call, "x402.identify")) return identify(call, request), X402P_OK;
  if (is(call, "x402.verify")) return check(self, call, request, false);
  if (is(call, "x402.plan")) return check(self, call, request, true);
  /* Nothing to judge without a transaction; "x402.check", "plugin.start" and "plugin.health" are optional. */
  return X402P_E_UNSUPPORTED;
}

static void cancel(x402p_instance *self, uint64_t call_id) {
  /* The host cancels the store's answer itself; store_replied gets the cancelled status. */
  (void)self, (void)call_id;
}

static void destroy(x402p_instance *self) {
  free(self->vouchers);
  free(self);
}

static x402p_instance *refuse_config(x402p_instance *self, x402p_buf *error, const char *why) {
  *error = (x402p_buf){(const uint8_t *)why, strlen(why), NULL, NULL};
  if (self) destroy(self);
  return NULL;
}

static x402p_instance *create(const x402p_host *host, uint64_t id, x402p_bytes config, x402p_buf *error) {
  x402p_instance *self = calloc(1, sizeof *self);
  if (!self) return refuse_config(self, error, "out of memory");
  self->host = host;
  self->id = id;
  atomic_init(&self->next_call, 1);
  json list = json_member(json_read(config.ptr, config.len), "vouchers");
  size_t at = 0;
  for (json item = json_item(list, &at); item.ptr; item = json_item(list, &at)) {
    struct voucher *grown = realloc(self->vouchers, (self->count + 1) * sizeof *grown);
    if (!grown) return refuse_config(self, error, "out of memory");
    self->vouchers = grown;
    struct voucher *voucher = &grown[self->count];
    if (!json_string(json_member(item, "sha256"), voucher->sha256, sizeof voucher->sha256) ||
        !read_terms(item, &voucher->terms) || !json_number(json_member(item, "expiresAtS"), &voucher->expires_at_s))
      return refuse_config(self, error, "a voucher can't be read: compare it with the schema that `plugin inspect` shows");
    if (find(self, voucher->sha256))
      return refuse_config(self, error, "a voucher is listed twice (the same sha256): remove one");
    self->count++;
  }
  return self;
}

static const x402p_plugin plugin = {
    .struct_size = sizeof plugin,
    .abi_major = X402P_ABI_MAJOR,
    .abi_minor = X402P_ABI_MINOR,
    .flags = X402P_F_INLINE,
    .manifest = {(const uint8_t *)x402p_manifest_section, sizeof x402p_manifest_section - 1},
    .create = create,
    .submit = submit,
    .cancel = cancel,
    .destroy = destroy,
};

__attribute__((visibility("default"))) const x402p_plugin *X402P_ENTRY(uint16_t host_major, uint16_t host_minor) {
  (void)host_minor;
  return host_major == X402P_ABI_MAJOR ? &plugin : NULL;
}
