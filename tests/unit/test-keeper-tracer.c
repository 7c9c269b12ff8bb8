/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/keeper/control.h"
#include "daemon/keeper/ratelimit.h"
#include "daemon/keeper/tracer.h"

/* The keeper's record of a tracer, whose part the test plays at the other end. */
static struct tracer *new_tracer(int *ret_tracer_end)
{
    struct tracer *t = calloc(1, sizeof(*t));
    int pair[2];

    assert_non_null(t);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    t->process = PIDREF_NULL;
    t->control_fd = pair[0];
    t->peer_fd = -1;
    *ret_tracer_end = pair[1];
    return t;
}

static uint32_t receive(int fd, int *ret_passed)
{
    struct control_message message;
    struct iovec iov = {.iov_base = &message, .iov_len = sizeof(message)};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr mh = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    const struct cmsghdr *c;

    assert_int_equal(recvmsg(fd, &mh, MSG_CMSG_CLOEXEC), sizeof(message));
    c = CMSG_FIRSTHDR(&mh);
    *ret_passed = -1;
    if (c)
        memcpy(ret_passed, CMSG_DATA(c), sizeof(int));
    return message.order;
}

static void test_adopt(void **state)
{
    int tracer_end, broker, tracer;
    struct tracer *t = new_tracer(&tracer_end);
    char byte;

    assert_int_equal(tracer_adopt(t, &broker), 0);
    assert_int_equal(receive(tracer_end, &tracer), CONTROL_ADOPT);
    assert_true(tracer >= 0);
    assert_int_equal(write(broker, "x", 1), 1);
    assert_int_equal(read(tracer, &byte, 1), 1);
    /* The broker does not hear of the tracer's death before the keeper is done with it. */
    close(tracer);
    assert_int_equal(recv(broker, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
    tracer_free(t);
    assert_int_equal(read(broker, &byte, 1), 0);
    close(broker);
    close(tracer_end);
}

static void test_release(void **state)
{
    int tracer_end, passed;
    struct tracer *t = new_tracer(&tracer_end);

    assert_int_equal(tracer_release(t), 0);
    assert_int_equal(receive(tracer_end, &passed), CONTROL_RELEASE);
    assert_int_equal(passed, -1);
    close(tracer_end);
    tracer_free(t);
}

static void test_dead_tracer(void **state)
{
    int tracer_end, broker = -2;
    struct tracer *t = new_tracer(&tracer_end);

    close(tracer_end);
    assert_int_equal(tracer_adopt(t, &broker), -EPIPE);
    assert_int_equal(tracer_release(t), -EPIPE);
    assert_int_equal(broker, -2);
    tracer_free(t);
}

/* A tracer that is held by its tracee takes no orders; the keeper does not wait for it. */
static void test_held_tracer(void **state)
{
    int tracer_end, r = 0;
    struct tracer *t = new_tracer(&tracer_end);

    for (unsigned i = 0; i < 100000 && r == 0; i++)
        r = tracer_release(t);
    assert_int_equal(r, -EAGAIN);
    close(tracer_end);
    tracer_free(t);
}

static void test_free_half_built(void **state)
{
    struct tracer *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    t->process = PIDREF_NULL;
    t->control_fd = -1;
    t->peer_fd = -1;
    assert_null(tracer_free(t));
    assert_null(tracer_free(NULL));
}

static void test_find(void **state)
{
    struct tracer a = {.process = {.pid = 10, .fd = -1}}, b = {.process = {.pid = 11, .fd = -1}};
    struct tracer_list list;

    LIST_INIT(&list);
    assert_null(tracer_find(&list, 10));
    LIST_INSERT_HEAD(&list, &a, tracers);
    LIST_INSERT_HEAD(&list, &b, tracers);
    assert_ptr_equal(tracer_find(&list, 10), &a);
    assert_ptr_equal(tracer_find(&list, 11), &b);
    assert_null(tracer_find(&list, 0));
}

static void test_ratelimit(void **state)
{
    struct ratelimit r = {.interval_usec = 100, .burst = 2};

    assert_true(ratelimit_below(&r, 1000));
    assert_true(ratelimit_below(&r, 1050));
    assert_false(ratelimit_below(&r, 1060));
    assert_false(ratelimit_below(&r, 1099));
    assert_true(ratelimit_below(&r, 1100));
    assert_true(ratelimit_below(&r, 1100));
    assert_false(ratelimit_below(&r, 1199));
    assert_true(ratelimit_below(&r, UINT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adopt),           cmocka_unit_test(test_release),
        cmocka_unit_test(test_dead_tracer),     cmocka_unit_test(test_held_tracer),
        cmocka_unit_test(test_free_half_built), cmocka_unit_test(test_find),
        cmocka_unit_test(test_ratelimit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
