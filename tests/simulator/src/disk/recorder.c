/*
 * Records what a process does to files in one folder, and syncs nothing: the simulator makes of the record what a disk
 * could hold after a power cut. Loaded with LD_PRELOAD. SIMULATED_DISK names the folder: each folder in it is a disk, and
 * DISK.ops beside it gets the record. While DISK.full exists, no byte can be written.
 *
 * A record is 24 bytes and then `length` bytes: kind, file (inode), offset or size, length. For names the bytes are the
 * name in the disk's folder.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum kind { LINK = 1, WRITE = 2, SIZE = 3, SYNC = 4, UNLINK = 5, SYNC_FOLDER = 6 };

struct head {
    uint32_t kind;
    uint32_t length;
    uint64_t file;
    uint64_t at;
};

#define MOST_FILES 4096

/* What is known of a file descriptor: the record's descriptor plus one, 0 for any other file. */
struct known {
    int record;
    int is_folder;
    uint64_t file;
    char full[PATH_MAX + 8];
};

static struct known *files[MOST_FILES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const char *root(void) {
    static const char *found;
    static int was_read;
    if (!was_read) {
        found = getenv("SIMULATED_DISK");
        was_read = 1;
    }
    return found;
}

/* Splits a path below the root into its disk (with the root) and the name there. */
static int split(const char *path, char *disk, const char **name) {
    const char *base = root();
    if (base == NULL || path == NULL) return 0;
    size_t length = strlen(base);
    if (strncmp(path, base, length) != 0 || path[length] != '/') return 0;
    const char *slash = strchr(path + length + 1, '/');
    size_t end = slash == NULL ? strlen(path) : (size_t)(slash - path);
    if (end <= length + 1 || end + 8 >= PATH_MAX) return 0;
    memcpy(disk, path, end);
    disk[end] = 0;
    *name = slash == NULL || slash[1] == 0 ? NULL : slash + 1;
    return 1;
}

static void put(int record, enum kind kind, uint64_t file, uint64_t at, const void *bytes, size_t length) {
    struct head head = {kind, (uint32_t)length, file, at};
    char small[64 + 8192];
    char *all = sizeof head + length <= sizeof small ? small : malloc(sizeof head + length);
    if (all == NULL) abort();
    memcpy(all, &head, sizeof head);
    if (length > 0) memcpy(all + sizeof head, bytes, length);
    size_t rest = sizeof head + length;
    const char *next = all;
    while (rest > 0) {
        ssize_t done = syscall(SYS_write, record, next, rest);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) abort();
        next += done;
        rest -= (size_t)done;
    }
    if (all != small) free(all);
}

static int record_of(const char *disk) {
    char path[PATH_MAX + 8];
    snprintf(path, sizeof path, "%s.ops", disk);
    return (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void opened(int fd, const char *path) {
    char disk[PATH_MAX];
    const char *name;
    struct stat found;
    if (fd < 0 || fd >= MOST_FILES || !split(path, disk, &name)) return;
    /* The index of the write-ahead log is made anew after a crash. */
    if (name != NULL && strstr(name, "-shm") != NULL) return;
    if (fstat(fd, &found) != 0) return;
    if (name == NULL && !S_ISDIR(found.st_mode)) return;
    struct known *known = calloc(1, sizeof *known);
    if (known == NULL) abort();
    known->record = record_of(disk);
    if (known->record < 0) abort();
    known->is_folder = S_ISDIR(found.st_mode);
    known->file = found.st_ino;
    snprintf(known->full, sizeof known->full, "%s.full", disk);
    pthread_mutex_lock(&lock);
    files[fd] = known;
    if (!known->is_folder && name != NULL) put(known->record, LINK, known->file, 0, name, strlen(name));
    pthread_mutex_unlock(&lock);
}

static struct known *of(int fd) {
    return fd >= 0 && fd < MOST_FILES ? files[fd] : NULL;
}

static int is_full(const struct known *known) {
    return syscall(SYS_faccessat, AT_FDCWD, known->full, F_OK) == 0;
}

static int open_at(int folder, const char *path, int flags, mode_t mode) {
    int fd = (int)syscall(SYS_openat, folder, path, flags, mode);
    opened(fd, path);
    return fd;
}

#define MODE                                                  \
    mode_t mode = 0;                                          \
    if (flags & (O_CREAT | O_TMPFILE)) {                      \
        va_list more;                                         \
        va_start(more, flags);                                \
        mode = (mode_t)va_arg(more, int);                     \
        va_end(more);                                         \
    }

int open(const char *path, int flags, ...) {
    MODE
    return open_at(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE
    return open_at(AT_FDCWD, path, flags, mode);
}

int close(int fd) {
    struct known *known = of(fd);
    if (known != NULL) {
        pthread_mutex_lock(&lock);
        files[fd] = NULL;
        pthread_mutex_unlock(&lock);
        syscall(SYS_close, known->record);
        free(known);
    }
    return (int)syscall(SYS_close, fd);
}

static ssize_t write_at(struct known *known, int fd, const void *bytes, size_t length, off_t at, int moves) {
    if (is_full(known)) {
        errno = ENOSPC;
        return -1;
    }
    pthread_mutex_lock(&lock);
    ssize_t done = moves ? syscall(SYS_write, fd, bytes, length) : syscall(SYS_pwrite64, fd, bytes, length, at);
    if (done > 0) put(known->record, WRITE, known->file, (uint64_t)at, bytes, (size_t)done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    struct known *known = of(fd);
    if (known == NULL) return syscall(SYS_write, fd, bytes, length);
    return write_at(known, fd, bytes, length, lseek(fd, 0, SEEK_CUR), 1);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    struct known *known = of(fd);
    if (known == NULL) return syscall(SYS_pwrite64, fd, bytes, length, at);
    return write_at(known, fd, bytes, length, at, 0);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    return pwrite(fd, bytes, length, at);
}

int ftruncate(int fd, off_t size) {
    struct known *known = of(fd);
    if (known == NULL) return (int)syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&lock);
    int done = (int)syscall(SYS_ftruncate, fd, size);
    if (done == 0) put(known->record, SIZE, known->file, (uint64_t)size, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate64(int fd, off64_t size) {
    return ftruncate(fd, size);
}

static int sync_file(int fd, long call) {
    struct known *known = of(fd);
    if (known == NULL) return (int)syscall(call, fd);
    pthread_mutex_lock(&lock);
    put(known->record, known->is_folder ? SYNC_FOLDER : SYNC, known->file, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return 0;
}

int fsync(int fd) {
    return sync_file(fd, SYS_fsync);
}

int fdatasync(int fd) {
    return sync_file(fd, SYS_fdatasync);
}

int unlink(const char *path) {
    char disk[PATH_MAX];
    const char *name;
    pthread_mutex_lock(&lock);
    int done = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (done == 0 && split(path, disk, &name) && name != NULL && strstr(name, "-shm") == NULL) {
        int record = record_of(disk);
        if (record < 0) abort();
        put(record, UNLINK, 0, 0, name, strlen(name));
        syscall(SYS_close, record);
    }
    pthread_mutex_unlock(&lock);
    return done;
}
