/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/trace/quota.h"

/* What users have in all tracers together. This process is one of the tracers. */

enum { ALICE = 1000, BOB = 1001, TRACERS = 4 };

static const uint32_t max[QUOTA_KINDS] = {
    [QUOTA_THREADS] = 5, [QUOTA_BREAKPOINTS] = 2, [QUOTA_EVENTS] = 100};

struct fixture {
    struct quota_table *table;
    struct quota own;
};

static int setup(void **state)
{
    static struct fixture f;
    int fd;

    assert_return_code(quota_create(&fd), 0);
    assert_return_code(quota_map(fd, &f.table), 0);
    assert_int_equal(ftruncate(fd, 0), -1); /* nobody takes it from under the others */
    close(fd);
    assert_return_code(quota_give_row(f.table, getpid()), 0);
    assert_return_code(quota_join(f.table, &f.own), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < QUOTA_USERS; i++)
        assert_null(f->own.users[i]);
    quota_unmap(f->table);
    return 0;
}

static struct quota_user *open_user(struct fixture *f, uid_t uid)
{
    struct quota_user *u;

    assert_return_code(quota_open(&f->own, uid, max, &u), 0);
    return u;
}

static unsigned take_all(struct quota_user *u, enum quota_kind kind)
{
    unsigned n = 0;

    while (n < 1000 && quota_take(u, kind))
        n++;
    return n;
}

/* Another tracer, which takes what it gets of one kind, says how much that was, and stays. */
static pid_t start_tracer(struct fixture *f, uid_t uid, enum quota_kind kind, unsigned *ret)
{
    int answer[2];
    pid_t pid;

    assert_return_code(pipe(answer), errno);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct quota_user *u;
        unsigned n;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (quota_give_row(f->table, getpid()) < 0 || quota_join(f->table, &f->own) < 0 ||
            quota_open(&f->own, uid, max, &u) < 0)
            _exit(1);
        n = take_all(u, kind);
        if (write(answer[1], &n, sizeof(n)) != sizeof(n))
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(answer[0], ret, sizeof(*ret)), sizeof(*ret));
    close(answer[0]);
    close(answer[1]);
    return pid;
}

static void end_tracer(struct fixture *f, pid_t pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    quota_take_back(f->table, pid);
}

static void who_is_no_tracer_has_no_row(void **state)
{
    struct fixture *f = *state;
    struct quota own;

    quota_take_back(f->table, getpid());
    assert_int_equal(quota_join(f->table, &own), -ENOENT);
}

static void each_kind_has_its_own_end(void **state)
{
    struct quota_user *u = open_user(*state, ALICE);

    for (enum quota_kind kind = 0; kind < QUOTA_KINDS; kind++)
        assert_int_equal(take_all(u, kind), max[kind]);
    quota_give(u, QUOTA_BREAKPOINTS);
    assert_false(quota_take(u, QUOTA_THREADS));
    assert_true(quota_take(u, QUOTA_BREAKPOINTS));
    quota_unref(u);
}

static void what_cannot_be_refused_counts(void **state)
{
    struct quota_user *u = open_user(*state, ALICE);

    for (int i = 0; i < 7; i++)
        quota_add(u, QUOTA_THREADS);
    assert_false(quota_take(u, QUOTA_THREADS));
    for (int i = 0; i < 3; i++)
        quota_give(u, QUOTA_THREADS);
    assert_true(quota_take(u, QUOTA_THREADS));
    assert_false(quota_take(u, QUOTA_THREADS));
    quota_unref(u);
}

static void sessions_of_a_user_have_it_together(void **state)
{
    struct quota_user *one = open_user(*state, ALICE), *two = open_user(*state, ALICE);

    assert_true(quota_take(one, QUOTA_BREAKPOINTS));
    assert_true(quota_take(two, QUOTA_BREAKPOINTS));
    assert_false(quota_take(one, QUOTA_BREAKPOINTS));
    assert_null(quota_unref(two));
    assert_false(quota_take(one, QUOTA_BREAKPOINTS));
    quota_unref(one);
}

