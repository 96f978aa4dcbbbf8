/*
 * fsync and fdatasync as a failing disk has them. The file named by CHAOS_FSYNC says what is wrong, at each call anew; without it all is well.
 *
 *   eio         the call returns EIO and syncs nothing. Whoever takes the file away first fails, so exactly one call does.
 *   lie         the call returns 0 and syncs nothing.
 *   stall MS    the call takes so many milliseconds longer; asked again every 10 ms, so that the end of the file ends the stall.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What the file says, '' where there is none. The buffer ends with a zero. */
static void read_control(const char *path, char *text, size_t size) {
  memset(text, 0, size);
  if (path == NULL) return;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (read(fd, text, size - 1) < 0) text[0] = 0;
  close(fd);
}

/* Whether the disk syncs; else what the call returns, 0 or an error number, is in `outcome`. */
static int is_synced(int *outcome) {
  const char *path = getenv("CHAOS_FSYNC");
  char text[32];
  read_control(path, text, sizeof text);
  *outcome = strcmp(text, "eio") == 0 ? EIO : 0;
  if (*outcome == EIO) return unlink(path) != 0;
  if (strcmp(text, "lie") == 0) return 0;
  const struct timespec step = {0, 10 * 1000 * 1000};
  for (long waited = 0, ms = 0; sscanf(text, "stall %ld", &ms) == 1 && waited < ms; waited += 10) {
    nanosleep(&step, NULL);
    read_control(path, text, sizeof text);
  }
  return 1;
}

static int sync_with(const char *name, int fd) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  int outcome;
  if (is_synced(&outcome)) return real(fd);
  errno = outcome;
  return outcome == 0 ? 0 : -1;
}

int fsync(int fd) { return sync_with("fsync", fd); }

int fdatasync(int fd) { return sync_with("fdatasync", fd); }
