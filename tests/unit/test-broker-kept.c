/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bus-api/errors.h"
#include "bus-api/macro.h"
#include "daemon/broker/kept.h"
#include "daemon/broker/limits.h"
#include "tests/unit/bus-fixture.h"

#define MIB ((size_t)1 << 20)

enum { ANNA = 1001, BERT = 1002 };

struct kept_fixture {
    struct bus_fixture *bus;
    sd_event *event;
    struct kept kept;
};

/* Both ends are ours: to send a descriptor before they have agreed about it would wait for us. */
static void be_ready(struct bus_fixture *bus)
{
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(bus);

    bus_fixture_pass(bus, m);
}

static int setup(void **state)
{
    struct kept_fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_return_code(bus_fixture_setup((void **)&f->bus), 0);
    be_ready(f->bus);
    assert_return_code(sd_event_new(&f->event), 0);
    kept_init(&f->kept, f->event);
    assert_return_code(limit_set("KeptMiBMax", 8), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct kept_fixture *f = *state;

    kept_done(&f->kept);
    sd_event_unref(f->event);
    bus_fixture_teardown((void **)&f->bus);
    free(f);
    return 0;
}

static int new_file(size_t size)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_return_code(fd, 0);
    assert_return_code(ftruncate(fd, (off_t)size), 0);
    return fd;
}

/* 0, or the error of an answer with the file. Nothing of the message is left. */
static int pass(struct kept_fixture *f, uid_t uid, int fd)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
    _cleanup_bus_message_ sd_bus_message *m = bus_fixture_message(f->bus);
    int r;

    assert_return_code(sd_bus_message_append(m, "h", fd), 0);
    r = kept_add(&f->kept, uid, 0, bus_fixture_pass(f->bus, m), &error);
    if (r < 0) {
        assert_true(sd_bus_error_has_name(&error, PTRACED_ERROR_LIMIT_EXCEEDED));
        assert_non_null(strstr(error.message, "KeptMiBMax"));
    }
    /* The one that came before goes with the next. */
    f->bus->received = sd_bus_message_unref(f->bus->received);
    return r;
}

static int check(struct kept_fixture *f, uid_t uid, unsigned under_way, unsigned more)
{
    _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

    return kept_check(&f->kept, uid, under_way, more, &error);
}

/* Until the loop has nothing to do any more. */
static void run(struct kept_fixture *f)
{
    while (sd_event_run(f->event, 0) > 0)
        ;
}

static void file_counts_until_its_last_descriptor_is_closed(void **state)
{
    struct kept_fixture *f = *state;
    int fd = new_file(5 * MIB), second = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    assert_true(kept_is_empty(&f->kept));
    assert_int_equal(pass(f, ANNA, fd), 0);
    assert_int_equal(check(f, ANNA, 0, 3), 0);
    assert_true(check(f, ANNA, 0, 4) < 0);
    assert_true(check(f, ANNA, 2, 2) < 0);
    assert_int_equal(check(f, BERT, 0, 8), 0);
    close(fd);
    run(f);
    assert_true(check(f, ANNA, 0, 4) < 0);
    close(second);
    run(f);
    assert_int_equal(check(f, ANNA, 0, 8), 0);
    assert_true(kept_is_empty(&f->kept));
}

static void mapping_counts(void **state)
{
    struct kept_fixture *f = *state;
    int fd = new_file(8 * MIB);
    void *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

    assert_ptr_not_equal(page, MAP_FAILED);
    assert_int_equal(pass(f, ANNA, fd), 0);
    close(fd);
    run(f);
    assert_true(check(f, ANNA, 0, 1) < 0);
    assert_return_code(munmap(page, 4096), 0);
    run(f);
    assert_int_equal(check(f, ANNA, 0, 8), 0);
}

static void small_files_have_a_bound_too(void **state)
{
    struct kept_fixture *f = *state;
    int fds[9];

    for (int i = 0; i < 9; i++) {
        fds[i] = new_file(1);
        assert_int_equal(pass(f, ANNA, fds[i]) < 0, i == 8);
    }
    for (int i = 0; i < 9; i++)
        close(fds[i]);
    run(f);
    assert_true(kept_is_empty(&f->kept));
}

/* In one go: the kernel keeps no more events than that. */
static void more_can_go_than_the_kernel_tells_of(void **state)
{
    struct kept_fixture *f = *state;
    unsigned n_told = 0;
    FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
    int stays = new_file(3 * MIB), fd;

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%u", &n_told), 1);
    fclose(file);
    if (n_told > LIMIT_VALUE_MAX - 1000)
        skip();
    assert_return_code(limit_set("KeptMiBMax", LIMIT_VALUE_MAX), 0);
    assert_int_equal(pass(f, ANNA, stays), 0);
    for (unsigned i = 0; i < n_told + 100; i++) {
        fd = new_file(1);
        assert_int_equal(pass(f, ANNA, fd), 0);
        close(fd);
    }
    run(f);
    assert_int_equal(check(f, ANNA, 0, LIMIT_VALUE_MAX - 3), 0);
    assert_true(check(f, ANNA, 0, LIMIT_VALUE_MAX - 2) < 0);
    close(stays);
    run(f);
    assert_true(kept_is_empty(&f->kept));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(file_counts_until_its_last_descriptor_is_closed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(mapping_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(small_files_have_a_bound_too, setup, teardown),
        cmocka_unit_test_setup_teardown(more_can_go_than_the_kernel_tells_of, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