static void one_users_is_not_anothers(void **state)
{
    struct quota_user *alice = open_user(*state, ALICE), *bob = open_user(*state, BOB);

    assert_int_equal(take_all(alice, QUOTA_THREADS), 5);
    assert_int_equal(take_all(bob, QUOTA_THREADS), 5);
    quota_unref(alice);
    quota_unref(bob);
    alice = open_user(*state, ALICE);
    assert_int_equal(take_all(alice, QUOTA_THREADS), 5);
    quota_unref(alice);
}

static void there_are_only_so_many_users_of_one_tracer(void **state)
{
    struct quota_user *users[QUOTA_USERS], *one;
    struct fixture *f = *state;

    for (uid_t i = 0; i < QUOTA_USERS; i++)
        users[i] = open_user(f, i); /* root is one of them */
    assert_int_equal(quota_open(&f->own, QUOTA_USERS, max, &one), -EUSERS);
    users[3] = quota_unref(users[3]);
    assert_return_code(quota_open(&f->own, QUOTA_USERS, max, &users[3]), 0);
    for (size_t i = 0; i < QUOTA_USERS; i++)
        quota_unref(users[i]);
}

static void tracers_have_it_together(void **state)
{
    struct fixture *f = *state;
    struct quota_user *u = open_user(f, ALICE);
    unsigned n;
    pid_t pid;

    assert_true(quota_take(u, QUOTA_THREADS));
    assert_true(quota_take(u, QUOTA_THREADS));
    pid = start_tracer(f, ALICE, QUOTA_THREADS, &n);
    assert_int_equal(n, 3);
    assert_false(quota_take(u, QUOTA_THREADS));
    end_tracer(f, pid); /* and what it had is free again */
    assert_int_equal(take_all(u, QUOTA_THREADS), 3);
    quota_unref(u);
}

static void row_of_a_dead_tracer_is_the_next_ones(void **state)
{
    struct fixture *f = *state;
    unsigned n;

    for (unsigned i = 0; i < QUOTA_ROWS - 1; i++)
        assert_return_code(quota_give_row(f->table, 1000000 + (pid_t)i), 0);
    assert_int_equal(quota_give_row(f->table, 1), -ENOSPC);
    quota_take_back(f->table, 1000017);
    end_tracer(f, start_tracer(f, BOB, QUOTA_THREADS, &n));
    assert_int_equal(n, 5);
}

/* Never are there too many, however they race. */
static _Noreturn void race_to_the_end(struct fixture *f, atomic_int *n_taken,
                                      const atomic_int *over)
{
    struct quota_user *u;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (quota_give_row(f->table, getpid()) < 0 || quota_join(f->table, &f->own) < 0 ||
        quota_open(&f->own, ALICE, max, &u) < 0)
        _exit(1);
    while (!atomic_load(over)) {
        if (!quota_take(u, QUOTA_BREAKPOINTS))
            continue;
        if (atomic_fetch_add(n_taken, 1) >= (int)max[QUOTA_BREAKPOINTS])
            _exit(2);
        atomic_fetch_sub(n_taken, 1);
        quota_give(u, QUOTA_BREAKPOINTS);
    }
    _exit(0);
}

static void tracers_that_race_never_have_too_many(void **state)
{
    atomic_int *shared =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct fixture *f = *state;
    pid_t pids[TRACERS];

    assert_ptr_not_equal(shared, MAP_FAILED);
    for (size_t i = 0; i < TRACERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            race_to_the_end(f, &shared[0], &shared[1]);
    }
    usleep(300000);
    atomic_store(&shared[1], 1);
    for (size_t i = 0; i < TRACERS; i++) {
        int status;

        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
        quota_take_back(f->table, pids[i]);
    }
    munmap(shared, 4096);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_is_no_tracer_has_no_row),
        TEST(each_kind_has_its_own_end),
        TEST(what_cannot_be_refused_counts),
        TEST(sessions_of_a_user_have_it_together),
        TEST(one_users_is_not_anothers),
        TEST(there_are_only_so_many_users_of_one_tracer),
        TEST(tracers_have_it_together),
        TEST(row_of_a_dead_tracer_is_the_next_ones),
        TEST(tracers_that_race_never_have_too_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
