/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Makes the system call that a line names, with known arguments, and tells its result.
 *
 *     open     openat(AT_FDCWD, "/nonexistent/path", O_RDONLY)
 *     write    write(PIPE, "sixteen letters.", 7)
 *     read     read(PIPE, BUFFER, 64), with those seven bytes in the pipe
 *     sleep    nanosleep({0, 1000}, NULL)
 *     getppid  getppid(), a hundred times
 *     bad      write(-1, 0x10, 16)
 *     wild     openat(AT_FDCWD, 0x10, O_RDONLY)
 *
 * The answer is number=N result=N error=N. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/tracees/tracee.h"

static const char sixteen[] = "sixteen letters.";

static int ends[2];

static void answer(long number, long result)
{
    int error = result < 0 ? errno : 0;

    tracee_say("number=%ld result=%ld error=%d", number, result, error);
}

static long get_parent_often(void)
{
    long parent = 0;

    for (int i = 0; i < 100; i++)
        parent = syscall(SYS_getppid);
    return parent;
}

static void make_call(const char *name)
{
    const struct timespec moment = {.tv_nsec = 1000};
    char buffer[64];

    if (strcmp(name, "open") == 0)
        answer(SYS_openat, syscall(SYS_openat, AT_FDCWD, "/nonexistent/path", O_RDONLY));
    else if (strcmp(name, "write") == 0)
        answer(SYS_write, syscall(SYS_write, ends[1], sixteen, 7));
    else if (strcmp(name, "read") == 0)
        answer(SYS_read, syscall(SYS_read, ends[0], buffer, sizeof(buffer)));
    else if (strcmp(name, "sleep") == 0)
        answer(SYS_nanosleep, syscall(SYS_nanosleep, &moment, NULL));
    else if (strcmp(name, "getppid") == 0)
        answer(SYS_getppid, get_parent_often());
    else if (strcmp(name, "bad") == 0)
        answer(SYS_write, syscall(SYS_write, -1, 0x10ul, 16ul));
    else if (strcmp(name, "wild") == 0)
        answer(SYS_openat, syscall(SYS_openat, AT_FDCWD, 0x10ul, O_RDONLY));
    else
        tracee_fail(name);
}

int main(void)
{
    char line[64];

    tracee_start();
    if (pipe(ends) < 0)
        tracee_fail("pipe");
    tracee_say("ready %d %d %d %d %d", SYS_openat, SYS_write, SYS_read, SYS_nanosleep, SYS_getppid);
    while (tracee_listen(line))
        make_call(line);
    return 0;
}
