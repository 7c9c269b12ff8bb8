/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/trace/image.h"
#include "daemon/trace/macro.h"
#include "daemon/trace/wait.h"
#include "tests/unit/trace-fixture.h"

/* Reading and writing a tracee's memory. The tracee is a child of the test that was forked when all
 * mappings stood, so both know the addresses. */

#define PAGE 4096u
#define N_PAGES 8u

/* Pages 0 to 2 hold their number; 3 is a hole in the tracee; 4 is read-only; 5 has no access; 6 and
 * 7 as 0 to 2.
 */
static char *pages;
static volatile int *word; /* shared with the tracee */

static uint64_t address_of(const void *p)
{
    return (uintptr_t)p;
}

static void map_pages(void)
{
    pages = mmap(NULL, (size_t)N_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                 -1, 0);
    assert_true(pages != MAP_FAILED);
    for (unsigned i = 0; i < N_PAGES; i++)
        memset(pages + (size_t)i * PAGE, '0' + (int)i, PAGE);
    assert_return_code(mprotect(pages + 4 * PAGE, PAGE, PROT_READ), errno);
    assert_return_code(mprotect(pages + 5 * PAGE, PAGE, PROT_NONE), errno);
}

/* In the test itself something else would soon be mapped into the hole. */
static int waits(int ready)
{
    munmap(pages + 3 * PAGE, PAGE);
    child_is_ready(ready);
    for (;;)
        pause();
    return 0;
}

/* In its text, to be changed. No compiler may know what it returns. */
__attribute__((noinline)) static int gives_its_number(void)
{
    int number = 0x11223344;

    __asm__ volatile("" : "+r"(number));
    return number;
}

static int calls_its_text(int ready)
{
    child_is_ready(ready);
    for (;;) {
        *word = gives_its_number();
        usleep(1000);
    }
    return 0;
}

static int execs_when_told(int ready)
{
    child_is_ready(ready);
    while (*word == 0)
        usleep(500);
    execl("/bin/sleep", "sleep", "100", NULL);
    return 98;
}

static void *lives_on(void *unused)
{
    *word = 1;
    for (;;)
        pause();
    return NULL;
}

static int leader_becomes_a_zombie(int ready)
{
    pthread_t thread;

    pthread_create(&thread, NULL, lives_on, NULL);
    while (*word == 0)
        usleep(500);
    child_is_ready(ready);
    pthread_exit(NULL);
}

static struct process *attach(struct fixture *f, pid_t pid)
{
    struct process *p;

    assert_int_equal(fixture_attach(f, f->session, pid, 0), 1);
    p = process_find(f->trace, pid);
    assert_non_null(p);
    return p;
}

static struct process *start(struct fixture *f, int (*child)(int ready))
{
    *word = 0;
    return attach(f, fixture_start(child));
}

static void end(struct fixture *f, struct process *p)
{
    pid_t pid = p->pidref.pid;

    trace_detach(f->trace, f->session, pid, 0);
    fixture_kill(f, pid);
}

static void bytes_of_a_running_process_are_read(void **state)
{
    struct process *p = start(*state, waits);
    char buffer[2 * PAGE];

    assert_int_equal(memory_read(p, address_of(pages) + 10, buffer, sizeof(buffer)),
                     sizeof(buffer));
    assert_memory_equal(buffer, pages + 10, sizeof(buffer));
    assert_int_equal(p->n_tracees, 1);
    assert_int_equal(TAILQ_FIRST(&p->tracees)->state, TRACEE_RUNNING);
    end(*state, p);
}

static void read_over_a_hole_says_how_far_it_got(void **state)
{
    struct process *p = start(*state, waits);
    char buffer[N_PAGES * PAGE];

    assert_int_equal(memory_read(p, address_of(pages), buffer, sizeof(buffer)), 3 * PAGE);
    assert_memory_equal(buffer, pages, 3 * PAGE);
    assert_int_equal(memory_read(p, address_of(pages) + 3 * PAGE - 1, buffer, 2), 1);
    assert_int_equal(memory_read(p, address_of(pages) + 3 * PAGE, buffer, 1), -EFAULT);
    assert_int_equal(memory_read(p, address_of(pages) + 4 * PAGE, buffer, 0), 0);
    end(*state, p);
}

