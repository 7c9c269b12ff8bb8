/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/macro.h"
#include "daemon/trace/ptrace-ops.h"
#include "daemon/trace/repair.h"
#include "daemon/trace/stop.h"
#include "daemon/trace/wait.h"
#include "tests/unit/repair-fixture.h"

/* What a tracee sees of the death of its tracer: nothing. */

/* Exactly once: it arrives, and 50 ms later no second one has. */
static void assert_seen_once(const struct scene *s, int signo)
{
    for (int msec = 0; msec < 2000 && scene_count(s, signo) == 0; msec++)
        usleep(1000);
    usleep(50000);
    assert_int_equal(scene_count(s, signo), 1);
}

/* Nothing of ours is left: not traced, not stopped. */
static void assert_runs_free(const struct scene *s)
{
    assert_true(becomes(s->tracee, 'S'));
    assert_int_equal(proc_tracer(s->tracee), 0);
}

static void send_queued(const struct scene *s, int signo, int value)
{
    assert_return_code(sigqueue(s->tracee, signo, (union sigval){.sival_int = value}), errno);
}

static void assert_queued_by_test(const struct scene *s, int signo, int value)
{
    const siginfo_t *info = &s->seen->infos[signo];

    assert_int_equal(info->si_signo, signo);
    assert_int_equal(info->si_code, SI_QUEUE);
    assert_int_equal(info->si_pid, getpid());
    assert_int_equal(info->si_uid, getuid());
    assert_int_equal(info->si_value.sival_int, value);
}

/* As if no tracer had been there. */
static void assert_arrived(const struct scene *s, int signo, int value)
{
    assert_seen_once(s, signo);
    assert_queued_by_test(s, signo, value);
    assert_runs_free(s);
}

/* A signal is collected and recorded, and its thread stands. */
static void start_and_record(struct scene *s, int (*tracee)(int ready), int signo, int value)
{
    scene_start(s, tracee);
    send_queued(s, signo, value);
    scene_collect_and_record(s, s->tracee);
}

static void recorded_signal_arrives_once_with_its_siginfo(void **state)
{
    struct scene *s = *state;

    start_and_record(s, counts_signals, SIGUSR1, 4711);
    assert_true(scene_guard(s));
    assert_arrived(s, SIGUSR1, 4711);
}

static void recorded_signal_of_kill_names_its_sender(void **state)
{
    struct scene *s = *state;

    scene_start(s, counts_signals);
    assert_return_code(kill(s->tracee, SIGUSR1), errno);
    scene_collect_and_record(s, s->tracee);
    assert_true(scene_guard(s));
    assert_seen_once(s, SIGUSR1);
    assert_int_equal(s->seen->infos[SIGUSR1].si_code, SI_USER);
    assert_int_equal(s->seen->infos[SIGUSR1].si_pid, getpid());
    assert_runs_free(s);
}

static void recorded_real_time_signal_arrives_once(void **state)
{
    struct scene *s = *state;

    start_and_record(s, counts_signals, SIGRTMAX, -1);
    assert_true(scene_guard(s));
    assert_arrived(s, SIGRTMAX, -1);
}

static void queued_signals_behind_a_recorded_one_all_arrive(void **state)
{
    struct scene *s = *state;

    scene_start(s, counts_signals);
    for (int i = 0; i < 3; i++)
        send_queued(s, SIGRTMIN, i);
    scene_collect_and_record(s, s->tracee);
    assert_true(scene_guard(s));
    for (int msec = 0; msec < 2000 && scene_count(s, SIGRTMIN) < 3; msec++)
        usleep(1000);
    usleep(50000);
    assert_int_equal(scene_count(s, SIGRTMIN), 3);
    assert_runs_free(s);
}

static void signal_collected_but_not_recorded_arrives_once(void **state)
{
    struct scene *s = *state;

    scene_start(s, counts_signals);
    send_queued(s, SIGUSR1, 4711);
    scene_tell(s, STEP_COLLECT, s->tracee);
    assert_true(scene_guard(s));
    assert_seen_once(s, SIGUSR1); /* its siginfo died with the tracer */
    assert_runs_free(s);
}

