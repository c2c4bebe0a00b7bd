// Makes system calls fail for real: preloaded into a process, it counts the calls that concern files below
// FAULTS_PREFIX and fails those it is told to. The process gives its orders by opening paths that do not exist:
//
//     /faults/arm/<kinds>/<n>/<errno>/<count>   the n-th call from now on fails, and the count - 1 after it
//     /faults/room/<bytes>                      files below the prefix can grow by this much in all: then ENOSPC
//     /faults/off                               all is well again
//
// Each call that was counted since the last arm is a line of FAULTS_TRACE: kind, name and path; one that failed begins
// with "failed ".
//
// Kinds: w what changes files (open to write, write, truncate, sync, rename, link, mkdir), r what reads them, d what removes them,
// s what else is asked of the system about an open file (its size, a lock, a mapping).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int is_limited;
static off_t room;
static char kinds[8];
static long first_failing, last_failing, call_count;
static int failing_errno;
static int trace_fd = -1;

static int concerns(const char *path) {
  const char *prefix = getenv("FAULTS_PREFIX");
  return prefix != NULL && path != NULL && strncmp(path, prefix, strlen(prefix)) == 0;
}

// Counts a call; returns the errno that it is to fail with, or 0.
static int count_call(char kind, const char *name, const char *path) {
  int result = 0;
  pthread_mutex_lock(&mutex);
  if (strchr(kinds, kind) != NULL && concerns(path)) {
    call_count++;
    if (call_count >= first_failing && call_count <= last_failing) result = failing_errno;
    char line[4200];
    const char *prefix = result == 0 ? "" : "failed ";
    const int length = snprintf(line, sizeof line, "%s%c %s %s\n", prefix, kind, name, path);
    if (syscall(SYS_write, trace_fd, line, (size_t)length) != length) abort();
  }
  pthread_mutex_unlock(&mutex);
  return result;
}

static int path_of(int fd, char *path, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, size - 1);
  if (length < 0) return 0;
  path[length] = '\0';
  return 1;
}

static int count_fd_call(char kind, const char *name, int fd) {
  char path[4096];
  if (kinds[0] == '\0' || !path_of(fd, path, sizeof path)) return 0;
  return count_call(kind, name, path);
}

// What the file grows by is taken from the room that is left.
static int take_room(int fd, off_t end) {
  char path[4096];
  struct stat stat;
  if (!is_limited || !path_of(fd, path, sizeof path) || !concerns(path) || fstat(fd, &stat) != 0) return 0;
  const off_t growth = end - stat.st_size;
  if (growth <= 0) return 0;
  pthread_mutex_lock(&mutex);
  const int error = growth > room ? ENOSPC : 0;
  if (error == 0) room -= growth;
  pthread_mutex_unlock(&mutex);
  return error;
}

static int count_write(const char *name, int fd, off_t end) {
  const int error = take_room(fd, end);
  return error != 0 ? error : count_fd_call('w', name, fd);
}