static void write_over_a_hole_says_how_far_it_got(void **state)
{
    struct process *p = start(*state, waits);
    char buffer[4 * PAGE], back[PAGE];

    memset(buffer, 'w', sizeof(buffer));
    assert_int_equal(memory_write(p, address_of(pages) + PAGE, buffer, sizeof(buffer)), 2 * PAGE);
    assert_int_equal(memory_write(p, address_of(pages) + 3 * PAGE, buffer, 1), -EFAULT);
    assert_int_equal(memory_read(p, address_of(pages) + 2 * PAGE, back, PAGE), PAGE);
    assert_memory_equal(back, buffer, PAGE);
    assert_int_equal(memory_read(p, address_of(pages), back, PAGE), PAGE);
    assert_memory_equal(back, pages, PAGE);
    end(*state, p);
}

static void pages_that_the_program_may_not_touch(void **state)
{
    struct process *p = start(*state, waits);
    char back[4];

    assert_int_equal(memory_read(p, address_of(pages) + 5 * PAGE, back, 4), 4);
    assert_memory_equal(back, "5555", 4);
    assert_int_equal(memory_write(p, address_of(pages) + 4 * PAGE, "only", 4), 4);
    assert_int_equal(memory_read(p, address_of(pages) + 4 * PAGE, back, 4), 4);
    assert_memory_equal(back, "only", 4);
    end(*state, p);
}

static bool becomes_word(int value)
{
    for (int msec = 0; msec < 2000 && *word != value; msec++)
        usleep(1000);
    return *word == value;
}

static void write_to_text_changes_what_runs(void **state)
{
    struct process *p = start(*state, calls_its_text);
    const int old = 0x11223344, changed = 0x55667788;
    char text[32];
    char *at;

    assert_true(becomes_word(old));
    assert_int_equal(memory_read(p, address_of(gives_its_number), text, sizeof(text)),
                     sizeof(text));
    at = memmem(text, sizeof(text), &old, sizeof(old));
    if (!at) { /* a machine that builds constants otherwise */
        end(*state, p);
        skip();
    }
    assert_int_equal(memory_write(p, address_of(gives_its_number) + (uint64_t)(at - text), &changed,
                                  sizeof(changed)),
                     sizeof(changed));
    assert_true(becomes_word(changed));
    assert_int_equal(gives_its_number(), old); /* the tester's own copy is untouched */
    end(*state, p);
}

static void addresses_outside_the_address_space(void **state)
{
    static const uint64_t outside[] = {
        0,          8,          0x7fffffffffffffff, 0x8000000000000000, 0x8000000000000001,
        UINT64_MAX, 1ULL << 56, 0x7ffffffffffff000, 0xffffffffff600000,
    };
    struct process *p = start(*state, waits);
    char buffer[64];

    for (size_t i = 0; i < ARRAY_LENGTH(outside); i++) {
        assert_int_equal(memory_read(p, outside[i], buffer, sizeof(buffer)), -EFAULT);
        assert_int_equal(memory_write(p, outside[i], buffer, sizeof(buffer)), -EFAULT);
        assert_int_equal(memory_read(p, outside[i], buffer, 0), 0);
    }
    end(*state, p);
}

static void sizes_that_reach_over_the_end_of_the_address_space(void **state)
{
    struct process *p = start(*state, waits);
    const struct memory_range ranges[] = {{address_of(pages) + 2 * PAGE, UINT64_MAX}};
    char buffer[PAGE];
    uint64_t done;
    int fd;

    assert_int_equal(memory_to_memfd(p, ranges, 1, &fd, &done), 0);
    assert_int_equal(done, PAGE);
    assert_int_equal(pread(fd, buffer, sizeof(buffer), 0), PAGE);
    assert_memory_equal(buffer, pages + 2 * PAGE, PAGE);
    close(fd);
    end(*state, p);
}