static void signal_that_was_passed_on_is_not_doubled(void **state)
{
    struct scene *s = *state;

    start_and_record(s, counts_signals, SIGUSR1, 4711);
    scene_tell(s, STEP_RESUME, s->tracee);
    assert_true(becomes(s->tracee, 'S'));
    assert_false(scene_guard(s));
    assert_arrived(s, SIGUSR1, 4711);
}

static void signal_that_was_passed_on_and_cleared_is_not_doubled(void **state)
{
    struct scene *s = *state;

    start_and_record(s, counts_signals, SIGUSR1, 4711);
    scene_tell(s, STEP_RESUME, s->tracee);
    scene_tell(s, STEP_CLEAR, s->tracee);
    assert_true(becomes(s->tracee, 'S'));
    assert_false(scene_guard(s));
    assert_seen_once(s, SIGUSR1);
    assert_runs_free(s);
}

/* The record is of a stop that is over; the thread stands in the next, which the kernel still has.
 */
static void stale_record_of_a_thread_that_stands_again_is_not_doubled(void **state)
{
    struct scene *s = *state;

    start_and_record(s, counts_signals, SIGUSR1, 1);
    scene_tell(s, STEP_RESUME, s->tracee);
    assert_true(becomes(s->tracee, 'S'));
    send_queued(s, SIGUSR2, 2);
    assert_true(becomes(s->tracee, 't'));
    assert_false(scene_guard(s));
    assert_seen_once(s, SIGUSR1);
    assert_arrived(s, SIGUSR2, 2);
}

static void signal_that_was_never_collected_is_left_to_the_kernel(void **state)
{
    struct scene *s = *state;

    scene_start(s, counts_signals);
    send_queued(s, SIGUSR1, 4711);
    assert_true(becomes(s->tracee, 't'));
    assert_false(scene_guard(s));
    assert_arrived(s, SIGUSR1, 4711);
}

static void signal_recorded_before_it_is_collected_is_left_to_the_kernel(void **state)
{
    struct scene *s = *state;

    scene_start(s, counts_signals);
    send_queued(s, SIGUSR1, 4711);
    scene_tell(s, STEP_LOOK, s->tracee);
    scene_tell(s, STEP_RECORD, s->tracee);
    assert_false(scene_guard(s));
    assert_arrived(s, SIGUSR1, 4711);
}

static void signal_recorded_and_then_collected_arrives_once(void **state)
{
    struct scene *s = *state;

    scene_start(s, counts_signals);
    send_queued(s, SIGUSR1, 4711);
    scene_tell(s, STEP_LOOK, s->tracee);
    scene_tell(s, STEP_RECORD, s->tracee);
    scene_tell(s, STEP_COLLECT, s->tracee);
    assert_true(scene_guard(s));
    assert_arrived(s, SIGUSR1, 4711);
}

static void signal_looked_at_and_passed_on_is_not_doubled(void **state)
{
    struct scene *s = *state;

    scene_start(s, counts_signals);
    send_queued(s, SIGUSR1, 4711);
    scene_tell(s, STEP_LOOK, s->tracee);
    scene_tell(s, STEP_RESUME, s->tracee);
    assert_true(becomes(s->tracee, 'S'));
    assert_false(scene_guard(s));
    assert_arrived(s, SIGUSR1, 4711);
}

static void collect_the_fault(struct scene *s, int (*tracee)(int ready))
{
    scene_start(s, tracee);
    assert_return_code(kill(s->tracee, SIGUSR2), errno);
    scene_tell(s, STEP_COLLECT, s->tracee);
    scene_tell(s, STEP_RESUME, s->tracee);
    scene_tell(s, STEP_COLLECT, s->tracee); /* the fault's own stop */
    assert_int_equal(scene_count(s, SIGUSR2), 1);
}

