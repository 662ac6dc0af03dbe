/* A plugin that attacks its host from within a process of its own. What it does is in its configuration; "x402.supported" answers
 * with what came of it, one extension for each attempt: "name: 0" where it worked, otherwise "name: " and the error's number.
 *
 * "do": files memory sockets processes signals environment kernel fill threads spin flood
 *       errors forge noise mute descriptors nothing */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include "x402_plugin.h"

#define MANIFEST                                                                                                     \
  "{\"id\":\"attacker\",\"version\":\"1.0.0\",\"abi\":{\"major\":1,\"minor\":0},\"description\":\"Attacks its host\"," \
  "\"licence\":\"MIT\",\"services\":[],\"drivers\":[],"                                                               \
  "\"schemes\":[{\"scheme\":\"hostile\",\"family\":\"test\",\"versions\":[2],\"calls\":[]}],"                         \
  "\"configSchema\":{\"type\":\"object\",\"required\":[\"do\"],\"additionalProperties\":false,"                       \
  "\"properties\":{\"do\":{\"type\":\"string\"},\"path\":{\"type\":\"string\"},\"core\":{\"type\":\"integer\"}}}}"
X402P_MANIFEST(MANIFEST);
static const char table_manifest[] = MANIFEST;

extern char **environ;

/* the core's process */
static int core;

struct x402p_instance { char what[32], path[512], result[4096]; };

/* one attempt: a result of -1 is a failure */
static void tried(x402p_instance *self, const char *name, long result) {
  size_t used = strlen(self->result);
  snprintf(self->result + used, sizeof self->result - used, "%s\"%s: %d\"", used ? "," : "", name, result < 0 ? errno : 0);
}

static void core_file(x402p_instance *self, const char *name, const char *file) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", core, file);
  tried(self, name, open(path, O_RDONLY));
}

static void files(x402p_instance *self) {
  tried(self, "read a file of the core", open(self->path, O_RDONLY));
  tried(self, "write a file of the core", open(self->path, O_WRONLY));
  tried(self, "read /etc/passwd", open("/etc/passwd", O_RDONLY));
  tried(self, "list /", open("/", O_RDONLY | O_DIRECTORY));
  tried(self, "make a file", open("/tmp/attacker", O_CREAT | O_WRONLY, 0600));
  tried(self, "make a folder", mkdir("/tmp/attacker.d", 0700));
  tried(self, "change rights", chmod(self->path, 0777));
  tried(self, "remove a file", unlink(self->path));
  tried(self, "write a library", open("/lib/x86_64-linux-gnu/libc.so.6", O_WRONLY));
  tried(self, "make a file in memory", syscall(SYS_memfd_create, "x", 0));
}

static void memory(x402p_instance *self) {
  char here[8];
  struct iovec ours = {here, sizeof here}, theirs = {(void *)0x400000, sizeof here};
  core_file(self, "open the core's memory", "mem");
  core_file(self, "open the core's map", "maps");
  tried(self, "read the core's memory", process_vm_readv(core, &ours, 1, &theirs, 1, 0));
  tried(self, "write the core's memory", process_vm_writev(core, &ours, 1, &theirs, 1, 0));
  tried(self, "trace the core", ptrace(PTRACE_ATTACH, core, NULL, NULL));
  tried(self, "open the core's process", syscall(SYS_pidfd_open, core, 0));
}

static void sockets(x402p_instance *self) {
  int pair[2];
  tried(self, "internet", socket(AF_INET, SOCK_STREAM, 0));
  tried(self, "internet 6", socket(AF_INET6, SOCK_DGRAM, 0));
  tried(self, "local", socket(AF_UNIX, SOCK_STREAM, 0));
  tried(self, "netlink", socket(AF_NETLINK, SOCK_RAW, 0));
  tried(self, "pair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  tried(self, "io_uring", syscall(SYS_io_uring_setup, 8, NULL));
  for (int fd = 0; fd < 64; fd++) {
    struct iovec byte = {"x", 1};
    struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1};
    if (sendmsg(fd, &message, MSG_DONTWAIT) >= 0) tried(self, "send a descriptor", 0);
  }
}

/* the socket to the core: the first descriptor after the standard ones */
static int wire(void) {
  for (int fd = 3; fd < 64; fd++)
    if (fcntl(fd, F_GETFD) >= 0) return fd;
  return -1;
}