static void memory_of_before_an_exec_is_forgotten(void **state)
{
    struct fixture *f = *state;
    struct process *p = start(f, execs_when_told);
    char buffer[16];
    int fd;

    assert_int_equal(memory_read(p, address_of(pages), buffer, 16), 16);
    assert_return_code(memory_open(p, true, &fd), 0);
    close(fd);
    assert_true(p->memory.fd >= 0);
    assert_true(p->memory.lent_for_writing);
    *word = 1;
    assert_non_null(fixture_find(f, f->session, EVENT_EXEC, 2000));
    assert_int_equal(p->memory.fd, -1);
    assert_false(p->memory.lent_for_writing);
    assert_int_equal(memory_read(p, address_of(pages), buffer, 16), -EFAULT);
    end(f, p);
}

static void memory_is_given_up_with_the_process(void **state)
{
    struct fixture *f = *state;
    struct process *p = start(f, waits);
    pid_t pid = p->pidref.pid;
    char buffer[16];
    int kept;

    assert_int_equal(memory_read(p, address_of(pages), buffer, 16), 16);
    kept = p->memory.fd;
    assert_return_code(fcntl(kept, F_GETFD), errno);
    assert_int_equal(trace_detach(f->trace, f->session, pid, 0), 1);
    assert_true(is_let_go(f, pid));
    assert_null(process_find(f->trace, pid));
    assert_int_equal(fcntl(kept, F_GETFD), -1);
    fixture_kill(f, pid);
}

/* The exec is over, but its stop waits to be looked at. */
static void memory_of_an_exec_that_is_still_to_be_told(void **state)
{
    struct fixture *f = *state;
    struct process *p = start(f, execs_when_told);
    char buffer[16];

    assert_int_equal(memory_read(p, address_of(pages), buffer, 16), 16);
    *word = 1;
    assert_true(becomes(p->pidref.pid, 't'));
    assert_int_equal(memory_read(p, address_of(pages), buffer, 16), -EFAULT);
    end(f, p);
}

/* Serves everything before the report of an end, which stays. */
static bool serve_until_an_end(struct fixture *f)
{
    for (int msec = 0; msec < 3000; msec++) {
        siginfo_t report;
        struct stop stop;

        while (trace_next(f->trace, WNOHANG, &report) > 0) {
            stop_decode(&report, &stop);
            if (stop_is_end(stop.kind))
                return true;
            trace_dispatch(f->trace, &report);
        }
        usleep(1000);
    }
    return false;
}

static void process_that_ends_has_no_memory(void **state)
{
    struct fixture *f = *state;
    struct process *p = start(f, waits);
    const struct memory_range range = {address_of(pages), 16};
    uint64_t done = 4711;
    char buffer[16];
    int fd = -4711;

    assert_int_equal(memory_read(p, address_of(pages), buffer, 16), 16);
    kill(p->pidref.pid, SIGKILL);
    assert_true(serve_until_an_end(f));
    assert_int_equal(memory_read(p, address_of(pages), buffer, 16), -ESRCH);
    assert_int_equal(memory_write(p, address_of(pages), buffer, 16), -ESRCH);
    assert_int_equal(memory_to_memfd(p, &range, 1, &fd, &done), -ESRCH);
    assert_int_equal(memory_open(p, false, &fd), -ESRCH);
    assert_int_equal(image_open_mapped_file(p, address_of(pages), &fd), -ESRCH);
    assert_int_equal(done, 4711);
    assert_int_equal(fd, -4711);
    fixture_serve(f, 20);
}

static void zombie_leader_leaves_its_threads_memory(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fixture_start(leader_becomes_a_zombie);
    _cleanup_free_ char *maps = NULL;
    struct process *p;
    uint64_t entry;
    size_t size;
    char buffer[16];
    int fd;

    assert_true(becomes(pid, 'Z'));
    p = attach(f, pid);
    assert_int_equal(memory_read(p, address_of(pages), buffer, 16), 16);
    assert_memory_equal(buffer, pages, 16);
    assert_return_code(image_read(p, "maps", 1 << 20, &maps, &size), 0);
    assert_true(size > 0);
    assert_return_code(image_entry_point(p, &entry), 0);
    assert_int_equal(entry, getauxval(AT_ENTRY));
    assert_int_equal(image_open_mapped_file(p, entry, &fd), -EOPNOTSUPP);
    *word = 0;
    end(f, p);
}