static void recorded_fault_comes_again_by_itself(void **state)
{
    struct scene *s = *state;

    collect_the_fault(s, faults_when_told);
    scene_tell(s, STEP_RECORD, s->tracee);
    assert_false(scene_guard(s));
    assert_seen_once(s, SIGSEGV);
    assert_int_equal(s->seen->infos[SIGSEGV].si_code, SEGV_ACCERR);
    assert_ptr_equal(s->seen->infos[SIGSEGV].si_addr, s->page);
    assert_runs_free(s);
}

static void fault_that_was_not_recorded_comes_once_too(void **state)
{
    struct scene *s = *state;

    collect_the_fault(s, faults_when_told);
    (void)scene_guard(s);
    assert_seen_once(s, SIGSEGV);
    assert_int_equal(s->seen->infos[SIGSEGV].si_code, SEGV_ACCERR);
    assert_runs_free(s);
}

static void fault_signal_that_a_process_sent_arrives_once(void **state)
{
    struct scene *s = *state;

    start_and_record(s, counts_signals, SIGSEGV, 11);
    assert_true(scene_guard(s));
    assert_arrived(s, SIGSEGV, 11);
}

static void trap_that_the_program_raised_arrives_once(void **state)
{
    struct scene *s = *state;

    collect_the_fault(s, traps_when_told);
    scene_tell(s, STEP_RECORD, s->tracee);
    assert_true(scene_guard(s));
    assert_seen_once(s, SIGTRAP);
    assert_int_equal(s->seen->infos[SIGTRAP].si_code, SI_TKILL);
    assert_int_equal(s->seen->infos[SIGTRAP].si_pid, s->tracee);
    assert_runs_free(s);
}

static void send_to_thread(const struct scene *s, pid_t tid, int signo, int value)
{
    siginfo_t info;

    memset(&info, 0, sizeof(info));
    info.si_signo = signo;
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_int = value;
    assert_return_code(syscall(SYS_rt_tgsigqueueinfo, s->tracee, tid, signo, &info), errno);
}

/* They come first, by their numbers, and each takes its time, so that the repair meets them. */
static void other_signals_on_the_way_are_passed_on(void **state)
{
    struct scene *s = *state;

    scene_start(s, counts_signals);
    send_to_thread(s, s->tracee, SIGRTMAX, 1);
    scene_collect_and_record(s, s->tracee);
    for (int i = 0; i < 20; i++)
        send_to_thread(s, s->tracee, SLOW_SIGNAL, i);
    assert_true(scene_guard(s));
    assert_seen_once(s, SIGRTMAX);
    assert_queued_by_test(s, SIGRTMAX, 1);
    assert_int_equal(scene_count(s, SLOW_SIGNAL), 20);
    assert_queued_by_test(s, SLOW_SIGNAL, 19);
    assert_runs_free(s);
}

static void each_thread_gets_its_own_signal(void **state)
{
    struct scene *s = *state;
    pid_t thread;

    scene_start(s, counts_signals_in_two_threads);
    thread = s->seen->thread;
    scene_tell(s, STEP_SEIZE, thread);
    send_to_thread(s, s->tracee, SIGUSR1, 1);
    send_to_thread(s, thread, SIGUSR2, 2);
    scene_collect_and_record(s, s->tracee);
    scene_collect_and_record(s, thread);
    assert_true(scene_guard(s));
    assert_seen_once(s, SIGUSR1);
    assert_seen_once(s, SIGUSR2);
    assert_int_equal(s->seen->tids[SIGUSR1], s->tracee);
    assert_int_equal(s->seen->tids[SIGUSR2], thread);
    assert_queued_by_test(s, SIGUSR1, 1);
    assert_queued_by_test(s, SIGUSR2, 2);
    assert_runs_free(s);
    assert_int_equal(proc_tracer(thread), 0);
}

static void recorded_stopping_signal_still_stops_the_process(void **state)
{
    struct scene *s = *state;
    siginfo_t wait;

    scene_start(s, counts_signals);
    assert_return_code(kill(s->tracee, SIGSTOP), errno);
    scene_collect_and_record(s, s->tracee);
    assert_true(scene_guard(s));
    /* Its parent is told, and SIGCONT works. */
    assert_return_code(waitid(P_PID, (id_t)s->tracee, &wait, WSTOPPED), errno);
    assert_int_equal(wait.si_code, CLD_STOPPED);
    assert_int_equal(wait.si_status, SIGSTOP);
    assert_int_equal(proc_state(s->tracee), 'T');
    assert_return_code(kill(s->tracee, SIGCONT), errno);
    assert_seen_once(s, SIGCONT);
    assert_runs_free(s);
}

