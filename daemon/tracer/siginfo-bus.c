/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "daemon/trace/control.h"
#include "daemon/tracer/objects.h"
#include "daemon/tracer/options-read.h"
#include "daemon/tracer/siginfo-bus.h"
#include "daemon/tracer/tracer.h"

/* The siginfo of the signal that a thread stands at, field by field. Which fields there are depends
 * on who raised it (sigaction(2)): si_code tells. */

static bool has_sender(const siginfo_t *info)
{
    return info->si_code == SI_USER || info->si_code == SI_TKILL || info->si_code == SI_QUEUE ||
           (info->si_signo == SIGCHLD && info->si_code > 0);
}

static bool has_address(const siginfo_t *info)
{
    return info->si_code > 0 && info->si_code != SI_KERNEL &&
           (info->si_signo == SIGSEGV || info->si_signo == SIGBUS || info->si_signo == SIGILL ||
            info->si_signo == SIGFPE || info->si_signo == SIGTRAP);
}

static int find(sd_bus_message *m, void *userdata, struct process_object *o,
                struct tracee **ret_tracee, sd_bus_error *error)
{
    int r = objects_find_thread(userdata, sd_bus_message_get_path(m), o, ret_tracee, error);

    return r < 0 ? r : objects_check_held(o, *ret_tracee, error);
}

static int read_info(const struct process_object *o, const struct tracee *tracee, siginfo_t *ret,
                     sd_bus_error *error)
{
    int r = control_get_siginfo(tracee, ret);

    if (r == -ENOMSG)
        return sd_bus_error_setf(error, PTRACED_ERROR_NOT_STOPPED,
                                 "Thread %d of process %d does not stand at a signal", tracee->tid,
                                 o->attachment->process->pidref.pid);
    if (r == -ESRCH)
        return sd_bus_error_setf(error, PTRACED_ERROR_NO_SUCH_THREAD,
                                 "Thread %d of process %d was killed while it stood", tracee->tid,
                                 o->attachment->process->pidref.pid);
    return r;
}

static int append_info(sd_bus_message *reply, const siginfo_t *info)
{
    int r = sd_bus_message_append(reply, "{sv}{sv}{sv}", "signal", "i", info->si_signo, "code", "i",
                                  info->si_code, "errno", "i", info->si_errno);

    if (r >= 0 && has_sender(info))
        r = sd_bus_message_append(reply, "{sv}{sv}", "sender-pid", "u", (uint32_t)info->si_pid,
                                  "sender-uid", "u", (uint32_t)info->si_uid);
    if (r >= 0 && info->si_code == SI_QUEUE)
        r = sd_bus_message_append(reply, "{sv}", "value", "t", (uint64_t)(uintptr_t)info->si_ptr);
    if (r >= 0 && has_address(info))
        r = sd_bus_message_append(reply, "{sv}", "address", "t",
                                  (uint64_t)(uintptr_t)info->si_addr);
    if (r < 0)
        return r;
    r = sd_bus_message_open_container(reply, SD_BUS_TYPE_DICT_ENTRY, "sv");
    if (r >= 0)
        r = sd_bus_message_append(reply, "s", "raw");
    if (r >= 0)
        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_VARIANT, "ay");
    if (r >= 0)
        r = sd_bus_message_append_array(reply, SD_BUS_TYPE_BYTE, info, sizeof(*info));
    for (int i = 0; r >= 0 && i < 2; i++)
        r = sd_bus_message_close_container(reply);
    return r;
}

int method_get_signal_info(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    _cleanup_bus_message_ sd_bus_message *reply = NULL;
    struct process_object o = {0};
    struct tracee *tracee;
    siginfo_t info;
    int r = find(m, userdata, &o, &tracee, error);

    if (r >= 0)
        r = read_info(&o, tracee, &info, error);
    if (r >= 0)
        r = sd_bus_message_new_method_return(m, &reply);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "{sv}");
    if (r >= 0)
        r = append_info(reply, &info);
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int set_code(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    return sd_bus_message_read(m, "i", &((siginfo_t *)ret)->si_code);
}

static int set_errno(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    return sd_bus_message_read(m, "i", &((siginfo_t *)ret)->si_errno);
}

static int set_signal(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    siginfo_t *info = ret;
    int32_t signo;
    int r = sd_bus_message_read(m, "i", &signo);

    if (r < 0)
        return r;
    if (signo < 1 || signo > SIGRTMAX)
        return options_bad_number(error, key, signo, "a signal, from 1 to 64");
    info->si_signo = signo;
    return 0;
}

static int set_sender_pid(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    return sd_bus_message_read(m, "u", &((siginfo_t *)ret)->si_pid);
}

static int set_sender_uid(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    return sd_bus_message_read(m, "u", &((siginfo_t *)ret)->si_uid);
}

static int read_pointer(sd_bus_message *m, void **ret)
{
    uint64_t v;
    int r = sd_bus_message_read(m, "t", &v);

    if (r >= 0)
        *ret = (void *)(uintptr_t)v;
    return r;
}

static int set_value(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    return read_pointer(m, &((siginfo_t *)ret)->si_ptr);
}

static int set_address(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    return read_pointer(m, &((siginfo_t *)ret)->si_addr);
}

static int set_raw(sd_bus_message *m, const char *key, void *ret, sd_bus_error *error)
{
    const void *bytes;
    size_t size;
    int r = sd_bus_message_read_array(m, SD_BUS_TYPE_BYTE, &bytes, &size);

    if (r < 0)
        return r;
    if (size != sizeof(siginfo_t))
        return options_bad_number(error, key, (long long)size,
                                  "the 128 bytes of a siginfo_t, as GetSignalInfo gives them");
    memcpy(ret, bytes, size);
    return 0;
}

/* The union of a siginfo_t is filled by whichever key comes; those of another kind of signal are
 * the caller's own doing, as with PTRACE_SETSIGINFO. */
static const struct option info_options[] = {
    {"raw", "ay", set_raw},
    {"signal", "i", set_signal},
    {"code", "i", set_code},
    {"errno", "i", set_errno},
    {"sender-pid", "u", set_sender_pid},
    {"sender-uid", "u", set_sender_uid},
    {"value", "t", set_value},
    {"address", "t", set_address},
    {NULL},
};

int method_set_signal_info(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct process_object o = {0};
    struct tracee *tracee;
    siginfo_t info;
    int r = find(m, userdata, &o, &tracee, error);

    if (r >= 0)
        r = read_info(&o, tracee, &info, error);
    if (r >= 0)
        r = options_read_table(m, info_options, &info, error);
    if (r < 0)
        return r;
    if (info.si_signo < 1 || info.si_signo > SIGRTMAX)
        return options_bad_number(error, "raw", info.si_signo, "a siginfo_t of a signal 1 to 64");
    r = control_set_siginfo(o.tracer->trace, tracee, &info);
    return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}
