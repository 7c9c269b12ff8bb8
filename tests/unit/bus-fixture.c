/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus-api/macro.h"
#include "tests/unit/bus-fixture.h"

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct bus_fixture *f = userdata;

    if (!sd_bus_message_is_signal(m, "org.ptraced.Test", "Test"))
        return 0;
    f->received = sd_bus_message_ref(m);
    return 1;
}

static sd_bus *start(int fd)
{
    sd_bus *bus;

    assert_return_code(sd_bus_new(&bus), 0);
    assert_return_code(sd_bus_set_fd(bus, fd, fd), 0);
    assert_return_code(sd_bus_negotiate_fds(bus, true), 0);
    return bus;
}

int bus_fixture_setup(void **state)
{
    struct bus_fixture *f = calloc(1, sizeof(*f));
    sd_id128_t id;
    int fds[2];

    assert_non_null(f);
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
                       errno);
    assert_return_code(sd_id128_randomize(&id), 0);
    f->sender = start(fds[0]);
    f->receiver = start(fds[1]);
    assert_return_code(sd_bus_set_server(f->receiver, 1, id), 0);
    assert_return_code(sd_bus_add_filter(f->receiver, NULL, on_message, f), 0);
    assert_return_code(sd_bus_start(f->receiver), 0);
    assert_return_code(sd_bus_start(f->sender), 0);
    *state = f;
    return 0;
}

int bus_fixture_teardown(void **state)
{
    struct bus_fixture *f = *state;

    sd_bus_message_unref(f->received);
    sd_bus_close_unref(f->sender);
    sd_bus_close_unref(f->receiver);
    free(f);
    return 0;
}

sd_bus_message *bus_fixture_message(struct bus_fixture *f)
{
    sd_bus_message *m;

    assert_return_code(
        sd_bus_message_new_signal(f->sender, &m, "/org/ptraced/Test", "org.ptraced.Test", "Test"),
        0);
    return m;
}

sd_bus_message *bus_fixture_pass(struct bus_fixture *f, sd_bus_message *m)
{
    f->received = sd_bus_message_unref(f->received);
    assert_return_code(sd_bus_send(f->sender, m, NULL), 0);
    for (int turn = 0; turn < 2000 && !f->received; turn++) {
        int sender = sd_bus_process(f->sender, NULL), receiver = sd_bus_process(f->receiver, NULL);

        assert_return_code(sender, -sender);
        assert_return_code(receiver, -receiver);
        if (sender == 0 && receiver == 0)
            usleep(1000);
    }
    assert_non_null(f->received);
    assert_return_code(sd_bus_message_rewind(f->received, true), 0);
    return f->received;
}
