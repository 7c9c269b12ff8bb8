/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "daemon/trace/ptrace-ops.h"

static int ops(enum __ptrace_request request, pid_t tid, uintptr_t address, uintptr_t data)
{
    return ptrace(request, tid, (void *)address, (void *)data) < 0 ? -errno : 0;
}

int ptrace_ops_seize(pid_t tid, unsigned long options)
{
    return ops(PTRACE_SEIZE, tid, 0, options);
}

int ptrace_ops_interrupt(pid_t tid)
{
    return ops(PTRACE_INTERRUPT, tid, 0, 0);
}

int ptrace_ops_cont(pid_t tid, int signo)
{
    return ops(PTRACE_CONT, tid, 0, (uintptr_t)signo);
}

int ptrace_ops_syscall(pid_t tid, int signo)
{
    return ops(PTRACE_SYSCALL, tid, 0, (uintptr_t)signo);
}

int ptrace_ops_step(pid_t tid, int signo)
{
    return ops(PTRACE_SINGLESTEP, tid, 0, (uintptr_t)signo);
}

int ptrace_ops_block_step(pid_t tid, int signo)
{
#ifdef PT_STEPBLOCK
    return ops(PTRACE_SINGLEBLOCK, tid, 0, (uintptr_t)signo);
#else
    return -EIO;
#endif
}

int ptrace_ops_listen(pid_t tid)
{
    return ops(PTRACE_LISTEN, tid, 0, 0);
}

int ptrace_ops_detach(pid_t tid, int signo)
{
    return ops(PTRACE_DETACH, tid, 0, (uintptr_t)signo);
}

int ptrace_ops_set_options(pid_t tid, unsigned long options)
{
    return ops(PTRACE_SETOPTIONS, tid, 0, options);
}

int ptrace_ops_get_event_message(pid_t tid, unsigned long *ret)
{
    unsigned long message = 0;
    int r = ops(PTRACE_GETEVENTMSG, tid, 0, (uintptr_t)&message);

    if (r >= 0)
        *ret = message;
    return r;
}

int ptrace_ops_get_siginfo(pid_t tid, siginfo_t *ret)
{
    siginfo_t info;
    int r = ops(PTRACE_GETSIGINFO, tid, 0, (uintptr_t)&info);

    if (r >= 0)
        *ret = info;
    return r;
}

int ptrace_ops_set_siginfo(pid_t tid, const siginfo_t *info)
{
    return ops(PTRACE_SETSIGINFO, tid, 0, (uintptr_t)info);
}

int ptrace_ops_get_syscall_info(pid_t tid, struct __ptrace_syscall_info *ret)
{
    struct __ptrace_syscall_info info;
    int r = ops(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), (uintptr_t)&info);

    if (r >= 0)
        *ret = info;
    return r;
}

int ptrace_ops_get_regset(pid_t tid, uint32_t note, void *buffer, size_t *size)
{
    struct iovec iov = {.iov_base = buffer, .iov_len = *size};
    int r = ops(PTRACE_GETREGSET, tid, note, (uintptr_t)&iov);

    if (r >= 0)
        *size = iov.iov_len;
    return r;
}

int ptrace_ops_set_regset(pid_t tid, uint32_t note, const void *buffer, size_t size)
{
    struct iovec iov = {.iov_base = (void *)buffer, .iov_len = size};

    return ops(PTRACE_SETREGSET, tid, note, (uintptr_t)&iov);
}

int ptrace_ops_peek_user(pid_t tid, size_t offset, unsigned long *ret)
{
    long word;

    errno = 0; /* any word may be -1 */
    word = ptrace(PTRACE_PEEKUSER, tid, (void *)offset, NULL);
    if (word == -1 && errno != 0)
        return -errno;
    *ret = (unsigned long)word;
    return 0;
}

int ptrace_ops_poke_user(pid_t tid, size_t offset, unsigned long word)
{
    return ops(PTRACE_POKEUSER, tid, offset, word);
}

int ptrace_ops_peek_siginfo(pid_t tid, siginfo_t *ret, unsigned n)
{
    struct __ptrace_peeksiginfo_args args = {.nr = (int)n};
    long r = ptrace(PTRACE_PEEKSIGINFO, tid, &args, ret);

    return r < 0 ? -errno : (int)r;
}

int ptrace_ops_get_sigmask(pid_t tid, uint64_t *ret)
{
    uint64_t mask = 0;
    int r = ops(PTRACE_GETSIGMASK, tid, sizeof(mask), (uintptr_t)&mask);

    if (r >= 0)
        *ret = mask;
    return r;
}

int ptrace_ops_set_sigmask(pid_t tid, uint64_t mask)
{
    return ops(PTRACE_SETSIGMASK, tid, sizeof(mask), (uintptr_t)&mask);
}
