/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/output.h"

#define BUFFER_SIZE (64u * 1024)

/* stderr is unbuffered by C's rules: a line of events would be many writes. */
static FILE *duplicate(FILE *standard)
{
    FILE *f;
    int fd;

    fd = fcntl(fileno(standard), F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return NULL;
    f = fdopen(fd, "w");
    if (!f) {
        close(fd);
        /* One of output_reserve_standard(). */
        if (errno == EINVAL)
            errno = EBADF;
    }
    return f;
}

int output_open(const char *path, FILE *standard, FILE **ret)
{
    FILE *f;

    if (!path)
        f = duplicate(standard);
    else if (strcmp(path, "-") == 0)
        f = duplicate(stdout);
    else
        f = fopen(path, "we");
    if (!f)
        return -errno;
    setvbuf(f, NULL, _IOFBF, BUFFER_SIZE);
    *ret = f;
    return 0;
}

int output_close(FILE *f)
{
    bool failed;

    if (!f)
        return 0;
    failed = ferror(f);
    errno = 0;
    if (fclose(f) != 0 || failed)
        return -(errno ?: EIO);
    return 0;
}

int output_reserve_standard(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        int r;

        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        /* The lowest that is free is this one. Reading from 0 and writing to 1 or 2 fail. */
        r = open("/dev/null", (fd == 0 ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
        if (r < 0)
            return -errno;
    }
    return 0;
}