/* Without us SIGCONT would have undone the stop; then a guardian must not stop the process anew. */
static void assert_sigcont_undoes(struct scene *s, int stopping)
{
    scene_start(s, counts_signals);
    assert_return_code(kill(s->tracee, stopping), errno);
    scene_collect_and_record(s, s->tracee);
    assert_return_code(kill(s->tracee, SIGCONT), errno);
    assert_false(scene_guard(s));
    assert_seen_once(s, SIGCONT);
    assert_runs_free(s);
}

static void stop_that_sigcont_has_undone_stays_undone(void **state)
{
    assert_sigcont_undoes(*state, SIGSTOP);
}

static void stop_from_the_terminal_that_sigcont_has_undone_stays_undone(void **state)
{
    assert_sigcont_undoes(*state, SIGTSTP);
}

static void stop_without_a_record_that_sigcont_has_undone_stays_undone(void **state)
{
    struct scene *s = *state;

    scene_start(s, counts_signals);
    assert_return_code(kill(s->tracee, SIGSTOP), errno);
    scene_tell(s, STEP_COLLECT, s->tracee);
    assert_return_code(kill(s->tracee, SIGCONT), errno);
    assert_false(scene_guard(s));
    assert_seen_once(s, SIGCONT);
    assert_runs_free(s);
}

/* Another thread has taken the SIGCONT, and the tracer died before it looked. */
static void stop_that_sigcont_on_its_way_undoes_stays_undone(void **state)
{
    struct scene *s = *state;

    scene_start(s, counts_signals_in_two_threads);
    scene_tell(s, STEP_SEIZE, s->seen->thread);
    assert_return_code(kill(s->tracee, SIGSTOP), errno);
    scene_collect_and_record(s, s->tracee);
    send_to_thread(s, s->seen->thread, SIGCONT, 1);
    assert_true(becomes(s->seen->thread, 't'));
    scene_tell(s, STEP_LOOK, s->seen->thread);
    assert_false(scene_guard(s));
    assert_seen_once(s, SIGCONT);
    assert_runs_free(s);
}

/* Another thread has had the SIGCONT already. */
static void stop_that_a_delivered_sigcont_has_undone_stays_undone(void **state)
{
    struct scene *s = *state;

    scene_start(s, counts_signals_in_two_threads);
    assert_return_code(kill(s->tracee, SIGSTOP), errno);
    scene_collect_and_record(s, s->tracee);
    send_to_thread(s, s->seen->thread, SIGCONT, 1);
    assert_seen_once(s, SIGCONT);
    ledger_void_stops(s->ledger, s->tracee);
    assert_false(scene_guard(s));
    assert_runs_free(s);
}

/* It is other signals' business that it came. */
static void signal_that_stops_nothing_arrives_in_spite_of_sigcont(void **state)
{
    struct scene *s = *state;

    start_and_record(s, counts_signals, SIGUSR1, 4711);
    assert_return_code(kill(s->tracee, SIGCONT), errno);
    ledger_void_stops(s->ledger, s->tracee);
    assert_true(scene_guard(s));
    assert_seen_once(s, SIGCONT);
    assert_arrived(s, SIGUSR1, 4711);
}

/* The kernel drops a SIGCONT that is pending when a stopping signal comes. */
static void stop_that_came_after_sigcont_still_stops_the_process(void **state)
{
    struct scene *s = *state;

    scene_start(s, counts_signals);
    assert_return_code(kill(s->tracee, SIGSTOP), errno);
    scene_collect_and_record(s, s->tracee);
    assert_return_code(kill(s->tracee, SIGCONT), errno);
    assert_return_code(kill(s->tracee, SIGSTOP), errno);
    (void)scene_guard(s);
    assert_true(becomes(s->tracee, 'T'));
    assert_int_equal(scene_count(s, SIGCONT), 0);
    assert_return_code(kill(s->tracee, SIGCONT), errno);
    assert_seen_once(s, SIGCONT);
    assert_runs_free(s);
}

