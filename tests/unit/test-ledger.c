/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/trace/ledger.h"
#include "daemon/trace/macro.h"

/* Two mappings of one memory, as tracer and keeper have them. */
struct fixture {
    int fd;
    struct ledger *writer;
    struct ledger *reader;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_return_code(ledger_create(&f->fd), 0);
    assert_return_code(ledger_map(f->fd, &f->writer), 0);
    assert_return_code(ledger_map(f->fd, &f->reader), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    ledger_unmap(f->writer);
    ledger_unmap(f->reader);
    close(f->fd);
    free(f);
    return 0;
}

static int record(struct fixture *f, pid_t tid, int signo, int value)
{
    siginfo_t info;

    memset(&info, 0, sizeof(info));
    info.si_signo = signo;
    info.si_code = SI_QUEUE;
    info.si_pid = tid + 1;
    info.si_value.sival_int = value;
    return ledger_record_signal(f->writer, 100, tid, &info);
}

static void new_ledger_is_empty(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ledger_get_used(f->reader), 0);
    assert_int_equal(ledger_get_tracer(f->reader), 0);
    assert_int_equal(ledger_get_last_wait(f->reader)->si_pid, 0);
    assert_int_equal(ledger_get_signal(f->reader, 0)->tid, 0);
    ledger_unmap(NULL);
}

static void reader_sees_what_the_writer_wrote(void **state)
{
    struct fixture *f = *state;
    const struct ledger_signal *s;
    int slot;

    ledger_set_tracer(f->writer, 4711);
    slot = record(f, 101, SIGUSR1, 42);
    assert_int_equal(ledger_get_tracer(f->reader), 4711);
    assert_int_equal(ledger_get_used(f->reader), 1);
    s = ledger_get_signal(f->reader, slot);
    assert_int_equal(s->pid, 100);
    assert_int_equal(s->tid, 101);
    assert_int_equal(s->signo, SIGUSR1);
    assert_int_equal(s->info.si_code, SI_QUEUE);
    assert_int_equal(s->info.si_pid, 102);
    assert_int_equal(s->info.si_value.sival_int, 42);
}

static void cleared_slot_is_free_and_used_again(void **state)
{
    struct fixture *f = *state;
    int slots[3];

    for (int i = 0; i < 3; i++)
        slots[i] = record(f, 101 + i, SIGUSR1, i);
    ledger_clear_signal(f->writer, slots[0]);
    ledger_clear_signal(f->writer, slots[2]);
    assert_int_equal(ledger_get_signal(f->reader, slots[0])->tid, 0);
    assert_int_equal(ledger_get_signal(f->reader, slots[1])->tid, 102);
    assert_int_equal(ledger_get_signal(f->reader, slots[2])->tid, 0);

    /* Both come again before a slot that was never used. */
    assert_int_equal(record(f, 201, SIGUSR2, 0), slots[2]);
    assert_int_equal(record(f, 202, SIGUSR2, 0), slots[0]);
    assert_int_equal(ledger_get_used(f->reader), 3);
    assert_int_equal(ledger_get_signal(f->reader, slots[2])->tid, 201);
    assert_int_equal(ledger_get_signal(f->reader, slots[0])->signo, SIGUSR2);
    assert_int_equal(ledger_get_signal(f->reader, slots[1])->tid, 102);
    assert_int_equal(record(f, 203, SIGUSR2, 0), 3);
}

static void full_ledger_says_so_until_a_slot_is_cleared(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < LEDGER_SLOTS; i++)
        assert_int_equal(record(f, i + 1, SIGUSR1, 0), i);
    assert_int_equal(record(f, 99999, SIGUSR1, 0), -ENOSPC);
    assert_int_equal(ledger_get_used(f->reader), LEDGER_SLOTS);
    ledger_clear_signal(f->writer, 12345);
    assert_int_equal(record(f, 99999, SIGUSR1, 0), 12345);
    assert_int_equal(record(f, 99998, SIGUSR1, 0), -ENOSPC);
    assert_int_equal(ledger_get_signal(f->reader, LEDGER_SLOTS - 1)->tid, LEDGER_SLOTS);
}

/* The used count, found by what it does: the word in front of the slots that goes 0, 1, 2 with the
 * first two records. The structure itself is private. */
static int32_t *find_used(struct fixture *f)
{
    enum { WORDS = 32 };
    int32_t *words = (int32_t *)f->writer, at_0[WORDS], at_1[WORDS];

    memcpy(at_0, words, sizeof(at_0));
    record(f, 101, SIGUSR1, 0);
    memcpy(at_1, words, sizeof(at_1));
    record(f, 102, SIGUSR1, 0);
    for (size_t i = 0; i < WORDS; i++)
        if (at_0[i] == 0 && at_1[i] == 1 && words[i] == 2)
            return &words[i];
    fail_msg("the ledger has no used count");
    return NULL;
}

static void reader_bounds_a_used_count_that_cannot_be(void **state)
{
    struct fixture *f = *state;
    int32_t *used = find_used(f);

    *used = -1;
    assert_int_equal(ledger_get_used(f->reader), 0);
    *used = INT_MIN;
    assert_int_equal(ledger_get_used(f->reader), 0);
    *used = LEDGER_SLOTS + 1;
    assert_int_equal(ledger_get_used(f->reader), LEDGER_SLOTS);
    *used = INT_MAX;
    assert_int_equal(ledger_get_used(f->reader), LEDGER_SLOTS);
    /* The last slot that it may look at is inside the mapping. */
    assert_int_equal(ledger_get_signal(f->reader, LEDGER_SLOTS - 1)->tid, 0);
}

static void neither_side_can_take_the_memory_away(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->fd, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(f->fd, 1 << 30), -1);
    assert_int_equal(errno, EPERM);
}

