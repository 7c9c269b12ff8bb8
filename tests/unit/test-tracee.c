/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/trace/macro.h"
#include "daemon/trace/tracee.h"

/* What a thread can do, told from the kernel's side: every pair that is not here cannot be. */
static const struct {
    enum tracee_state from;
    enum tracee_input input;
    enum tracee_state to;
} steps[] = {
    /* A new thread stops by itself, or is killed before. To interrupt it changes nothing. */
    {TRACEE_NEW, TRACEE_INTERRUPT, TRACEE_NEW},
    {TRACEE_NEW, TRACEE_STOP, TRACEE_STOPPED},
    {TRACEE_NEW, TRACEE_END, TRACEE_GONE},

    /* What runs may stop by itself (a signal, an event) or be told to. */
    {TRACEE_RUNNING, TRACEE_INTERRUPT, TRACEE_STOPPING},
    {TRACEE_RUNNING, TRACEE_STOP, TRACEE_STOPPED},
    {TRACEE_RUNNING, TRACEE_END, TRACEE_GONE},
    {TRACEE_STOPPING, TRACEE_INTERRUPT, TRACEE_STOPPING},
    {TRACEE_STOPPING, TRACEE_STOP, TRACEE_STOPPED},
    {TRACEE_STOPPING, TRACEE_END, TRACEE_GONE},

    /* What stands waits for the tracer. SIGKILL and exec break any stop. */
    {TRACEE_STOPPED, TRACEE_CONT, TRACEE_RUNNING},
    {TRACEE_STOPPED, TRACEE_LISTEN, TRACEE_LISTENING},
    {TRACEE_STOPPED, TRACEE_STOP, TRACEE_STOPPED},
    {TRACEE_STOPPED, TRACEE_END, TRACEE_GONE},

    /* Under PTRACE_LISTEN: SIGCONT or an interrupt makes it report a stop again. */
    {TRACEE_LISTENING, TRACEE_INTERRUPT, TRACEE_STOPPING},
    {TRACEE_LISTENING, TRACEE_STOP, TRACEE_STOPPED},
    {TRACEE_LISTENING, TRACEE_END, TRACEE_GONE},

    /* Past its exit stop: it ends, unless another thread's exec takes over its id. */
    {TRACEE_EXITING, TRACEE_STOP, TRACEE_STOPPED},
    {TRACEE_EXITING, TRACEE_END, TRACEE_GONE},
};

static int expected_state(enum tracee_state state, enum tracee_input input)
{
    for (size_t i = 0; i < ARRAY_LENGTH(steps); i++)
        if (steps[i].from == state && steps[i].input == input)
            return (int)steps[i].to;
    return -EINVAL;
}

static void every_pair_of_state_and_input_is_as_the_kernel_has_it(void **state)
{
    for (enum tracee_state from = 0; from < TRACEE_STATE_MAX; from++)
        for (enum tracee_input input = 0; input < TRACEE_INPUT_MAX; input++)
            assert_int_equal(tracee_next_state(from, STOP_TRAP, input),
                             expected_state(from, input));
}

static void only_the_exit_stop_leads_to_exiting(void **state)
{
    for (enum stop_kind stop = STOP_NONE; stop <= STOP_KILLED; stop++)
        assert_int_equal(tracee_next_state(TRACEE_STOPPED, stop, TRACEE_CONT),
                         stop == STOP_EXIT ? TRACEE_EXITING : TRACEE_RUNNING);
}

static void kind_of_stop_matters_to_nothing_else(void **state)
{
    for (enum tracee_state from = 0; from < TRACEE_STATE_MAX; from++)
        for (enum tracee_input input = 0; input < TRACEE_INPUT_MAX; input++)
            for (enum stop_kind stop = STOP_NONE; stop <= STOP_KILLED; stop++)
                if (from != TRACEE_STOPPED || input != TRACEE_CONT)
                    assert_int_equal(tracee_next_state(from, stop, input),
                                     expected_state(from, input));
}