static int obey(const char *path) {
  if (path == NULL || strncmp(path, "/faults/", 8) != 0) return 0;
  pthread_mutex_lock(&mutex);
  if (strncmp(path, "/faults/room/", 13) == 0) {
    is_limited = 1;
    room = strtol(path + 13, NULL, 10);
  }
  if (strcmp(path, "/faults/off") == 0) {
    is_limited = 0;
    last_failing = 0;
  }
  if (strncmp(path, "/faults/arm/", 12) == 0) {
    long failing_count = 1;
    call_count = 0;
    if (trace_fd >= 0) syscall(SYS_close, trace_fd);
    trace_fd = (int)syscall(SYS_openat, AT_FDCWD, getenv("FAULTS_TRACE"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    sscanf(path, "/faults/arm/%7[wrds]/%ld/%d/%ld", kinds, &first_failing, &failing_errno, &failing_count);
    last_failing = first_failing + failing_count - 1;
  }
  pthread_mutex_unlock(&mutex);
  return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL_IF(expression)          \
  do {                               \
    const int error = (expression);  \
    if (error != 0) {                \
      errno = error;                 \
      return -1;                     \
    }                                \
  } while (0)

static char kind_of(int flags) { return (flags & (O_WRONLY | O_RDWR | O_CREAT)) != 0 ? 'w' : 'r'; }

#define DEFINE_OPEN(name)                                          \
  int name(const char *path, int flags, ...) {                     \
    mode_t mode = 0;                                               \
    if ((flags & (O_CREAT | O_TMPFILE)) != 0) {                    \
      va_list arguments;                                           \
      va_start(arguments, flags);                                  \
      mode = va_arg(arguments, mode_t);                            \
      va_end(arguments);                                           \
    }                                                              \
    FAIL_IF(obey(path) ? ENOENT : 0);                              \
    FAIL_IF(count_call(kind_of(flags), "open", path));             \
    return NEXT(name)(path, flags, mode);                          \
  }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)

ssize_t write(int fd, const void *bytes, size_t length) {
  if (kinds[0] != '\0' || is_limited) FAIL_IF(count_write("write", fd, lseek(fd, 0, SEEK_CUR) + (off_t)length));
  return NEXT(write)(fd, bytes, length);
}

#define DEFINE_PWRITE(name)                                               \
  ssize_t name(int fd, const void *bytes, size_t length, off_t offset) {  \
    FAIL_IF(count_write("pwrite", fd, offset + (off_t)length));           \
    return NEXT(name)(fd, bytes, length, offset);                         \
  }
DEFINE_PWRITE(pwrite)
DEFINE_PWRITE(pwrite64)

static off_t bytes_in(const struct iovec *parts, int count) {
  off_t sum = 0;
  for (int i = 0; i < count; i++) sum += (off_t)parts[i].iov_len;
  return sum;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (kinds[0] != '\0' || is_limited)
    FAIL_IF(count_write("writev", fd, lseek(fd, 0, SEEK_CUR) + bytes_in(parts, count)));
  return NEXT(writev)(fd, parts, count);
}

#define DEFINE_PWRITEV(name)                                                \
  ssize_t name(int fd, const struct iovec *parts, int count, off_t offset) {  \
    FAIL_IF(count_write("pwritev", fd, offset + bytes_in(parts, count)));   \
    return NEXT(name)(fd, parts, count, offset);                            \
  }
DEFINE_PWRITEV(pwritev)
DEFINE_PWRITEV(pwritev64)

#define DEFINE_TRUNCATE(name)                          \
  int name(int fd, off_t length) {                     \
    FAIL_IF(count_write("ftruncate", fd, length));     \
    return NEXT(name)(fd, length);                     \
  }
DEFINE_TRUNCATE(ftruncate)
DEFINE_TRUNCATE(ftruncate64)

#define DEFINE_PREAD(name)                                          \
  ssize_t name(int fd, void *bytes, size_t length, off_t offset) {  \
    FAIL_IF(count_fd_call('r', "pread", fd));                       \
    return NEXT(name)(fd, bytes, length, offset);                   \
  }
DEFINE_PREAD(pread)
DEFINE_PREAD(pread64)

ssize_t read(int fd, void *bytes, size_t length) {
  FAIL_IF(count_fd_call('r', "read", fd));
  return NEXT(read)(fd, bytes, length);
}

int fsync(int fd) {
  FAIL_IF(count_fd_call('w', "fsync", fd));
  return NEXT(fsync)(fd);
}

int fdatasync(int fd) {
  FAIL_IF(count_fd_call('w', "fdatasync", fd));
  return NEXT(fdatasync)(fd);
}

int rename(const char *from, const char *to) {
  FAIL_IF(count_call('w', "rename", to));
  return NEXT(rename)(from, to);
}

int link(const char *from, const char *to) {
  FAIL_IF(count_call('w', "link", to));
  return NEXT(link)(from, to);
}

char *mkdtemp(char *path) {
  const int error = count_call('w', "mkdtemp", path);
  if (error == 0) return NEXT(mkdtemp)(path);
  errno = error;
  return NULL;
}

int unlink(const char *path) {
  FAIL_IF(count_call('d', "unlink", path));
  return NEXT(unlink)(path);
}

int flock(int fd, int operation) {
  FAIL_IF(count_fd_call('s', "flock", fd));
  return NEXT(flock)(fd, operation);
}

// Only what takes a lock: giving it back cannot fail.
int fcntl64(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void *argument = va_arg(arguments, void *);
  va_end(arguments);
  if (command == F_SETLK && ((struct flock *)argument)->l_type != F_UNLCK) FAIL_IF(count_fd_call('s', "fcntl", fd));
  return NEXT(fcntl64)(fd, command, argument);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) {
  errno = fd < 0 ? 0 : count_fd_call('s', "mmap", fd);
  return errno != 0 ? MAP_FAILED : NEXT(mmap64)(address, length, protection, flags, fd, offset);
}

int fstat64(int fd, struct stat64 *status) {
  FAIL_IF(count_fd_call('s', "fstat", fd));
  return NEXT(fstat64)(fd, status);
}

// What programs call that were built with a glibc of before 2.33.
int __fxstat64(int version, int fd, struct stat64 *status) {
  FAIL_IF(count_fd_call('s', "fstat", fd));
  (void)version;
  return NEXT(fstat64)(fd, status);
}
