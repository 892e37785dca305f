/* A disk whose cache is lost with the power: whenever a database file is synced, what it holds then is kept beside it, as
   NAME.durable. While there is a NAME.lies, a sync is answered and nothing is kept; while there is a NAME.slow, one takes a while.
   To be loaded with LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

static int ends(const char *text, const char *with) {
  size_t a = strlen(text), b = strlen(with);
  return a >= b && strcmp(text + a - b, with) == 0;
}

static void keep(int fd) {
  char link[64], path[4000], kept[4032], next[4064], lies[4032], slow[4032];
  struct stat found;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return;
  path[length] = 0;
  if (!ends(path, ".db") && !ends(path, ".db-wal")) return;
  snprintf(lies, sizeof lies, "%s.lies", path);
  if (access(lies, F_OK) == 0) return;
  snprintf(slow, sizeof slow, "%s.slow", path);
  if (access(slow, F_OK) == 0) usleep(60000);
  snprintf(kept, sizeof kept, "%s.durable", path);
  snprintf(next, sizeof next, "%s.%d", kept, fd);
  int from = open(path, O_RDONLY), to = open(next, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (from < 0 || to < 0 || fstat(from, &found) != 0) abort();
  off_t at = 0;
  while (at < found.st_size && sendfile(to, from, &at, (size_t)(found.st_size - at)) > 0) {}
  close(from);
  close(to);
  if (rename(next, kept) != 0) abort();
}

int fdatasync(int fd) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  int done = real(fd);
  if (done == 0) keep(fd);
  return done;
}

int fsync(int fd) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  int done = real(fd);
  if (done == 0) keep(fd);
  return done;
}