static void many_ranges_come_one_after_another(void **state)
{
    enum { N = 5000 };
    struct process *p = start(*state, waits);
    struct memory_range *ranges = calloc(N + 1, sizeof(*ranges));
    size_t total = 0;
    uint64_t done;
    char *bytes;
    int fd;

    assert_non_null(ranges);
    for (size_t i = 0; i < N; i++) {
        ranges[i] = (struct memory_range){address_of(pages) + (i % 3) * PAGE + i % 7, i % 301};
        total += ranges[i].size;
    }
    assert_return_code(memory_to_memfd(p, ranges, N, &fd, &done), 0);
    assert_int_equal(done, total);
    assert_int_equal(lseek(fd, 0, SEEK_END), total);
    bytes = mmap(NULL, total, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(bytes != MAP_FAILED);
    for (size_t i = 0, at = 0; i < N; at += ranges[i++].size)
        assert_memory_equal(bytes + at, pages + (i % 3) * PAGE + i % 7, ranges[i].size);
    munmap(bytes, total);
    close(fd);
    free(ranges);
    end(*state, p);
}

static void memfd_ends_where_the_first_range_is_refused(void **state)
{
    struct process *p = start(*state, waits);
    const struct memory_range ranges[] = {
        {address_of(pages), PAGE},
        {address_of(pages) + 2 * PAGE, 2 * PAGE},
        {address_of(pages) + 6 * PAGE, PAGE},
    };
    uint64_t done;
    int fd;

    assert_return_code(memory_to_memfd(p, ranges, 3, &fd, &done), 0);
    assert_int_equal(done, 2 * PAGE);
    close(fd);
    assert_return_code(memory_to_memfd(p, &(struct memory_range){8, 8}, 1, &fd, &done), 0);
    assert_int_equal(done, 0);
    close(fd);
    end(*state, p);
}

static void sealed_memfd_cannot_be_changed(void **state)
{
    struct process *p = start(*state, waits);
    const struct memory_range range = {address_of(pages), PAGE};
    uint64_t done;
    int fd;

    assert_return_code(memory_to_memfd(p, &range, 1, &fd, &done), 0);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(ftruncate(fd, 2 * PAGE), -1);
    assert_ptr_equal(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    end(*state, p);
}

static void larger_than_any_buffer(void **state)
{
    const size_t size = (size_t)5 * 1024 * 1024 + 123;
    struct fixture *f = *state;
    uint32_t *numbers =
        mmap(NULL, size + 4, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct process *p;
    uint64_t done;
    char *bytes;
    int fd;

    assert_true(numbers != MAP_FAILED);
    for (size_t i = 0; i <= size / 4; i++)
        numbers[i] = (uint32_t)i * 2654435761u;
    p = start(f, waits);
    assert_return_code(
        memory_to_memfd(p, &(struct memory_range){address_of(numbers), size}, 1, &fd, &done), 0);
    assert_int_equal(done, size);
    bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(bytes != MAP_FAILED);
    assert_memory_equal(bytes, numbers, size);
    munmap(bytes, size);
    munmap(numbers, size + 4);
    close(fd);
    end(f, p);
}

static void descriptor_writes_only_where_asked(void **state)
{
    struct process *p = start(*state, waits);
    char buffer[4];
    int fd;

    assert_return_code(memory_open(p, false, &fd), 0);
    assert_false(p->memory.lent_for_writing);
    assert_int_equal(pread(fd, buffer, 4, (off_t)address_of(pages)), 4);
    assert_int_equal(pwrite(fd, buffer, 4, (off_t)address_of(pages)), -1);
    assert_int_equal(errno, EBADF);
    close(fd);
    end(*state, p);
}

static void image_of_a_process(void **state)
{
    struct process *p = start(*state, waits);
    _cleanup_free_ char *maps = NULL, *command = NULL, *refused = NULL;
    uint64_t entry;
    size_t size;

    assert_return_code(image_entry_point(p, &entry), 0);
    assert_int_equal(entry, getauxval(AT_ENTRY));
    assert_return_code(image_read(p, "maps", 1 << 20, &maps, &size), 0);
    assert_int_equal(strlen(maps), size);
    assert_non_null(strstr(maps, "test-memory"));
    assert_return_code(image_read(p, "cmdline", 1 << 20, &command, &size), 0);
    assert_non_null(strstr(command, "test-memory"));
    assert_int_equal(image_read(p, "maps", 100, &refused, &size), -E2BIG);
    assert_null(refused);
    end(*state, p);
}

static void mapped_file_by_its_address(void **state)
{
    struct process *p = start(*state, waits);
    char magic[4];
    int fd, r = image_open_mapped_file(p, getauxval(AT_ENTRY), &fd);

    if (r == -EPERM) { /* no CAP_CHECKPOINT_RESTORE, which the rest needs too */
        end(*state, p);
        skip();
    }
    assert_return_code(r, -r);
    assert_int_equal(pread(fd, magic, 4, 0), 4);
    assert_memory_equal(magic, ELFMAG, 4);
    assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    close(fd);
    assert_int_equal(image_open_mapped_file(p, address_of(pages), &fd), -ENOENT);
    assert_int_equal(image_open_mapped_file(p, address_of(pages) + 3 * PAGE, &fd), -EFAULT);
    assert_int_equal(image_open_mapped_file(p, UINT64_MAX, &fd), -EFAULT);
    end(*state, p);
}

static void auxiliary_vectors_of_both_widths(void **state)
{
    const uint64_t wide[] = {AT_SYSINFO_EHDR, 0x7ffff7fc1000, AT_ENTRY, 0x401000, AT_NULL, 0};
    const uint32_t narrow[] = {AT_SYSINFO, 0xf7fc2000, AT_UID, 0, AT_ENTRY, 0x8049000, AT_NULL, 0};
    uint64_t value = 1;

    assert_return_code(image_find_auxv(wide, sizeof(wide), AT_ENTRY, &value), 0);
    assert_int_equal(value, 0x401000);
    assert_return_code(image_find_auxv(narrow, sizeof(narrow), AT_ENTRY, &value), 0);
    assert_int_equal(value, 0x8049000);
    assert_return_code(image_find_auxv(narrow, sizeof(narrow), AT_UID, &value), 0);
    assert_int_equal(value, 0);
}

static void auxiliary_vectors_that_end_early(void **state)
{
    const uint64_t wide[] = {AT_PAGESZ, 4096, AT_NULL, 0, AT_ENTRY, 1};
    uint64_t value = 4711;

    assert_int_equal(image_find_auxv(wide, sizeof(wide), AT_ENTRY, &value), -ENOENT);
    assert_int_equal(image_find_auxv(wide, 7, AT_PAGESZ, &value), -ENOENT);
    assert_int_equal(image_find_auxv(wide, 0, AT_PAGESZ, &value), -ENOENT);
    assert_int_equal(value, 4711);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(bytes_of_a_running_process_are_read),
        TEST(read_over_a_hole_says_how_far_it_got),
        TEST(write_over_a_hole_says_how_far_it_got),
        TEST(pages_that_the_program_may_not_touch),
        TEST(write_to_text_changes_what_runs),
        TEST(addresses_outside_the_address_space),
        TEST(sizes_that_reach_over_the_end_of_the_address_space),
        TEST(memory_of_before_an_exec_is_forgotten),
        TEST(memory_is_given_up_with_the_process),
        TEST(memory_of_an_exec_that_is_still_to_be_told),
        TEST(process_that_ends_has_no_memory),
        TEST(zombie_leader_leaves_its_threads_memory),
        TEST(many_ranges_come_one_after_another),
        TEST(memfd_ends_where_the_first_range_is_refused),
        TEST(sealed_memfd_cannot_be_changed),
        TEST(larger_than_any_buffer),
        TEST(descriptor_writes_only_where_asked),
        TEST(image_of_a_process),
        TEST(mapped_file_by_its_address),
        cmocka_unit_test(auxiliary_vectors_of_both_widths),
        cmocka_unit_test(auxiliary_vectors_that_end_early),
#undef TEST
    };

    map_pages();
    word = fixture_share(sizeof(*word));
    if (!word)
        return 1;
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
