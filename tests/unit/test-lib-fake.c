/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bus-api/errors.h"
#include "bus-api/event.h"
#include "bus-api/macro.h"
#include "bus-api/names.h"
#include "tests/unit/test-lib-fake.h"

#define ID "s1"

/* Not assert(): that is empty in some builds, and cmocka's leaves its own thread only. */
#define CHECK(expression)                                                                          \
    do {                                                                                           \
        if (!(expression)) {                                                                       \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #expression);                       \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* ---- What it sends by itself ---- */

static void send_signal(struct fake *f, sd_bus_message *call, sd_bus_message *m)
{
    if (sd_bus_message_get_sender(call))
        CHECK(sd_bus_message_set_destination(m, sd_bus_message_get_sender(call)) >= 0);
    /* A client may have left meanwhile. */
    (void)sd_bus_send(f->bus, m, NULL);
}

static void send_event(struct fake *f, sd_bus_message *call, const char *kind, bool stopped)
{
    _cleanup_(ptraced_event_done) struct ptraced_event_record e = {
        .serial = ++f->serial,
        .usec = 1000 + f->serial,
        .session = ID,
        .pid = f->pid,
        .tid = f->pid,
        .stopped = stopped,
    };
    _cleanup_bus_message_ sd_bus_message *m = NULL;

    snprintf(e.kind, sizeof(e.kind), "%s", kind);
    ptraced_event_add_i(&e, "signal", -7);
    ptraced_event_add_u(&e, "child", UINT32_MAX);
    ptraced_event_add_t(&e, "address", UINT64_MAX);
    ptraced_event_add_b(&e, "core", true);
    CHECK(ptraced_event_add_s(&e, "reason", "privilege") >= 0);

    CHECK(sd_bus_message_new_signal(f->bus, &m, PTRACED_SESSION_PREFIX "/" ID,
                                    PTRACED_SESSION_INTERFACE, "ThreadEvent") >= 0);
    CHECK(ptraced_event_append(m, &e) >= 0);
    send_signal(f, call, m);
}

static void send_broken_event(struct fake *f, sd_bus_message *call)
{
    _cleanup_bus_message_ sd_bus_message *m = NULL;

    CHECK(sd_bus_message_new_signal(f->bus, &m, PTRACED_SESSION_PREFIX "/" ID,
                                    PTRACED_SESSION_INTERFACE, "ThreadEvent") >= 0);
    CHECK(sd_bus_message_append(m, "s", "nonsense") >= 0);
    send_signal(f, call, m);
}

/* ---- What it is asked ---- */

static void read_value(sd_bus_message *m, char *out, size_t size)
{
    const char *contents, *s;
    size_t n = 0;
    int b;

    CHECK(sd_bus_message_peek_type(m, NULL, &contents) > 0);
    if (strcmp(contents, "b") == 0) {
        CHECK(sd_bus_message_read(m, "v", "b", &b) > 0);
        snprintf(out, size, "%s", b ? "true" : "false");
    } else if (strcmp(contents, "s") == 0) {
        CHECK(sd_bus_message_read(m, "v", "s", &s) > 0);
        snprintf(out, size, "%s", s);
    } else {
        CHECK(sd_bus_message_enter_container(m, 'v', "as") > 0);
        CHECK(sd_bus_message_enter_container(m, 'a', "s") > 0);
        *out = '\0';
        while (sd_bus_message_read(m, "s", &s) > 0)
            n += (size_t)snprintf(out + n, size - n, "%s%s", n ? "," : "", s);
        CHECK(sd_bus_message_exit_container(m) > 0);
        CHECK(sd_bus_message_exit_container(m) > 0);
    }
}

static void read_options(struct fake *f, sd_bus_message *m)
{
    size_t n = 0;

    f->options[0] = '\0';
    CHECK(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
    while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
        const char *key;
        char value[128];

        CHECK(sd_bus_message_read(m, "s", &key) > 0);
        read_value(m, value, sizeof(value));
        n += (size_t)snprintf(f->options + n, sizeof(f->options) - n, "%s%s=%s", n ? " " : "", key,
                              value);
        CHECK(sd_bus_message_exit_container(m) > 0);
    }
    CHECK(sd_bus_message_exit_container(m) > 0);
}

static pid_t pid_of_pidfd(int pidfd)
{
    char path[64], line[128];
    FILE *info;
    int pid = -1;

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
    info = fopen(path, "re");
    CHECK(info);
    while (fgets(line, sizeof(line), info))
        if (sscanf(line, "Pid: %d", &pid) == 1)
            break;
    fclose(info);
    return pid;
}

static void read_comm(const char *path, char *comm, size_t size)
{
    FILE *f = fopen(path, "re");

    *comm = '\0';
    if (f && !fgets(comm, (int)size, f))
        *comm = '\0';
    if (f)
        fclose(f);
}

/* Until the process has another name than this one, or is gone. Two seconds at most. */
static void wait_for_exec(pid_t pid)
{
    char path[64], own[64], comm[64];

    read_comm("/proc/self/comm", own, sizeof(own));
    snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    for (unsigned i = 0; i < 2000; i++) {
        read_comm(path, comm, sizeof(comm));
        if (strcmp(comm, own) != 0)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
    }
}

static int reply_path(sd_bus_message *m)
{
    char path[PTRACED_PATH_MAX];

    return sd_bus_reply_method_return(m, "o", ptraced_path_session(path, ID));
}

static int on_attach_fd(struct fake *f, sd_bus_message *m)
{
    char path[PTRACED_PATH_MAX];
    int pidfd;

    CHECK(sd_bus_message_read(m, "h", &pidfd) > 0);
    f->pid = pid_of_pidfd(pidfd);
    read_options(f, m);
    if (f->spawn == FAKE_SPAWN_REFUSE)
        return sd_bus_reply_method_errorf(m, PTRACED_ERROR_NOT_PERMITTED, "No process %d for you.",
                                          f->pid);
    if (f->spawn == FAKE_SPAWN_VANISH)
        return -ECONNRESET;
    CHECK(sd_bus_reply_method_return(m, "o", ptraced_path_process(path, ID, f->pid)) >= 0);
    if (f->spawn == FAKE_SPAWN_EXEC || f->spawn == FAKE_SPAWN_LOST) {
        /* The answer is what the exec waits for. */
        CHECK(sd_bus_flush(f->bus) >= 0);
        wait_for_exec(f->pid);
    }
    if (f->spawn == FAKE_SPAWN_EXEC)
        send_event(f, m, "exec", true);
    else if (f->spawn == FAKE_SPAWN_EARLY)
        send_event(f, m, "signal", true);
    else if (f->spawn == FAKE_SPAWN_LOST)
        send_event(f, m, "lost", false);
    return 1;
}

static int on_manager(struct fake *f, sd_bus_message *m, const char *member)
{
    const char *id;

    if (strcmp(member, "CreateSession") == 0) {
        read_options(f, m);
        return reply_path(m);
    }
    if (strcmp(member, "GetSession") == 0) {
        CHECK(sd_bus_message_read(m, "s", &id) > 0);
        if (strcmp(id, ID) != 0)
            return sd_bus_reply_method_errorf(m, PTRACED_ERROR_NO_SUCH_SESSION,
                                              "There is no session %s.", id);
        return reply_path(m);
    }
    if (strcmp(member, "ListSessions") == 0)
        return sd_bus_reply_method_return(m, "a(suso)", 2, "s1", 1000, "first", "/a", "s22", 0, "",
                                          "/b");
    return sd_bus_reply_method_return(m, "a(uuuso)", 0);
}

static int on_session(struct fake *f, sd_bus_message *m, const char *member)
{
    char path[PTRACED_PATH_MAX];
    uint32_t pid;

    if (f->forgetful)
        return sd_bus_reply_method_errorf(m, PTRACED_ERROR_NO_SUCH_SESSION, "There is none.");
    if (strcmp(member, "AttachProcessFD") == 0)
        return on_attach_fd(f, m);
    if (strcmp(member, "AttachProcess") == 0 || strcmp(member, "AttachThread") == 0) {
        CHECK(sd_bus_message_read(m, "u", &pid) > 0);
        f->pid = (pid_t)pid;
        f->interactive = sd_bus_message_get_allow_interactive_authorization(m) > 0;
        read_options(f, m);
        if (f->thoughtful)
            usleep(FAKE_THOUGHT_USEC);
        if (pid == 1)
            return sd_bus_reply_method_errorf(
                m, PTRACED_ERROR_ALREADY_TRACED,
                "Process 1 is traced by process 99 (strace) already.");
        if (strcmp(member, "AttachThread") == 0)
            return sd_bus_reply_method_return(m, "ob", "/t", pid % 2 == 0);
        return sd_bus_reply_method_return(m, "o", ptraced_path_process(path, ID, f->pid));
    }
    if (strcmp(member, "Interrupt") == 0)
        return 1;
    if (strcmp(member, "ListStopped") == 0)
        return sd_bus_reply_method_return(m, "a(ttousba{sv})", 1, 5ULL, 6ULL,
                                          PTRACED_SESSION_PREFIX "/" ID "/process/7", 8, "stop", 1,
                                          0);
    if (f->unwilling && strcmp(member, "Unsubscribe") == 0)
        return sd_bus_reply_method_errorf(m, PTRACED_ERROR_NOT_SUPPORTED, "It stays subscribed.");
    if (strcmp(member, "Subscribe") == 0)
        f->subscriptions++;
    else if (strcmp(member, "Unsubscribe") == 0)
        f->unsubscriptions++;
    CHECK(sd_bus_reply_method_return(m, "") >= 0);
    if (strcmp(member, "Close") == 0)
        (void)sd_bus_emit_signal(f->bus, PTRACED_ROOT_PATH, PTRACED_MANAGER_INTERFACE,
                                 "SessionRemoved", "so", ID, PTRACED_SESSION_PREFIX "/" ID);
    return 1;
}

static int on_process(struct fake *f, sd_bus_message *m, const char *member)
{
    int n;

    if (strcmp(member, "ListThreads") == 0)
        return sd_bus_reply_method_return(m, "a(uos)", 2, 7, "/t7", "running", 8, "/t8",
                                          "a-state-that-is-too-long");
    if (strcmp(member, "Kill") == 0)
        return -ECONNRESET;
    if (strcmp(member, "Continue") == 0 || strcmp(member, "SetEventFilter") == 0)
        read_options(f, m);
    if (strcmp(member, "Signal") == 0) {
        CHECK(sd_bus_message_read(m, "i", &n) > 0);
        if (n < 0)
            send_broken_event(f, m);
        for (; n > 0; n--)
            send_event(f, m, "signal", false);
    }
    CHECK(sd_bus_reply_method_return(m, "") >= 0);
    if (strcmp(member, "Interrupt") == 0) {
        nanosleep(&(struct timespec){.tv_nsec = 50 * 1000 * 1000}, NULL);
        send_event(f, m, "stop", true);
    }
    if (strcmp(member, "Detach") == 0)
        send_event(f, m, "lost", false);
    return 1;
}

static int on_thread(struct fake *f, sd_bus_message *m, const char *member, pid_t tid)
{
    CHECK(sd_bus_reply_method_return(m, "b", tid % 2 == 0) >= 0);
    if (f->spawn == FAKE_SPAWN_EARLY && strcmp(member, "Continue") == 0)
        send_event(f, m, "exec", true);
    return 1;
}

static int on_property(struct fake *f, sd_bus_message *m)
{
    const char *interface, *name;

    CHECK(sd_bus_message_read(m, "ss", &interface, &name) > 0);
    if (strcmp(name, "Version") == 0)
        return sd_bus_reply_method_return(m, "v", "s", "1.2.3");
    return sd_bus_reply_method_return(m, "v", "t", 40ULL);
}

static void note_call(struct fake *f, const char *member)
{
    size_t n = strlen(f->calls);

    if (n > sizeof(f->calls) / 2)
        f->calls[n = 0] = '\0';
    snprintf(f->calls + n, sizeof(f->calls) - n, "%s%s", n ? " " : "", member);
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct fake *f = userdata;
    struct ptraced_path path;
    const char *member = sd_bus_message_get_member(m);
    int r;

    if (!sd_bus_message_is_method_call(m, NULL, NULL) ||
        sd_bus_message_is_method_call(m, "org.freedesktop.DBus.Peer", NULL))
        return 0;
    note_call(f, member);
    if (sd_bus_message_is_method_call(m, "org.freedesktop.DBus.Properties", NULL))
        return on_property(f, m);

    switch (ptraced_path_parse(sd_bus_message_get_path(m), &path)) {
    case PTRACED_PATH_SESSION:
        r = on_session(f, m, member);
        break;
    case PTRACED_PATH_PROCESS:
        f->pid = path.pid;
        r = on_process(f, m, member);
        break;
    case PTRACED_PATH_THREAD:
        r = on_thread(f, m, member, path.tid);
        break;
    default:
        r = on_manager(f, m, member);
    }
    if (r < 0) {
        /* A child that the client is starting has a copy of the descriptor. */
        shutdown(sd_bus_get_fd(f->bus), SHUT_RDWR);
        sd_bus_close(f->bus);
    }
    return 1;
}

/* ---- Its thread ---- */

static void *serve(void *userdata)
{
    struct fake *f = userdata;
    int r;

    for (;;) {
        r = sd_bus_process(f->bus, NULL);
        if (r == 0)
            r = sd_bus_wait(f->bus, UINT64_MAX);
        if (r < 0 && r != -EINTR)
            break;
    }
    /* Here, so that the client sees the end while the test still waits. */
    sd_bus_close(f->bus);
    return NULL;
}

static struct fake *start(sd_bus *bus)
{
    struct fake *f = calloc(1, sizeof(*f));

    CHECK(f);
    f->bus = bus;
    CHECK(sd_bus_negotiate_fds(bus, true) >= 0);
    CHECK(sd_bus_add_filter(bus, NULL, on_message, f) >= 0);
    CHECK(sd_bus_start(bus) >= 0);
    return f;
}

struct fake *fake_new(ptraced **ret_client)
{
    struct fake *f;
    sd_id128_t id;
    sd_bus *bus;
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    CHECK(sd_bus_new(&bus) >= 0);
    CHECK(sd_bus_set_fd(bus, pair[0], pair[0]) >= 0);
    CHECK(sd_id128_randomize(&id) >= 0);
    CHECK(sd_bus_set_server(bus, true, id) >= 0);
    f = start(bus);
    CHECK(pthread_create(&f->thread, NULL, serve, f) == 0);
    CHECK(ptraced_open_fd(ret_client, pair[1]) == 0);
    close(pair[1]);
    return f;
}

struct fake *fake_new_on_bus(const char *address)
{
    struct fake *f;
    sd_bus *bus;

    CHECK(sd_bus_new(&bus) >= 0);
    CHECK(sd_bus_set_address(bus, address) >= 0);
    CHECK(sd_bus_set_bus_client(bus, true) >= 0);
    f = start(bus);
    CHECK(sd_bus_request_name(bus, PTRACED_BUS_NAME, 0) >= 0);
    CHECK(pthread_create(&f->thread, NULL, serve, f) == 0);
    return f;
}

void fake_free(struct fake *f)
{
    CHECK(pthread_join(f->thread, NULL) == 0);
    sd_bus_unref(f->bus);
    free(f);
}

unsigned count_descriptors(void)
{
    DIR *fds = opendir("/proc/self/fd");
    unsigned n = 0;

    CHECK(fds);
    while (readdir(fds))
        n++;
    closedir(fds);
    return n;
}