static void recorded_signal_ends_a_process_that_does_not_catch_it(void **state)
{
    struct scene *s = *state;
    int status;

    scene_start(s, counts_signals);
    assert_return_code(kill(s->tracee, SIGTERM), errno);
    scene_collect_and_record(s, s->tracee);
    assert_true(scene_guard(s));
    assert_int_equal(waitpid(s->tracee, &status, 0), s->tracee);
    s->tracee = 0;
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGTERM);
}

static void tracee_that_is_killed_before_the_repair_is_no_hindrance(void **state)
{
    struct scene *s = *state;
    struct repair *r = NULL;

    start_and_record(s, counts_signals, SIGUSR1, 1);
    scene_kill_tracer(s);
    assert_return_code(repair_plan(s->ledger, &r), 0);
    assert_non_null(r);
    scene_let_tracer_die(s);
    assert_return_code(kill(s->tracee, SIGKILL), errno);
    assert_int_equal(waitpid(s->tracee, NULL, 0), s->tracee);
    s->tracee = 0;
    repair_run(r);
    repair_free(r);
    assert_int_equal(scene_count(s, SIGUSR1), 0);
}

static void sleeper_in_sigsuspend_is_woken_by_the_signal(void **state)
{
    struct scene *s = *state;

    start_and_record(s, waits_in_sigsuspend, SIGUSR1, 7);
    assert_true(scene_guard(s));
    assert_arrived(s, SIGUSR1, 7);
}

/* The signal can't be delivered now, nor may the process run to have it delivered. */
static void process_that_was_stopped_meanwhile_gets_it_when_it_goes_on(void **state)
{
    struct scene *s = *state;

    start_and_record(s, counts_signals, SIGUSR1, 7);
    assert_return_code(kill(s->tracee, SIGSTOP), errno);
    assert_true(scene_guard(s));
    assert_true(becomes(s->tracee, 'T'));
    assert_int_equal(proc_tracer(s->tracee), 0);
    assert_int_equal(scene_count(s, SIGUSR1), 0);
    assert_return_code(kill(s->tracee, SIGCONT), errno);
    assert_seen_once(s, SIGUSR1);
    assert_runs_free(s);
}

static void debugger_that_was_quicker_is_handed_the_signal(void **state)
{
    struct scene *s = *state;
    struct repair *r = NULL;
    struct stop stop;
    siginfo_t wait;

    start_and_record(s, counts_signals, SIGUSR1, 7);
    scene_kill_tracer(s);
    assert_return_code(repair_plan(s->ledger, &r), 0);
    assert_non_null(r);
    scene_let_tracer_die(s);
    assert_return_code(ptrace_ops_seize(s->tracee, 0), 0);
    repair_run(r);
    repair_free(r);

    assert_int_equal(wait_thread(s->tracee, 0, &wait), 1);
    stop_decode(&wait, &stop);
    assert_int_equal(stop.kind, STOP_SIGNAL_DELIVERY);
    assert_int_equal(stop.signo, SIGUSR1);
    assert_return_code(ptrace_ops_detach(s->tracee, SIGUSR1), 0);
    assert_arrived(s, SIGUSR1, 7);
}

static void record_of_a_tracer_that_does_not_trace_it_is_void(void **state)
{
    struct scene *s = *state;
    struct repair *r = NULL;

    start_and_record(s, counts_signals, SIGUSR1, 1);
    ledger_set_tracer(s->ledger, getpid()); /* another than /proc says */
    assert_return_code(repair_plan(s->ledger, &r), 0);
    assert_null(r);
}

static void empty_ledger_needs_no_repair(void **state)
{
    struct scene *s = *state;
    struct repair *r = (struct repair *)s;

    assert_return_code(repair_plan(s->ledger, &r), 0);
    assert_null(r);
    assert_null(repair_free(NULL));
}

