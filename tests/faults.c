/* Preloaded into a program under test (LD_PRELOAD): counts its calls that change files under a prefix, and at the n-th
 * one kills the process or lets the call fail. Can also make the clock of the wall jump. Files are never synced: no
 * test pulls the plug. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { COUNT, KILL, KILL_INSIDE, FULL, FAIL_ONCE }; /* faulty.py has the same names */

enum { MOST = 1024 };

static char prefix[4096];
static long at = -1;
static int what = COUNT, clock_jumps = 0;
static atomic_long count = 0;
static char hit[4096]; /* the file of the n-th call */
static char watched[MOST]; /* descriptors of files under the prefix */

/* From now on; n counts from 0. */
void faults_arm(const char *path, int fault, long n)
{
    strncpy(prefix, path, sizeof prefix - 1);
    what = fault;
    at = n;
    count = 0;
    hit[0] = 0;
}

void faults_jump(int on) { clock_jumps = on; }

long faults_count(void) { return count; }

const char *faults_hit(void) { return hit; }

/* By the environment, for programs that a launcher starts: FAULTS=FAULT:N:PREFIX arms rank 0, or the rank FAULTS_RANK;
 * FAULTS_CLOCK makes the clock jump. */
__attribute__((constructor)) static void from_environment(void)
{
    const char *asked = getenv("FAULTS"), *which = getenv("FAULTS_RANK");
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    rank = rank ? rank : getenv("PMI_RANK");
    clock_jumps = getenv("FAULTS_CLOCK") != NULL;
    if (asked && strcmp(rank ? rank : "0", which ? which : "0") == 0) {
        char *end;
        int fault = (int)strtol(asked, &end, 10);
        long n = strtol(end + 1, &end, 10);
        faults_arm(end + 1, fault, n);
    }
}

static int is_ours(const char *path)
{
    size_t n = strlen(prefix);
    return n > 0 && strncmp(path, prefix, n) == 0;
}

/* Before a call that changes something. needs_space: fails on a full disk. Returns 1 if the call is to be killed inside,
 * -1 if it fails with errno, 0 if it goes on. */
static int step(const char *path, int needs_space)
{
    long now = atomic_fetch_add(&count, 1);
    if (at < 0 || now < at)
        return 0;
    if (now == at)
        strncpy(hit, path, sizeof hit - 1);
    if (what == KILL && now == at)
        kill(getpid(), SIGKILL);
    if (what == KILL_INSIDE && now == at)
        return 1;
    if (what == FULL && needs_space) {
        errno = ENOSPC;
        return -1;
    }
    if (what == FAIL_ONCE && now == at) {
        errno = EIO;
        return -1;
    }
    return 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* A call that is done whole or not at all; inside it is after it. */
#define CHANGE(ours, path, needs_space, call)                                                                                              \
    int fault = (ours) ? step(path, needs_space) : 0;                                                                                            \
    if (fault < 0)                                                                                                                         \
        return -1;                                                                                                                         \
    int result = (call);                                                                                                                   \
    if (fault > 0)                                                                                                                         \
        kill(getpid(), SIGKILL);                                                                                                           \
    return result;

static int noted(int descriptor, const char *path)
{
    if (descriptor >= 0 && descriptor < MOST)
        watched[descriptor] = (char)is_ours(path);
    return descriptor;
}

static int is_watched(int descriptor) { return descriptor >= 0 && descriptor < MOST && watched[descriptor]; }

static const char *path_of(int descriptor)
{
    static _Thread_local char path[4096];
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    return path;
}

int open64(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
    va_end(list);
    CHANGE((flags & O_CREAT) && is_ours(path), path, 1, noted(REAL(open64)(path, flags, mode), path))
}

/* Paths are taken as they stand: nobody under test opens or renames relative to a directory. */
int openat64(int directory, const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
    va_end(list);
    CHANGE((flags & O_CREAT) && is_ours(path), path, 1, noted(REAL(openat64)(directory, path, flags, mode), path))
}

int close(int descriptor)
{
    if (is_watched(descriptor))
        watched[descriptor] = 0;
    return REAL(close)(descriptor);
}

ssize_t write(int descriptor, const void *bytes, size_t n)
{
    int fault = is_watched(descriptor) ? step(path_of(descriptor), 1) : 0;
    if (fault < 0)
        return -1;
    if (fault > 0) {
        REAL(write)(descriptor, bytes, n / 2);
        kill(getpid(), SIGKILL);
    }
    return REAL(write)(descriptor, bytes, n);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t n, off64_t offset)
{
    int fault = is_watched(descriptor) ? step(path_of(descriptor), 1) : 0;
    if (fault < 0)
        return -1;
    if (fault > 0) {
        REAL(pwrite64)(descriptor, bytes, n / 2, offset);
        kill(getpid(), SIGKILL);
    }
    return REAL(pwrite64)(descriptor, bytes, n, offset);
}

/* Killed inside: after it. */
ssize_t writev(int descriptor, const struct iovec *parts, int n)
{
    int fault = is_watched(descriptor) ? step(path_of(descriptor), 1) : 0;
    if (fault < 0)
        return -1;
    ssize_t written = REAL(writev)(descriptor, parts, n);
    if (fault > 0)
        kill(getpid(), SIGKILL);
    return written;
}

int fsync(int descriptor) { CHANGE(is_watched(descriptor), path_of(descriptor), 1, 0) }

int ftruncate64(int descriptor, off64_t size)
{
    CHANGE(is_watched(descriptor), path_of(descriptor), 1, REAL(ftruncate64)(descriptor, size))
}

int rename(const char *from, const char *to) { CHANGE(is_ours(to), to, 0, REAL(rename)(from, to)) }

int renameat(int from_directory, const char *from, int to_directory, const char *to)
{
    CHANGE(is_ours(to), to, 0, REAL(renameat)(from_directory, from, to_directory, to))
}

int link(const char *from, const char *to) { CHANGE(is_ours(to), to, 1, REAL(link)(from, to)) }

int linkat(int from_directory, const char *from, int to_directory, const char *to, int flags)
{
    CHANGE(is_ours(to), to, 1, REAL(linkat)(from_directory, from, to_directory, to, flags))
}

int unlink(const char *path) { CHANGE(is_ours(path), path, 0, REAL(unlink)(path)) }

int mkdir(const char *path, mode_t mode) { CHANGE(is_ours(path), path, 1, REAL(mkdir)(path, mode)) }

int rmdir(const char *path) { CHANGE(is_ours(path), path, 0, REAL(rmdir)(path)) }

/* Years back and forth between two looks. */
int clock_gettime(clockid_t which, struct timespec *now)
{
    static atomic_long looks = 0;
    static const long jumps[] = {0, 315360000, -630720000, 86400, -3600, 946080000, -86400, 7};
    int result = (int)syscall(SYS_clock_gettime, which, now); /* dlsym may free memory, and sanitizers ask when they free some */
    if (clock_jumps && which == CLOCK_REALTIME)
        now->tv_sec += jumps[atomic_fetch_add(&looks, 1) % (long)(sizeof jumps / sizeof *jumps)];
    return result;
}