/* what the core has opened, or inherited, beside the socket */
static void descriptors(x402p_instance *self) {
  struct stat socket, other;
  fstat(wire(), &socket);
  for (int fd = 3; fd < 1024; fd++)
    if (fstat(fd, &other) == 0 && other.st_ino != socket.st_ino) tried(self, "a descriptor", 0);
}

static void processes(x402p_instance *self) {
  char *nothing[] = {NULL};
  tried(self, "fork", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
  tried(self, "program", execve("/bin/true", nothing, nothing));
  tried(self, "namespace", unshare(CLONE_NEWUSER));
  tried(self, "priority", setpriority(PRIO_PROCESS, 0, -10));
  tried(self, "limit", syscall(SYS_prlimit64, 0, RLIMIT_DATA, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}, NULL));
  tried(self, "limit of the core", syscall(SYS_prlimit64, core, RLIMIT_NOFILE, NULL, &(struct rlimit){0, 0}));
  tried(self, "user", setuid(0));
  tried(self, "outlive the core", prctl(PR_SET_PDEATHSIG, 0));
  tried(self, "dump", prctl(PR_SET_DUMPABLE, 1));
}

static void signals(x402p_instance *self) {
  int socket = 0;
  tried(self, "the core", kill(core, 0));
  tried(self, "a group", kill(0, 0));
  tried(self, "a thread of the core", syscall(SYS_tgkill, core, core, 0));
  for (int fd = 3; fd < 64 && !socket; fd++)
    if (fcntl(fd, F_GETFD) >= 0) socket = fd;
  tried(self, "by a descriptor", fcntl(socket, F_SETOWN, core));
}

static void environment(x402p_instance *self) {
  core_file(self, "open the core's environment", "environ");
  int secrets = 0;
  for (char **one = environ; one && *one; one++)
    if (strncmp(*one, "MIMALLOC_", 9)) secrets++;
  errno = 1;
  tried(self, "variables", secrets ? 0 : -1);
}