static void only_a_fault_of_an_instruction_needs_no_repair(void **state)
{
    static const struct {
        int signo, code;
        bool needed;
    } examples[] = {
        {SIGSEGV, SEGV_MAPERR, false},  {SIGSEGV, SEGV_ACCERR, false},
        {SIGSEGV, SI_KERNEL, false},    {SIGILL, ILL_ILLOPN, false},
        {SIGFPE, FPE_INTDIV, false},    {SIGBUS, BUS_ADRERR, false},
        {SIGBUS, BUS_MCEERR_AR, false}, {SIGBUS, BUS_MCEERR_AO, true},
        {SIGSEGV, SI_USER, true},       {SIGSEGV, SI_QUEUE, true},
        {SIGILL, SI_TKILL, true},       {SIGBUS, SI_USER, true},
        {SIGUSR1, SI_USER, true},       {SIGCHLD, CLD_EXITED, true},
        {SIGTRAP, SI_KERNEL, true},     {SIGTRAP, TRAP_BRKPT, true},
        {SIGPIPE, SI_USER, true},       {SIGINT, SI_KERNEL, true},
        {SIGALRM, SI_TIMER, true},      {SIGSYS, 1, true},
    };

    for (size_t i = 0; i < ARRAY_LENGTH(examples); i++) {
        const siginfo_t info = {.si_signo = examples[i].signo, .si_code = examples[i].code};

        assert_int_equal(repair_signal_is_needed(&info), examples[i].needed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
        TEST(recorded_signal_arrives_once_with_its_siginfo),
        TEST(recorded_signal_of_kill_names_its_sender),
        TEST(recorded_real_time_signal_arrives_once),
        TEST(queued_signals_behind_a_recorded_one_all_arrive),
        TEST(other_signals_on_the_way_are_passed_on),
        TEST(signal_collected_but_not_recorded_arrives_once),
        TEST(signal_that_was_passed_on_is_not_doubled),
        TEST(signal_that_was_passed_on_and_cleared_is_not_doubled),
        TEST(stale_record_of_a_thread_that_stands_again_is_not_doubled),
        TEST(signal_that_was_never_collected_is_left_to_the_kernel),
        TEST(signal_recorded_before_it_is_collected_is_left_to_the_kernel),
        TEST(signal_recorded_and_then_collected_arrives_once),
        TEST(signal_looked_at_and_passed_on_is_not_doubled),
        TEST(recorded_fault_comes_again_by_itself),
        TEST(fault_that_was_not_recorded_comes_once_too),
        TEST(fault_signal_that_a_process_sent_arrives_once),
        TEST(trap_that_the_program_raised_arrives_once),
        TEST(each_thread_gets_its_own_signal),
        TEST(recorded_stopping_signal_still_stops_the_process),
        TEST(stop_that_sigcont_has_undone_stays_undone),
        TEST(stop_from_the_terminal_that_sigcont_has_undone_stays_undone),
        TEST(stop_without_a_record_that_sigcont_has_undone_stays_undone),
        TEST(stop_that_sigcont_on_its_way_undoes_stays_undone),
        TEST(stop_that_a_delivered_sigcont_has_undone_stays_undone),
        TEST(signal_that_stops_nothing_arrives_in_spite_of_sigcont),
        TEST(stop_that_came_after_sigcont_still_stops_the_process),
        TEST(recorded_signal_ends_a_process_that_does_not_catch_it),
        TEST(tracee_that_is_killed_before_the_repair_is_no_hindrance),
        TEST(sleeper_in_sigsuspend_is_woken_by_the_signal),
        TEST(process_that_was_stopped_meanwhile_gets_it_when_it_goes_on),
        TEST(debugger_that_was_quicker_is_handed_the_signal),
        TEST(record_of_a_tracer_that_does_not_trace_it_is_void),
        TEST(empty_ledger_needs_no_repair),
        cmocka_unit_test(only_a_fault_of_an_instruction_needs_no_repair),
#undef TEST
    };

    alarm(100);
    return cmocka_run_group_tests_name("repair", tests, NULL, NULL);
}