static void nothing_follows_the_end(void **state)
{
    for (enum tracee_input input = 0; input < TRACEE_INPUT_MAX; input++)
        assert_int_equal(tracee_next_state(TRACEE_GONE, STOP_NONE, input), -EINVAL);
}

static void stop_is_forgotten_when_it_is_left(void **state)
{
    struct tracee t = {.state = TRACEE_RUNNING};

    tracee_apply(&t, TRACEE_STOP);
    t.stop = STOP_EXEC;
    tracee_apply(&t, TRACEE_STOP); /* broken by another */
    assert_int_equal(t.state, TRACEE_STOPPED);
    assert_int_equal(t.stop, STOP_EXEC);
    tracee_apply(&t, TRACEE_CONT);
    assert_int_equal(t.state, TRACEE_RUNNING);
    assert_int_equal(t.stop, STOP_NONE);
}

static void exit_stop_is_left_for_the_end(void **state)
{
    struct tracee t = {.state = TRACEE_STOPPED, .stop = STOP_EXIT};

    tracee_apply(&t, TRACEE_CONT);
    assert_int_equal(t.state, TRACEE_EXITING);
    assert_int_equal(t.stop, STOP_NONE);
    tracee_apply(&t, TRACEE_END);
    assert_int_equal(t.state, TRACEE_GONE);
}

#ifndef NDEBUG
static int status_of_applying(enum tracee_state from, enum tracee_input input)
{
    const struct rlimit no_core = {0};
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        struct tracee t = {.state = (uint8_t)from};

        setrlimit(RLIMIT_CORE, &no_core);
        dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
        tracee_apply(&t, input);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void impossible_input_is_a_bug_that_aborts(void **state)
{
    int status = status_of_applying(TRACEE_RUNNING, TRACEE_CONT);

    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_int_equal(status_of_applying(TRACEE_STOPPED, TRACEE_CONT), 0);
}
#endif

static void states_have_the_names_that_clients_see(void **state)
{
    assert_string_equal(
        tracee_state_to_string(&(struct tracee){.state = TRACEE_NEW, .resumed = RESUME_RUN}),
        "running");
    assert_string_equal(
        tracee_state_to_string(&(struct tracee){.state = TRACEE_RUNNING, .resumed = RESUME_RUN}),
        "running");
    assert_string_equal(
        tracee_state_to_string(&(struct tracee){.state = TRACEE_STOPPING, .resumed = RESUME_RUN}),
        "stopping");
    assert_string_equal(
        tracee_state_to_string(&(struct tracee){.state = TRACEE_STOPPED, .resumed = RESUME_RUN}),
        "stopped");
    assert_string_equal(
        tracee_state_to_string(&(struct tracee){.state = TRACEE_LISTENING, .resumed = RESUME_RUN}),
        "group-stop");
    assert_string_equal(
        tracee_state_to_string(&(struct tracee){.state = TRACEE_EXITING, .resumed = RESUME_RUN}),
        "exiting");
    assert_string_equal(
        tracee_state_to_string(&(struct tracee){.state = TRACEE_GONE, .resumed = RESUME_RUN}),
        "exited");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_state_and_input_is_as_the_kernel_has_it),
        cmocka_unit_test(only_the_exit_stop_leads_to_exiting),
        cmocka_unit_test(kind_of_stop_matters_to_nothing_else),
        cmocka_unit_test(nothing_follows_the_end),
        cmocka_unit_test(stop_is_forgotten_when_it_is_left),
        cmocka_unit_test(exit_stop_is_left_for_the_end),
#ifndef NDEBUG
        cmocka_unit_test(impossible_input_is_a_bug_that_aborts),
#endif
        cmocka_unit_test(states_have_the_names_that_clients_see),
    };

    return cmocka_run_group_tests_name("tracee", tests, NULL, NULL);
}