static void kernel(x402p_instance *self) {
  tried(self, "keys", syscall(SYS_keyctl, 0, 0, 0, 0, 0));
  tried(self, "programs in the kernel", syscall(SYS_bpf, 0, NULL, 0));
  tried(self, "events", syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
  tried(self, "page faults", syscall(SYS_userfaultfd, 0));
  tried(self, "mounts", syscall(SYS_mount, "", "/nowhere", "tmpfs", 0, NULL));
  tried(self, "clock", syscall(SYS_clock_settime, 99, &(struct timespec){0, 0}));
  tried(self, "queues", syscall(SYS_mq_open, "/x", O_CREAT | O_RDWR, 0600, NULL));
  tried(self, "shared memory", syscall(SYS_shmget, 1, 4096, 0600));
  void *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  tried(self, "shared memory without a name", shared == MAP_FAILED ? -1 : 0);
}

/* takes memory until there is none */
static void fill(x402p_instance *self) {
  long mib = 0;
  for (char *block; (block = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) != MAP_FAILED; mib++)
    memset(block, 1, 1 << 20);
  snprintf(self->result, sizeof self->result, "\"%ld MiB\"", mib);
}

static void *spinning(void *nothing) {
  for (volatile int i = 0;; i++) (void)nothing;
  return nothing;
}

static void threads(x402p_instance *self) {
  long count = 0;
  pthread_t thread;
  while (count < 100000 && !pthread_create(&thread, NULL, (void *(*)(void *))pause, NULL)) count++;
  snprintf(self->result, sizeof self->result, "\"%s\"", count < 100000 ? "bounded" : "unbounded");
}

static void frame(int fd, uint8_t kind, uint64_t id, const void *body, uint32_t len) {
  uint8_t bytes[16 + 256] = {0};
  memcpy(bytes, &len, 4);
  bytes[4] = kind;
  memcpy(bytes + 8, &id, 8);
  memcpy(bytes + 16, body, len);
  if (write(fd, bytes, 16 + len) < 0) abort();
}

enum { ANSWER = 20, HOST_CALL = 22, LOG = 26 };

static void forge(x402p_instance *self) {
  /* a success for calls of every instance */
  const char answer[] = "\0\0\0\0{\"kinds\":[],\"extensions\":[\"forged\"],\"signers\":[]}";
  for (uint64_t key = 1; key < 2000; key++) frame(wire(), ANSWER, key, answer, sizeof answer - 1);
  /* host calls with every parent: rpc.v1 is not in the manifest */
  uint8_t call[64] = {0};
  memcpy(call + 16, "\6\0\0\0rpc.v1{}", 12);
  for (uint64_t parent = 1; parent < 2000; parent++) {
    memcpy(call, &parent, 8);
    frame(wire(), HOST_CALL, parent, call, 28);
  }
  tried(self, "forged", 0);
}

/* lines of standard error without end */
static void errors(void) {
  for (;;) fputs("an error\n", stderr);
}

static void flood(void) {
  const char line[] = "\0\0\0\0\0\0\0\0\1\0\0\0\1\0\0\0x\5\0\0\0flood";
  for (;;) frame(wire(), LOG, 0, line, sizeof line - 1);
}

static x402p_instance *create(const x402p_host *host, uint64_t id, x402p_bytes config, x402p_buf *error) {
  x402p_instance *self = calloc(1, sizeof *self);
  char *text = calloc(config.len + 1, 1), *found;
  (void)host;
  (void)id;
  (void)error;
  memcpy(text, config.ptr, config.len);
  if ((found = strstr(text, "\"do\":\""))) sscanf(found, "\"do\":\"%31[^\"]", self->what);
  if ((found = strstr(text, "\"path\":\""))) sscanf(found, "\"path\":\"%511[^\"]", self->path);
  if ((found = strstr(text, "\"core\":"))) sscanf(found, "\"core\":%d", &core);
  free(text);
  return self;
}

static void release(void *owner, const uint8_t *ptr, size_t len) {
  (void)owner;
  (void)len;
  free((void *)ptr);
}

static int is(const x402p_call *call, const char *name) {
  return call->op.len == strlen(name) && memcmp(call->op.ptr, name, call->op.len) == 0;
}

/* No attack: what the host says of the call. */
static void terms(x402p_instance *self, const x402p_call *call) {
  int len = call->trace.len < 64 ? (int)call->trace.len : 64;
  snprintf(self->result, sizeof self->result, "\"%.*s: %llu\"", len, (const char *)call->trace.ptr,
           (unsigned long long)(call->timeout_ns / 1000000));
}

static int32_t submit(x402p_instance *self, const x402p_call *call) {
  const char *what = self->what;
  pthread_t thread;
  if (!is(call, "x402.supported")) return X402P_E_UNSUPPORTED;
  self->result[0] = 0;
  if (!strcmp(what, "files")) files(self);
  if (!strcmp(what, "memory")) memory(self);
  if (!strcmp(what, "descriptors")) descriptors(self);
  if (!strcmp(what, "sockets")) sockets(self);
  if (!strcmp(what, "processes")) processes(self);
  if (!strcmp(what, "signals")) signals(self);
  if (!strcmp(what, "environment")) environment(self);
  if (!strcmp(what, "kernel")) kernel(self);
  if (!strcmp(what, "fill")) fill(self);
  if (!strcmp(what, "threads")) threads(self);
  if (!strcmp(what, "spin")) for (int i = 0; i < 8; i++) pthread_create(&thread, NULL, spinning, NULL);
  if (!strcmp(what, "forge")) forge(self);
  if (!strcmp(what, "flood")) flood();
  if (!strcmp(what, "errors")) errors();
  if (!strcmp(what, "terms")) terms(self, call);
  if (!strcmp(what, "noise") && write(wire(), "this is no frame at all", 23) < 0) abort();
  if (!strcmp(what, "mute")) for (int fd = 0; fd < 64; fd++) close(fd);
  char *answer = malloc(sizeof self->result + 64);
  snprintf(answer, sizeof self->result + 64, "{\"kinds\":[],\"extensions\":[%s],\"signers\":[]}", self->result);
  x402p_buf buf = {(uint8_t *)answer, strlen(answer), NULL, release};
  call->complete(call->ctx, X402P_OK, buf);
  return X402P_OK;
}

static void cancel(x402p_instance *self, uint64_t call_id) {
  (void)self;
  (void)call_id;
}

static void destroy(x402p_instance *self) { free(self); }

static const x402p_plugin table = {
    sizeof(x402p_plugin), X402P_ABI_MAJOR, X402P_ABI_MINOR, X402P_F_INLINE,
    {(const uint8_t *)table_manifest, sizeof table_manifest - 1}, create, submit, cancel, destroy};

const x402p_plugin *X402P_ENTRY(uint16_t major, uint16_t minor) {
  (void)minor;
  return major == X402P_ABI_MAJOR ? &table : NULL;
}