static void kernel_writes_a_wait_straight_into_it(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(7);
    assert_int_equal(waitid(P_PID, (id_t)pid, ledger_wait_area(f->writer), WEXITED), 0);
    assert_int_equal(ledger_get_last_wait(f->reader)->si_pid, pid);
    assert_int_equal(ledger_get_last_wait(f->reader)->si_code, CLD_EXITED);
    assert_int_equal(ledger_get_last_wait(f->reader)->si_status, 7);
}

static void records_outlive_a_writer_that_is_killed(void **state)
{
    struct fixture *f = *state;
    int status, fds[2];
    char byte;
    pid_t pid;

    assert_return_code(pipe(fds), errno);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        record(f, 101, SIGRTMIN, 7);
        (void)!write(fds[1], "r", 1);
        pause();
        _exit(1);
    }
    assert_int_equal(read(fds[0], &byte, 1), 1);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(ledger_get_signal(f->reader, 0)->tid, 101);
    assert_int_equal(ledger_get_signal(f->reader, 0)->info.si_value.sival_int, 7);
}

static void text_and_the_copy_in_it_are_read_until_they_are_cleared(void **state)
{
    const struct insn_copy copy = {.from = 0x1000, .to = 0x2000, .length = 3};
    const uint8_t original[16] = "original bytes..";
    struct fixture *f = *state;
    const struct ledger_text *text;
    int slot = ledger_record_text(f->writer, 100, 0x2000, original, sizeof(original));

    assert_int_equal(slot, 0);
    assert_int_equal(ledger_get_texts_used(f->reader), 1);
    text = ledger_get_text(f->reader, slot);
    assert_int_equal(text->pid, 100);
    assert_int_equal(text->through, 0);
    ledger_set_copy(f->writer, slot, 101, &copy);
    assert_int_equal(text->through, 101);
    assert_memory_equal(&text->copy, &copy, sizeof(copy));
    ledger_clear_text(f->writer, slot);
    assert_int_equal(text->pid, 0);
    assert_int_equal(ledger_record_text(f->writer, 100, 0x2000, original, sizeof(original)), slot);
    assert_int_equal(text->through, 0);
}

static void slot_that_was_put_off_is_not_so_for_the_next_signal(void **state)
{
    struct fixture *f = *state;
    int slot = record(f, 101, SIGUSR1, 1);

    ledger_mark_put_off(f->writer, slot);
    assert_true(ledger_get_signal(f->reader, slot)->put_off);
    ledger_clear_signal(f->writer, slot);
    assert_int_equal(record(f, 102, SIGUSR1, 2), slot);
    assert_false(ledger_get_signal(f->reader, slot)->put_off);
}

static void process_is_listed_while_it_needs_something(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ledger_set_debugged(f->writer, 100, false), 0);
    assert_int_equal(ledger_get_processes_used(f->reader), 0);
    assert_int_equal(ledger_set_debugged(f->writer, 100, true), 0);
    ledger_set_stopped(f->writer, 100, true);
    assert_int_equal(ledger_get_processes_used(f->reader), 1);
    assert_true(ledger_get_process(f->reader, 0)->debugged);
    assert_int_equal(ledger_set_debugged(f->writer, 100, false), 0);
    assert_int_equal(ledger_get_process(f->reader, 0)->pid, 100);
    ledger_set_stopped(f->writer, 100, false);
    assert_int_equal(ledger_get_process(f->reader, 0)->pid, 0);
    for (pid_t pid = 1; pid <= LEDGER_PROCESSES; pid++)
        assert_int_equal(ledger_set_debugged(f->writer, pid, true), 0);
    assert_int_equal(ledger_set_debugged(f->writer, LEDGER_PROCESSES + 1, true), -ENOSPC);
    ledger_forget_process(f->writer, 7);
    assert_int_equal(ledger_set_debugged(f->writer, LEDGER_PROCESSES + 1, true), 0);
}

static void nothing_is_cleared_after_the_tracer_has_left(void **state)
{
    struct fixture *f = *state;
    int slot = record(f, 101, SIGUSR1, 1), text;

    text = ledger_record_text(f->writer, 100, 0x2000, (const uint8_t *)"x", 1);
    ledger_leave(f->writer);
    ledger_clear_signal(f->writer, slot);
    ledger_clear_text(f->writer, text);
    assert_int_equal(ledger_get_signal(f->reader, slot)->tid, 101);
    assert_int_equal(ledger_get_text(f->reader, text)->pid, 100);
}

static void descriptor_that_cannot_be_mapped_is_an_error(void **state)
{
    struct ledger *l = NULL;
    _cleanup_close_ int fd = -1;
    int fds[2];

    assert_int_equal(ledger_map(-1, &l), -EBADF);
    assert_return_code(pipe(fds), errno);
    fd = fds[0];
    close(fds[1]);
    assert_true(ledger_map(fd, &l) < 0);
    assert_null(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(new_ledger_is_empty),
        TEST(reader_sees_what_the_writer_wrote),
        TEST(cleared_slot_is_free_and_used_again),
        TEST(full_ledger_says_so_until_a_slot_is_cleared),
        TEST(reader_bounds_a_used_count_that_cannot_be),
        TEST(neither_side_can_take_the_memory_away),
        TEST(kernel_writes_a_wait_straight_into_it),
        TEST(records_outlive_a_writer_that_is_killed),
        TEST(text_and_the_copy_in_it_are_read_until_they_are_cleared),
        TEST(slot_that_was_put_off_is_not_so_for_the_next_signal),
        TEST(process_is_listed_while_it_needs_something),
        TEST(nothing_is_cleared_after_the_tracer_has_left),
        cmocka_unit_test(descriptor_that_cannot_be_mapped_is_an_error),
#undef TEST
    };

    return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
